"""What makes pix2pix itself."""

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from defectgan.batch import Batch
from defectgan.devices import seeded
from defectgan.methods.base import DISCRIMINATOR, Networks, Task
from defectgan.methods.config import load_config
from defectgan.methods.draws import Draws
from defectgan.methods.pix2pix import Pix2Pix, Settings, fakes, paint
from defectgan.model.painter import Painter
from defectgan.model.pixels import row_noise
from defectgan.networks.control import constant_map, one_hot
from defectgan.networks.generator import CHANGED, SAME, Layer
from defectgan.networks.layers import InstanceNorm
from defectgan.networks.patchgan import KERNEL, STRIDES, PatchGAN, receptive_field
from defectgan.networks.pix2pix import PairCritic, UNet, dropped, halvings

SIZE = 32
SHAPE = (1, SIZE, SIZE)


def method(**settings: Any) -> Pix2Pix:
    return Pix2Pix(Settings(width=4, critic_width=4, **settings), Task(1, 3, (SIZE, SIZE)))


def networks(of: Pix2Pix) -> Networks:
    with seeded(0):
        return of.networks()


def batch() -> Batch:
    rng = torch.Generator().manual_seed(0)
    normal, defect = torch.rand(2, 2, *SHAPE, generator=rng) * 2 - 1
    return Batch(normal, defect, one_hot([1, 2], 3))


def draws() -> Draws:
    return Draws(torch.Generator().manual_seed(7), 0)


def loss_of(of: Pix2Pix, player: int, nets: Networks, given: Any = None) -> Any:
    return of.players()[player].loss(nets, batch(), draws(), given)


# --- the critic


def test_one_score_sees_exactly_70_pixels_by_the_closed_form() -> None:
    """1, 4, 7, 16, 34, 70: each layer makes r pixels of its output (r - 1) s + k of its input."""
    reach = 1 + sum((KERNEL - 1) * math.prod(STRIDES[:i]) for i in range(len(STRIDES)))
    assert receptive_field() == reach == 70
    assert receptive_field(3, (1, 1)) == 5


def test_one_score_sees_exactly_70_pixels_by_the_gradient() -> None:
    """Without the normalization, whose statistics are of the whole image."""
    critic = PatchGAN(1, width=4)
    body = [nn.Identity() if isinstance(m, InstanceNorm) else m for m in critic.body]
    image = torch.rand(1, 1, 160, 160, requires_grad=True)
    scores = nn.Sequential(*body)(image)
    (gradient,) = torch.autograd.grad(scores[0, 0, 9, 9], image)
    for axis in (0, 1):
        touched = gradient[0, 0].abs().sum(axis).nonzero().flatten()
        assert touched[-1] - touched[0] + 1 == len(touched) == 70


def test_the_critic_sees_what_was_given_beside_what_was_made() -> None:
    """Exchanging x among pairs changes the scores, and so does another class."""
    critic, data = PairCritic(1, 3, width=4), batch()
    control = constant_map(data.label)
    scores = critic(data.normal, control, data.defect)
    assert scores.shape == (2, 1, 2, 2)
    for other in (
        critic(data.normal.flip(0), control, data.defect),
        critic(data.normal, control.flip(0), data.defect),
        critic(data.normal, control, data.defect.flip(0)),
    ):
        assert (other - scores).abs().max() > 1e-4


def test_scores_are_no_probabilities() -> None:
    critic = PatchGAN(1, width=4)
    with torch.no_grad():
        cast(nn.Conv2d, critic.body[-1]).bias.fill_(-7)  # type: ignore[union-attr]
    assert critic(torch.rand(1, *SHAPE)).max() < -1


# --- the generator


def slope_round(layer: int) -> Tensor:
    """How a pixel of the output follows the image [H, W] where nothing comes through a layer of the
    decoder, the bottleneck's or a later one.
    """
    with seeded(0):
        net = UNet(1, 3, width=8, size=(SIZE, SIZE))
    with torch.no_grad():
        for parameter in cast(nn.Sequential, net.decoder[layer])[2].parameters():
            parameter.zero_()
    image = torch.rand(1, *SHAPE, requires_grad=True)
    control, noise = one_hot([1], 3)[..., None, None], torch.ones(1, net.noise_size(SIZE, SIZE))
    (gradient,) = torch.autograd.grad(net(image, control, noise)[0, 0, 12, 12], image)
    return gradient[0, 0].abs()


@pytest.mark.parametrize("layer", range(4))
def test_detail_passes_round_the_bottleneck_at_each_size(layer: int) -> None:
    assert slope_round(layer).max() > 1e-5


def test_what_goes_round_all_of_it_stays_in_its_place() -> None:
    rows, columns = slope_round(-1).nonzero().unbind(1)
    assert len(rows) >= 9 and max((rows - 12).abs().max(), (columns - 12).abs().max()) <= 3


@pytest.mark.parametrize(
    ("size", "deep"),
    [((256, 256), 8), ((64, 64), 6), ((96, 64), 5), ((512, 512), 8), ((48, 80), 4)],
)
def test_the_image_is_halved_as_far_as_that_goes(size: tuple[int, int], deep: int) -> None:
    assert halvings(size) == deep
    with torch.device("meta"):
        net = UNet(1, 2, width=4, size=size)
        noise = torch.empty(2, net.noise_size(*size))
        made = net(torch.empty(2, 1, *size), torch.empty(2, 2, 1, 1), noise)
    assert made.shape == (2, 1, *size) and len(net.encoder) == deep


def test_the_first_three_layers_of_the_decoder_drop_half_and_double_the_rest() -> None:
    net = UNet(3, 2, width=64, size=(256, 256))
    assert net.noise_shapes(256, 256) == [(512, 2, 2), (512, 4, 4), (512, 8, 8)]
    assert net.noise_size(256, 256) == 512 * (4 + 16 + 64)
    noise = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    kept = dropped(torch.ones_like(noise), noise)
    assert set(kept.tolist()) == {0, 2} and float(kept.mean()) == pytest.approx(1, abs=0.02)


def test_each_of_the_three_layers_drops() -> None:
    with seeded(0):
        net = UNet(1, 3, width=8, size=(SIZE, SIZE))
    image, control = torch.rand(1, *SHAPE), one_hot([1], 3)[..., None, None]
    ones = torch.ones(1, net.noise_size(SIZE, SIZE))
    whole, start = net(image, control, ones), 0
    for shape in net.noise_shapes(SIZE, SIZE):
        some = ones.clone()
        some[:, start : start + math.prod(shape)] = -1
        start += math.prod(shape)
        assert (net(image, control, some) - whole).abs().max() > 1e-4


def test_dropout_is_the_noise_also_when_it_paints_and_a_row_has_its_own() -> None:
    """Drawn from the row's seed: the same image alone, in a batch, and once more; another seed
    makes another one.
    """
    of = method()
    painter = Painter(of, {name: net.eval() for name, net in networks(of).items()})
    size = painter.noise_size(SIZE, SIZE)
    noise = torch.stack([row_noise(seed, size) for seed in (1, 2, 3)])
    image = torch.rand(1, *SHAPE).expand(3, -1, -1, -1)
    layers = painter.layer(image, painter.control([1, 1, 1], image.device), noise).foreground
    alone = painter.layer(image[:1], painter.control([1], image.device), noise[1:2]).foreground
    assert_close(alone[0], layers[1])
    assert (layers[0] - layers[1]).abs().max() > 1e-3


# --- the losses


def test_the_generator_loss_is_adversarial_plus_100_times_l1() -> None:
    of, data = method(), batch()
    nets = networks(of)
    total, terms = loss_of(of, 1, nets)
    made = paint(nets, data, draws())
    logits = nets[DISCRIMINATOR](data.normal, constant_map(data.label), made)
    assert_close(terms["l1"], (made - data.defect).abs().mean())
    assert_close(terms["adv"], -logits.sigmoid().log().mean())
    assert_close(total, terms["adv"] + 100 * terms["l1"])


def test_the_critic_loss_is_halved() -> None:
    of, data = method(), batch()
    nets = networks(of)
    (fake,) = fakes(nets, [data], draws())
    assert_close(fake, paint(nets, data, draws()))
    total, terms = loss_of(of, 0, nets, fake.detach())
    critic, control = nets[DISCRIMINATOR], constant_map(data.label)
    real, made = (critic(data.normal, control, y).sigmoid() for y in (data.defect, fake))
    assert_close(total, (-real.log().mean() - (1 - made).log().mean()) / 2)
    assert_close(terms["gan"], 2 * total)


def test_the_preset_is_the_authors_recipe() -> None:
    config = load_config("pix2pix", {})
    s, optim = config.method, config.optim
    assert (s.l1, s.width, s.critic_width, config.data.image_size) == (100, 64, 64, (256, 256))
    assert (optim.lr, optim.betas, optim.constant, optim.final_lr) == (2e-4, (0.5, 0.999), 0.5, 0)
    assert config.training.batch_size == 2  # one pair


# --- what it makes of a repainted image


def test_the_mask_is_where_a_repainted_image_differs() -> None:
    """Beyond what any repainted image does; what is 0 in it stays as it was."""
    image = torch.zeros(1, 3, 2, 2)
    painted = image.clone()
    painted[0, 1, 0, 0], painted[0, :, 0, 1], painted[0, 2, 1, 0] = 0.8, SAME, -0.15
    layer = Layer.of_difference(image, painted)
    share = (0.15 - SAME) / (CHANGED - SAME)
    assert_close(layer.mask[0, 0], torch.tensor([[1.0, 0], [share, 0]]))
    composed = layer.over(image).image
    assert torch.equal(composed[0, :, 0, 0], painted[0, :, 0, 0])
    assert not composed[0, :, :, 1].any()


def test_it_restores_nothing_and_says_what_its_masks_are() -> None:
    of = method()
    assert not of.restores and of.paired and of.mask_kind == "difference"
    layer = of.paint(networks(of), *_inputs(of))
    assert layer.mask.shape == (2, 1, SIZE, SIZE)


def _inputs(of: Pix2Pix) -> tuple[Tensor, Tensor, Tensor]:
    size = of.noise_size(networks(of), SIZE, SIZE)
    data = batch()
    return data.normal, constant_map(data.label), draws().noise(2, size)
