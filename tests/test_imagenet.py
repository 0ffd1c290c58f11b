from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from defectgan.errors import ModelError, SettingError
from defectgan.networks import imagenet as module
from defectgan.networks.imagenet import (
    RELEASES,
    STAGES,
    ImagenetFeatures,
    Name,
    imagenet,
    weights_of,
)

installed = pytest.mark.skipif(
    any(weights_of(name) is None for name in get_args(Name)),
    reason="the extra 'features' is not installed",
)
CAT, CUP = {281, 282, 285}, {967}


@pytest.fixture(scope="module", params=sorted(RELEASES))
def net(request: pytest.FixtureRequest) -> ImagenetFeatures:
    if weights_of(request.param) is None:
        pytest.skip("the extra 'features' is not installed")
    return imagenet(request.param)


def noise(*size: int) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def a_picture(name: str, size: int) -> Tensor:
    """The middle of one of scikit-image's photographs, [1, 3, size, size] in [-1, 1]."""
    photographs = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    image = torch.from_numpy(getattr(photographs, name)()).permute(2, 0, 1)[None] / 127.5 - 1
    side = min(image.shape[2:])
    top, left = ((n - side) // 2 for n in image.shape[2:])
    square = image[..., top : top + side, left : left + side]
    return F.interpolate(square, size=(size, size), mode="bilinear", antialias=True)


@installed
@pytest.mark.parametrize(("name", "size"), [("lite0", 224), ("lite2", 260)])
@pytest.mark.parametrize(("picture", "classes"), [("chelsea", CAT), ("coffee", CUP)])
def test_a_cat_is_a_cat_and_a_cup_a_cup(
    name: Name, size: int, picture: str, classes: set[int]
) -> None:
    shares = imagenet(name).classify(a_picture(picture, size)).softmax(1)[0]
    assert int(shares.argmax()) in classes
    assert shares[list(classes)].sum() > 0.8


def test_maps_have_their_stages_channels_and_a_cell_for_each_begun_stride(
    net: ImagenetFeatures,
) -> None:
    channels = [RELEASES[net.name].channels[stage - 1] for stage in STAGES]
    found = [tuple(m.shape) for m in net.maps(noise(2, 3, 144, 160))]
    cells = [(18, 20), (9, 10), (5, 5)]
    assert found == [(2, c, *hw) for c, hw in zip(channels, cells, strict=True)]


def test_an_image_goes_through_the_network_once(net: ImagenetFeatures) -> None:
    passes = []
    hooks = [
        part.register_forward_hook(lambda module, given, made: passes.append(module))
        for part in (net.stem, *net.stages)
    ]
    for read in (net.maps, net, net.classify):
        passes.clear()
        read(noise(1, 3, 128, 128))
        assert passes == [net.stem, *net.stages]
    for hook in hooks:
        hook.remove()


def test_gray_is_seen_as_the_colour_of_three_equal_channels(net: ImagenetFeatures) -> None:
    gray = noise(2, 1, 128, 128)
    torch.testing.assert_close(net(gray), net(gray.repeat(1, 3, 1, 1)))


def test_small_images_are_enlarged_in_their_proportions(net: ImagenetFeatures) -> None:
    small = noise(1, 3, 64, 96)
    large = F.interpolate(small, size=(128, 192), mode="bilinear")
    torch.testing.assert_close(net(small), net(large))


def test_the_weights_stand_still_and_the_image_may_want_a_gradient(net: ImagenetFeatures) -> None:
    image = noise(1, 3, 128, 128).requires_grad_()
    net(image).sum().backward()
    assert not any(p.requires_grad for p in net.parameters())
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def test_no_image_changes_what_is_computed_of_another(net: ImagenetFeatures) -> None:
    images = noise(3, 3, 128, 128)
    net.train()
    together = net(images)
    torch.testing.assert_close(together[:1], net.eval()(images[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_without_its_package_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, name: Name
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda package: None)
    with pytest.raises(SettingError, match="extra 'features'"):
        imagenet(name)


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(SettingError, match="expected lite0 or lite2"):
        imagenet("resnet50")  # type: ignore[arg-type]


def test_a_file_of_other_weights_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "weights.pth"
    other.write_bytes(b"other")
    monkeypatch.setattr(module, "weights_of", lambda name: other)
    with pytest.raises(ModelError, match="expected 57934424"):
        imagenet("lite0")
