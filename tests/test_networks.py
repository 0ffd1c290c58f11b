"""Generators and critics: what goes in, what comes out, and what each form sees."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from defectgan.methods.layered import paint
from defectgan.networks.control import constant_map, one_hot
from defectgan.networks.critic import (
    ClassTower,
    Critic,
    EverySecond,
    PatchCritic,
    TowerCritic,
    read,
)
from defectgan.networks.generator import ConcatenatedGenerator, Generator, RobustGenerator
from defectgan.networks.layers import Conditions, Spade, SpadeResidualBlock
from defectgan.networks.stargan import StarCritic, StarGenerator

SMALL: dict[str, Any] = {"width": 4, "residual_blocks": 1, "spade_hidden": 4, "noise_scale": 0.0}
FORMS = (Generator, RobustGenerator, ConcatenatedGenerator)


def generator(kind: type[Generator] = Generator, **settings: Any) -> Generator:
    """With a head that paints something, which the robust forms begin without."""
    torch.manual_seed(0)
    net = kind(3, 3, **SMALL | settings).eval()
    nn.init.normal_(net.head.weight, std=0.1)
    return net


def inputs(size: int = 16, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(batch, 3, size, size, generator=rng) * 2 - 1
    noise = torch.randn(batch, generator().noise_size(size, size), generator=rng)
    return image, constant_map(one_hot([1] * batch, 3)), noise


def noise_of(net: Generator, batch: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(2)
    return torch.randn(batch, net.noise_size(16, 16), generator=rng)


@pytest.mark.parametrize("kind", FORMS)
def test_the_layer_has_the_images_size_and_stays_in_range(kind: type[Generator]) -> None:
    net = generator(kind)
    image, control, _ = inputs()
    with torch.no_grad():
        net.head.weight.normal_(std=10)
        layer = net(image, control, noise_of(net))
    assert layer.foreground.shape == (2, 3, 16, 16)
    assert layer.mask.shape == (2, 1, 16, 16)
    assert layer.foreground.abs().max() <= 1 + 1e-6
    assert layer.mask.min() >= 0 and layer.mask.max() <= 1


def test_the_head_of_the_robust_form_sees_the_image() -> None:
    """Instance normalization takes the mean away: without this path it could not be known."""
    net = generator(RobustGenerator)
    image, control, _ = inputs()
    with torch.no_grad():
        net.head.weight.zero_()
        for c in range(3):
            net.head.weight[c, net.width + c, 3, 3] = -0.25
    foreground = net(image, control, noise_of(net)).foreground
    assert_close(foreground, image - 0.5 * image)
    assert generator().head.in_channels == 4  # of the published form it does not


def test_the_decoder_of_the_robust_form_sees_the_encoders_maps_of_its_size() -> None:
    image, control, _ = inputs()
    for kind, expected in ((Generator, 0), (RobustGenerator, 2)):
        net = generator(kind)
        half, full = torch.rand(2, 8, 8, 8), torch.rand(2, 4, 16, 16)
        skips = [skip for skip in net._skips(half, full) if skip is not None]
        assert len(skips) == expected
    assert skips[0] is half and skips[1] is full
    with torch.no_grad():
        before = net(image, control, noise_of(net)).mask
        net._skips = lambda half, full: (None, None, None)  # type: ignore[method-assign]
        assert not torch.allclose(net(image, control, noise_of(net)).mask, before)


def test_the_robust_form_paints_nothing_before_it_has_learned() -> None:
    torch.manual_seed(0)
    net = RobustGenerator(3, 3, **SMALL)
    image, _, _ = inputs()
    painted, mask = paint(net, image, one_hot([1, 1], 3), noise_of(net))
    assert_close(painted, image)
    assert_close(mask, torch.full_like(mask, 0.5))


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_what_is_painted_far_out_of_range_can_come_back_and_goes_no_further(
    direction: float,
) -> None:
    """A plain clamp, like a saturated tanh, would give it no gradient at all."""
    net = generator(RobustGenerator)
    image, control, _ = inputs()
    bias = net.head.bias
    assert bias is not None
    with torch.no_grad():
        net.head.weight.zero_()
        bias.fill_(5 * direction)

    def slope(wish: float) -> Tensor:
        wished = (wish * net(image, control, noise_of(net)).foreground).sum()
        return torch.autograd.grad(wished, bias)[0][:3]

    assert (slope(direction) * direction > 0).all()  # descent leads back
    assert (slope(-direction) == 0).all()


@pytest.mark.parametrize("target", [0, 1])
def test_a_black_image_leaves_the_gradients_finite(target: int) -> None:
    """Each normalization of a flat map would make them 300 times as large."""
    net = generator(RobustGenerator, residual_blocks=6)
    nn.init.normal_(net.head.weight)
    black = -torch.ones(2, 3, 16, 16)
    noise = torch.zeros(2, net.noise_size(16, 16))
    painted, mask = paint(net, black, one_hot([target] * 2, 3), noise)
    (painted.sum() + mask.sum()).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(gradient.norm() < 1e6 for gradient in gradients)


def test_noise_reaches_the_layer_once_its_scale_is_learned() -> None:
    net = generator()
    image, control, noise = inputs()
    assert torch.equal(net(image, control, noise).mask, net(image, control, -noise).mask)
    with torch.no_grad():
        net.last_noise.scale.fill_(1.0)
    assert not torch.equal(net(image, control, noise).mask, net(image, control, -noise).mask)


def test_noise_varies_defects_and_never_a_restoration() -> None:
    net = generator(RobustGenerator, noise_scale=1.0)
    image, defect, _ = inputs()
    normal = constant_map(one_hot([0, 0], 3))
    noise = noise_of(net)
    assert not torch.equal(net(image, defect, noise).mask, net(image, defect, -noise).mask)
    assert torch.equal(net(image, normal, noise).mask, net(image, normal, -noise).mask)


@pytest.mark.parametrize("of", ["noise", "class"])
def test_a_spade_residual_block_knows(of: str) -> None:
    torch.manual_seed(0)
    block = SpadeResidualBlock(8, Conditions(partial(Spade, classes=3, hidden=4), 0.5))
    x, noise = torch.randn(1, 8, 4, 4), torch.randn(1, 1, 4, 4)
    other = {"noise": (one_hot([1], 3), -noise), "class": (one_hot([2], 3), noise)}[of]
    assert not torch.allclose(
        block(x, constant_map(one_hot([1], 3)), noise), block(x, constant_map(other[0]), other[1])
    )


def test_a_generator_told_the_class_beside_the_image_paints_by_it() -> None:
    net = generator(ConcatenatedGenerator)
    image, control, noise = inputs()
    other = constant_map(one_hot([2, 2], 3))
    assert not torch.allclose(net(image, control, noise).mask, net(image, other, noise).mask)
    region = control.expand(-1, -1, 8, 8)
    assert_close(net(image, control, noise).mask, net(image, region, noise).mask)


@pytest.mark.parametrize("kind", [RobustGenerator, ConcatenatedGenerator])
def test_without_layers_the_whole_image_is_painted_anew(kind: type[Generator]) -> None:
    net = generator(kind, layered=False)
    image, control, _ = inputs()
    painted, mask = paint(net, image, one_hot([1, 1], 3), noise_of(net))
    assert_close(painted, net(image, control, noise_of(net)).foreground)
    assert torch.equal(mask, torch.ones(2, 1, 16, 16))


@pytest.mark.parametrize("kind", FORMS)
def test_without_noise_there_is_none_and_none_can_be_learned(kind: type[Generator]) -> None:
    net = generator(kind, noise_scale=None)
    image, control, _ = inputs()
    noise = noise_of(net)
    assert torch.equal(net(image, control, noise).mask, net(image, control, -noise).mask)
    assert not any("noise" in name for name, _ in net.named_parameters())


def test_an_image_does_not_depend_on_its_batch() -> None:
    net = generator()
    image, control, noise = inputs(batch=4)
    alone = net(image[2:3], control[2:3], noise[2:3]).mask
    assert_close(net(image, control, noise).mask[2:3], alone, atol=1e-5, rtol=0)


def patch_critic() -> PatchCritic:
    return PatchCritic(3, 5, width=4, layers=3)


def tower_critic() -> TowerCritic:
    return TowerCritic(3, 5, width=4, layers=3, tower_width=8)


@pytest.mark.parametrize("critic", [patch_critic(), tower_critic()])
@pytest.mark.parametrize("size", [16, 32, 48])
def test_one_critic_takes_images_of_any_size(critic: Critic, size: int) -> None:
    image = torch.rand(2, 3, size, size)
    verdict = critic(image, one_hot([1, 2], 5))
    assert verdict.score.shape == (2,) and verdict.logits.shape == (2, 5)
    patches = critic.score(critic.trunk(image))
    assert patches.shape == (2, 1, size // 8, size // 8)
    assert_close(verdict.score, patches.mean((1, 2, 3)))


@pytest.mark.parametrize(
    "critic",
    [patch_critic(), tower_critic(), StarCritic(3, 5, width=4, layers=3, size=(16, 16))],
)
def test_the_parts_of_a_verdict_equal_the_whole(critic: Critic | StarCritic) -> None:
    image, label = torch.rand(2, 3, 16, 16), one_hot([1, 2], 5)
    verdict = critic(image, label)
    assert_close(critic.scores(image, label), verdict.score)
    assert_close(critic.classify(image), verdict.logits)


@pytest.mark.parametrize("critic", [patch_critic(), tower_critic()])
def test_the_reader_of_a_critic_finds_its_features(critic: Critic) -> None:
    image = torch.rand(2, 3, 16, 16)
    assert critic.features(image).shape[0] == 2
    assert_close(read(critic.reader, image), critic.features(image))


def test_the_published_critics_heads_share_a_trunk_and_the_towers_do_not() -> None:
    image = torch.rand(2, 3, 16, 16)
    for critic, shared in ((patch_critic(), True), (tower_critic(), False)):
        slopes = torch.autograd.grad(
            critic.classify(image).sum(), list(critic.trunk.parameters()), allow_unused=True
        )
        assert all(slope is not None for slope in slopes) is shared


@pytest.mark.parametrize("size", [(16, 16), (32, 16)])
def test_stargans_networks_take_the_size_that_they_were_made_for(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    painted = StarGenerator(3, 5, width=4, residual_blocks=1)(
        image, constant_map(one_hot([1, 2], 5))
    )
    assert painted.shape == image.shape and painted.abs().max() <= 1
    critic = StarCritic(3, 5, width=4, layers=3, size=size)
    verdict = critic(painted, one_hot([1, 2], 5))
    assert verdict.score.shape == (2,) and verdict.logits.shape == (2, 5)
    assert critic.score(critic.trunk(image)).numel() == 2 * critic.patches


def test_a_1x1_convolution_of_every_second_pixel_is_one_of_stride_2() -> None:
    ours, theirs = EverySecond(8, 16), nn.Conv2d(8, 16, 1, stride=2, bias=False)
    theirs.load_state_dict(ours.state_dict())
    for side in (7, 8):
        x = torch.randn(2, 8, side, side)
        assert_close(ours(x), theirs(x))


def test_a_narrow_classifier_learns_with_channels_last() -> None:
    """Its shortcuts wrote beyond their memory there, which ended the program."""
    tower = ClassTower(3, 5, width=8, layers=3).to(memory_format=torch.channels_last)
    for count in (2, 4, 8):
        images = torch.randn(count, 3, 64, 64).to(memory_format=torch.channels_last)
        tower(images).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in tower.parameters() if p.grad is not None)
