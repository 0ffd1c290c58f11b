from functools import partial

import pytest
import torch
from defectgan.GONE import CriticConfig, GeneratorConfig
from torch import Tensor, nn
from torch.testing import assert_close

from defectgan.networks.control import constant_map, one_hot
from defectgan.networks.critic import Critic, score_of
from defectgan.networks.generator import Generator
from defectgan.networks.layers import Conditions, Spade, SpadeResidualBlock

SMALL = {"width": 4, "residual_blocks": 1, "spade_hidden": 4}


def generator(**settings: object) -> Generator:
    torch.manual_seed(0)
    return Generator(3, 3, GeneratorConfig.model_validate(SMALL | settings)).eval()


def inputs(size: int = 16, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(batch, 3, size, size, generator=rng) * 2 - 1
    noise = torch.randn(batch, generator_noise(size), generator=rng)
    return image, constant_map(one_hot([1] * batch, 3)), noise


def generator_noise(size: int) -> int:
    return generator().noise_size(size, size)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("spade_residual", [False, True])
def test_the_layer_has_the_images_size_and_stays_in_range(
    residual: bool, skips: bool, spade_residual: bool
) -> None:
    net = generator(residual_foreground=residual, skips=skips, spade_residual=spade_residual)
    image, control, _ = inputs()
    noise = torch.randn(2, net.noise_size(16, 16))
    with torch.no_grad():
        net.head.weight.normal_(std=10)
        layer = net(image, control, noise)
    assert layer.foreground.shape == (2, 3, 16, 16)
    assert layer.mask.shape == (2, 1, 16, 16)
    assert layer.foreground.abs().max() <= 1 + 1e-6
    assert layer.mask.min() >= 0 and layer.mask.max() <= 1


def test_a_head_that_sees_the_image_can_copy_its_colour() -> None:
    """Instance normalization takes the mean away: without this path it could not be known."""
    net = generator(head_sees_image=True)
    with torch.no_grad():
        net.head.weight.zero_()
        for c in range(3):
            net.head.weight[c, net.config.width + c, 3, 3] = 1.0
    image, control, noise = inputs()
    assert_close(net(image, control, noise).foreground, torch.tanh(image))


def test_a_residual_generator_paints_nothing_before_it_has_learned() -> None:
    image, control, noise = inputs()
    painted, mask = generator(residual_foreground=True).paint(image, control, noise)
    assert_close(painted, image)
    assert_close(mask, torch.full_like(mask, 0.5))


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_what_is_painted_far_out_of_range_can_come_back_and_goes_no_further(
    direction: float,
) -> None:
    """A plain clamp, like a saturated tanh, would give it no gradient at all."""
    net = generator(residual_foreground=True)
    with torch.no_grad():
        net.head.bias.fill_(5 * direction)
    image, control, noise = inputs()

    def slope(wish: float) -> Tensor:
        net.head.bias.grad = None
        (wish * net(image, control, noise).foreground).sum().backward()
        assert net.head.bias.grad is not None
        return net.head.bias.grad[:3]

    assert (slope(direction) * direction > 0).all()  # descent leads back
    assert (slope(-direction) == 0).all()


@pytest.mark.parametrize("target", [0, 1])
def test_a_black_image_leaves_the_gradients_finite(target: int) -> None:
    """Each normalization of a flat map would make them 300 times as large."""
    net = generator(residual_foreground=True, spade_residual=True, residual_blocks=6)
    nn.init.normal_(net.head.weight)
    control = constant_map(one_hot([target] * 2, 3))
    black = -torch.ones(2, 3, 16, 16)
    painted, mask = net.paint(black, control, torch.zeros(2, net.noise_size(16, 16)))
    (painted.sum() + mask.sum()).backward()
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
    net = generator(noise_scale=1.0, spade_residual=True)
    image, defect, _ = inputs()
    normal = constant_map(one_hot([0, 0], 3))
    noise = torch.randn(2, net.noise_size(16, 16))
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
    net = generator(control="concatenated")
    image, control, noise = inputs()
    other = constant_map(one_hot([2, 2], 3))
    assert not torch.allclose(net(image, control, noise).mask, net(image, other, noise).mask)
    region = control.expand(-1, -1, 8, 8)
    assert_close(net(image, control, noise).mask, net(image, region, noise).mask)


def test_without_layers_the_whole_image_is_painted_anew() -> None:
    net = generator(layered=False)
    image, control, noise = inputs()
    painted, mask = net.paint(image, control, noise)
    assert_close(painted, net(image, control, noise).foreground)
    assert torch.equal(mask, torch.ones(2, 1, 16, 16))


def test_without_noise_there_is_none_and_none_can_be_learned() -> None:
    net = generator(noise_scale=None, spade_residual=True)
    image, control, _ = inputs()
    noise = torch.randn(2, net.noise_size(16, 16))
    assert torch.equal(net(image, control, noise).mask, net(image, control, -noise).mask)
    assert not any("noise" in name for name, _ in net.named_parameters())


def test_an_image_does_not_depend_on_its_batch() -> None:
    net = generator()
    image, control, noise = inputs(batch=4)
    alone = net(image[2:3], control[2:3], noise[2:3]).mask
    assert_close(net(image, control, noise).mask[2:3], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("tower", [False, True])
@pytest.mark.parametrize("size", [16, 32, 48])
def test_one_critic_takes_images_of_any_size(tower: bool, size: int) -> None:
    config = CriticConfig(width=4, layers=3, class_tower=tower, tower_width=8)
    verdict = Critic(3, 5, config)(torch.rand(2, 3, size, size))
    assert verdict.score.shape == (2, 1, size // 8, size // 8)
    assert verdict.logits.shape == (2, 5)


def test_a_class_wise_score_reads_the_channel_of_the_label() -> None:
    score = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).view(2, 3, 1, 1).expand(-1, -1, 2, 2)
    assert_close(score_of(score, one_hot([2, 0], 3)), torch.tensor([3.0, 4.0]))


def test_the_parts_of_a_verdict_equal_the_whole() -> None:
    critic, image = Critic(3, 4, CriticConfig(width=4, layers=3)), torch.rand(2, 3, 16, 16)
    verdict = critic(image)
    assert_close(critic.scores(image), verdict.score)
    assert_close(critic.classify(image), verdict.logits)
