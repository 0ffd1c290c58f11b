"""pix2pixHD: several scales, matched features, boundaries, features of a fixed network."""

from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from defectgan import losses
from defectgan.batch import Batch
from defectgan.devices import seeded
from defectgan.errors import ModelError, SettingError
from defectgan.files import sha256
from defectgan.methods.base import CRITIC, Networks, Player, Task
from defectgan.methods.config import Config, load_config, parse_config
from defectgan.methods.draws import Draws
from defectgan.methods.pix2pixhd import Pix2PixHD
from defectgan.networks.control import boundary_map, constant_map, masked_map, one_hot, spread
from defectgan.networks.imagenet import weights_of
from defectgan.networks.multiscale import MultiScaleCritic
from defectgan.networks.perceptual import INSTALLED, perceptual_features
from defectgan.networks.pix2pixhd import CoarseToFineGenerator
from defectgan.networks.vgg import BLOCKS, DEVIATION, MEAN, Vgg, names
from defectgan.training.step import Engine
from tests.conftest import CPU

SIZE = 16
TASK = Task(1, 3, (SIZE, SIZE))
TINY: dict[str, Any] = {
    "name": "pix2pixhd",
    **{"width": 4, "stages": 1, "residual_blocks": 1, "local_blocks": 1, "perceptual": 0},
    **{"critic_width": 4, "critic_layers": 2, "scales": 2},
}
INSTALLED_HERE = pytest.mark.skipif(weights_of(INSTALLED) is None, reason="an extra")


def config_of(**settings: Any) -> Config:
    tree = {"data": {"image_size": SIZE}, "method": TINY | settings}
    return parse_config(tree, origin="tests")


def made(**settings: Any) -> tuple[Pix2PixHD, Networks]:
    method = Pix2PixHD(config_of(**settings).method, TASK)
    with seeded(0):
        return method, method.networks()


def batch(*, truth: Tensor | None = None) -> Batch:
    normal, defect = (
        torch.rand(2, 2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    )
    return Batch(normal, defect, one_hot([1, 2], 3), torch.empty(0) if truth is None else truth)


def draws() -> Draws:
    return Draws(torch.Generator().manual_seed(7), 0)


def of(method: Pix2PixHD, name: str) -> Player:
    (player,) = (one for one in method.players() if one.name == name)
    return player


def test_what_it_needs_is_said_with_its_fixed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the refusal says it where there is none."""
    monkeypatch.setattr("defectgan.methods.pix2pixhd.weights_at", lambda features: None)
    with pytest.raises(SettingError, match="the extra 'features' of defectgan is not installed"):
        load_config("pix2pixhd", {})
    assert all(word in Pix2PixHD.needs for word in ("extra 'features'", "method.features"))


# --- maps


@given(st.integers(0, 2**20 - 1))
def test_the_boundary_map_is_one_exactly_where_a_neighbour_shows_something_else(seed: int) -> None:
    classes = np.random.default_rng(seed).integers(0, 3, (5, 6))
    control = torch.eye(3)[torch.from_numpy(classes)].permute(2, 0, 1)[None]
    expected = np.zeros((5, 6))
    for row in range(5):
        for column in range(6):
            around = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
            expected[row, column] = any(
                0 <= r < 5 and 0 <= c < 6 and classes[r, c] != classes[row, column]
                for r, c in around
            )
    assert boundary_map(control)[0, 0].tolist() == expected.tolist()


def test_a_constant_map_has_no_boundary() -> None:
    control = spread(constant_map(one_hot([1], 3)), torch.zeros(1, 1, 8, 8))
    assert control.shape == (1, 3, 8, 8) and not boundary_map(control).any()


def test_a_true_mask_says_where_the_class_is_and_an_unknown_one_everywhere() -> None:
    truth = torch.zeros(2, 1, 4, 4)
    truth[0, 0, 1, 2] = 0.9
    truth[1] = float("nan")
    control = masked_map(one_hot([1, 2], 3), truth)
    assert control[0, :, 1, 2].tolist() == [0, 1, 0] and control[0, :, 0, 0].tolist() == [1, 0, 0]
    assert torch.equal(control[1], constant_map(one_hot([2], 3)).expand(-1, -1, 4, 4)[0])


def test_the_control_map_and_its_boundary_reach_the_generator_and_the_critic() -> None:
    _, networks = made()
    image, truth = batch().normal, torch.zeros(2, 1, SIZE, SIZE)
    truth[:, :, 4:8, 4:8] = 1
    control, plain = masked_map(one_hot([1, 2], 3), truth), constant_map(one_hot([1, 2], 3))
    generator, critic = networks["generator"], cast(MultiScaleCritic, networks[CRITIC])
    assert not torch.equal(generator(image, control), generator(image, plain))
    assert isinstance(generator, CoarseToFineGenerator)
    seen: list[Tensor] = []
    for first in (generator.fine, critic.critics[0]):
        first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    generator(image, control)
    critic.maps(image, control)
    assert len(seen) == 2
    for told in seen:  # the image of one channel, the boundary, the control map
        assert torch.equal(told[:, :1], image)
        assert torch.equal(told[:, 1:2], boundary_map(control))
        assert torch.equal(told[:, 2:], control)


def test_some_of_the_defects_with_a_true_mask_are_told_by_it() -> None:
    truth = torch.zeros(2, 1, SIZE, SIZE)
    truth[:, :, 4:8, 4:8] = 1
    told = {}
    for share in (0.0, 1.0):
        method, _ = made(masked=share)
        assert method.wants_truths == bool(share)
        told[share] = method.controls(batch(truth=truth), draws())
    assert torch.equal(told[1.0].target[:2], masked_map(batch().label, truth))
    everywhere = spread(constant_map(batch().label), batch().normal)
    assert torch.equal(told[0.0].target[:2], everywhere)
    for control in told.values():
        assert torch.equal(control.source, control.target.roll(2, 0))
        assert control.target[2:, 0].all() and not control.target[2:, 1:].any()
    unknown, _ = made(masked=1.0)
    assert torch.equal(unknown.controls(batch(), draws()).target[:2], everywhere)


# --- critics


def test_the_critics_see_the_image_and_its_class_at_full_size_half_and_a_quarter() -> None:
    critic = MultiScaleCritic(1, 3, width=4, layers=2, scales=3, edges=True)
    seen: list[Tensor] = []
    for one in critic.critics:
        one.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    image = torch.rand(2, 1, 32, 32)
    maps = critic.maps(image, constant_map(one_hot([1, 2], 3)))
    assert [x.shape[2] for x in seen] == [32, 16, 8] and [len(m) for m in maps] == [3, 3, 3]
    for before, after in pairwise(seen):
        pooled = F.avg_pool2d(before, 3, 2, 1, count_include_pad=False)
        assert_close(after, pooled)
    assert len({id(p) for one in critic.critics for p in one.parameters()}) == 3 * len(
        [*critic.critics[0].parameters()]
    )


def test_another_class_beside_the_same_image_gets_another_score() -> None:
    _, networks = made()
    critic, images = cast(MultiScaleCritic, networks[CRITIC]), batch().images
    verdict = critic(images, one_hot([1] * 4, 3))
    assert_close(verdict.score, verdict.logits[:, 1])
    assert not torch.allclose(verdict.logits[:, 1], verdict.logits[:, 2])
    assert torch.equal(critic.classify(images), verdict.logits)


# --- losses


def test_matched_features_are_zero_for_equal_images_and_send_nothing_to_the_critic() -> None:
    _, networks = made()
    critic, images = cast(MultiScaleCritic, networks[CRITIC]), batch().images
    control = constant_map(batch().target)

    def features(x: Tensor) -> list[list[Tensor]]:
        return [maps[:-1] for maps in critic.maps(x, control)]

    assert losses.feature_matching(features(images), features(images)) == 0
    real, fake = (x.clone().requires_grad_() for x in (images, images.flip(3)))
    term = losses.feature_matching(features(real), features(fake))
    term.backward()  # type: ignore[no-untyped-call]
    assert real.grad is None and fake.grad is not None and fake.grad.any()
    pairs = [
        [(a - b).abs().mean() for a, b in zip(x, y, strict=True)]
        for x, y in zip(features(images), features(images.flip(3)), strict=True)
    ]
    assert_close(term, torch.stack([torch.stack(one).mean() for one in pairs]).mean())


def test_a_generator_step_changes_nothing_of_the_critic() -> None:
    config = parse_config(
        {
            "data": {"image_size": SIZE},
            "method": TINY,
            "training": {"batch_size": 4, "steps": 5},
        },
        origin="tests",
    )
    engine = Engine(config, Pix2PixHD(config.method, TASK), device=CPU, bf16=False)
    kept = [p.clone() for p in engine.state.networks[CRITIC].parameters()]
    generator = next(p for p in engine.state.players if p.name == "generator")
    engine._play(generator, [batch()], torch.Generator().manual_seed(0), 0)
    now = engine.state.networks[CRITIC].parameters()
    assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))


def test_the_losses_are_the_sums_of_their_terms() -> None:
    method, networks = made(fm=2.0, rec=3.0)
    total, terms = of(method, "generator").loss(networks, batch(), draws(), None)
    assert terms.keys() == {"adv", "fm", "rec"}
    assert_close(total, terms["adv"] + 2 * terms["fm"] + 3 * terms["rec"])
    data, generator = batch(), networks["generator"]
    painted = generator(data.images, constant_map(data.target))
    back = generator(painted, constant_map(data.source))
    assert_close(terms["rec"], (data.images - back).abs().mean())
    critic = cast(MultiScaleCritic, networks[CRITIC])
    scores = [m[-1] for m in critic.maps(painted, constant_map(data.target))]
    assert_close(terms["adv"], sum((s - 1).square().mean() for s in scores))
    fake = (painted.detach(), constant_map(data.target))
    total, terms = of(method, "critic").loss(networks, data, draws(), fake)
    real = [m[-1] for m in critic.maps(data.real, constant_map(data.target))]
    each = [(a - 1).square().mean() + b.square().mean() for a, b in zip(real, scores, strict=True)]
    assert_close(terms["lsgan"], torch.stack(each).sum())
    assert_close(total, terms["lsgan"] / 2)


# --- a fixed network


def vgg_tensors() -> dict[str, Tensor]:
    """Random ones under torchvision's names."""
    rng, before, found = torch.Generator().manual_seed(0), 3, {}
    wide = [after for block in BLOCKS for after in block]
    for name, after in zip(names(), wide, strict=True):
        found[f"{name}.weight"] = torch.randn(after, before, 3, 3, generator=rng) / (
            3 * before**0.5
        )
        found[f"{name}.bias"] = torch.zeros(after)
        before = after
    return found


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, tensors = tmp_path_factory.mktemp("vgg"), vgg_tensors()
    torch.save(tensors, folder / "vgg.pth")
    save_file(tensors, folder / "vgg.safetensors")
    return {name: folder / f"vgg.{name}" for name in ("pth", "safetensors")}


def test_vggs_layers_have_torchvisions_numbers() -> None:
    numbers = [int(name.split(".")[1]) for name in names()]
    assert numbers == [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28]


def test_vgg_sees_what_a_plain_chain_of_its_layers_sees(vgg: dict[str, Path]) -> None:
    tensors, image = vgg_tensors(), torch.rand(1, 1, 32, 32) * 2 - 1
    x = ((image + 1) / 2 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(DEVIATION).view(
        1, 3, 1, 1
    )
    expected, wanted = [], (1, 6, 11, 20, 29)  # torchvision's relu1_1, ... relu5_1
    pools = (4, 9, 18, 27)
    for number in range(30):
        if number in pools:
            x = F.max_pool2d(x, 2)
        elif f"features.{number}.weight" in tensors:
            x = F.conv2d(
                x,
                tensors[f"features.{number}.weight"],
                tensors[f"features.{number}.bias"],
                padding=1,
            )
        else:
            x = F.relu(x)
        if number in wanted:
            expected.append(x)
    for file in vgg.values():
        network = perceptual_features(str(file), CPU)
        assert isinstance(network, Vgg)
        for ours, theirs in zip(network.maps(image), expected, strict=True):
            assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        assert not any(p.requires_grad for p in network.parameters())


def test_the_perceptual_term_weighs_each_map_and_teaches_the_fake_alone() -> None:
    real, fake = ([torch.rand(1, 2, 4, 4, requires_grad=True) for _ in range(2)] for _ in range(2))
    term = losses.perceptual(real, fake, [0.25, 2.0])
    each = [(a - b).abs().mean() for a, b in zip(real, fake, strict=True)]
    assert_close(term, 0.25 * each[0] + 2 * each[1])
    term.backward()  # type: ignore[no-untyped-call]
    assert all(x.grad is None for x in real) and all(x.grad is not None for x in fake)
    assert losses.perceptual(real, real) == 0


def test_a_given_file_teaches_and_is_said(vgg: dict[str, Path]) -> None:
    method, networks = made(perceptual=4.0, features=str(vgg["pth"]))
    assert method.taught_by == (sha256(vgg["pth"]),)
    total, terms = of(method, "generator").loss(networks, batch(), draws(), None)
    plain, _ = of(made()[0], "generator").loss(networks, batch(), draws(), None)
    assert terms["perceptual"] > 0
    assert_close(total, plain + 4 * terms["perceptual"])
    assert made()[0].taught_by == ()


@INSTALLED_HERE
def test_the_installed_network_teaches_where_no_file_is_named() -> None:
    assert load_config("pix2pixhd", {}).method.features == INSTALLED
    method, networks = made(perceptual=1.0)
    _, terms = of(method, "generator").loss(networks, batch(), draws(), None)
    assert terms["perceptual"] > 0 and len(method.taught_by) == 1
    file = weights_of(INSTALLED)
    again, _ = made(perceptual=1.0, features=str(file))
    assert again.taught_by == method.taught_by
    assert_close(again._seeing(CPU).maps(batch().images), method._seeing(CPU).maps(batch().images))


def test_features_that_are_not_there_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"there is no file .*none\.pth: install"):
        config_of(perceptual=1.0, features=str(tmp_path / "none.pth"))


def test_a_missing_extra_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defectgan.networks.perceptual.weights_of", lambda name: None)
    with pytest.raises(SettingError, match=r"extra 'features' of defectgan is not installed"):
        config_of(perceptual=1.0)
    config_of(perceptual=0)


@pytest.mark.parametrize("content", [{"a": torch.zeros(1)}, [torch.zeros(1)]])
def test_a_file_of_something_else_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=r"x\.pth holds"):
        perceptual_features(str(tmp_path / "x.pth"), CPU)
    (tmp_path / "y.pth").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"y\.pth"):
        perceptual_features(str(tmp_path / "y.pth"), CPU)


def test_scales_that_leave_no_patches_are_refused() -> None:
    with pytest.raises(SettingError, match="4 critics of 3 layers leave less than"):
        config_of(scales=4, critic_layers=3)
