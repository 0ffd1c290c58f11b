"""StarGAN v2: styles by branches, and what each term of its losses says."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from defectgan import losses
from defectgan.batch import Batch
from defectgan.devices import seeded
from defectgan.errors import SettingError
from defectgan.methods.base import CRITIC, Networks, Player, Task, Terms
from defectgan.methods.config import Config, load_config, parse_config
from defectgan.methods.draws import Draws
from defectgan.methods.starganv2 import MAPPING, STYLE, StarGANv2
from defectgan.model.painter import Painter
from defectgan.networks.control import constant_map, one_hot
from defectgan.networks.starganv2 import (
    AdaptiveNorm,
    BranchCritic,
    MappingNetwork,
    StyledGenerator,
    StyleEncoder,
    chosen,
)
from defectgan.training.state import EMA_RAMP, State
from defectgan.training.step import Engine
from tests.conftest import CPU

SIZE, LATENT = 16, 4
TASK = Task(1, 3, (SIZE, SIZE))
TINY: dict[str, Any] = {
    "name": "starganv2",
    **{"width": 4, "stages": 1, "residual_blocks": 1, "latent": LATENT, "style_size": 5},
    **{"mapping_width": 8, "critic_width": 4, "critic_layers": 2},
}


def config_of(**settings: Any) -> Config:
    tree = {"data": {"image_size": SIZE}, "method": TINY | settings}
    return parse_config(tree | {"training": {"batch_size": 4, "steps": 10}}, origin="tests")


def made(**settings: Any) -> tuple[StarGANv2, Networks]:
    method = StarGANv2(config_of(**settings).method, TASK)
    with seeded(0):
        return method, method.networks()


def batch(step: int = 0, part: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(10 * step + part)
    normal, defect = torch.rand(2, 2, 1, SIZE, SIZE, generator=rng) * 2 - 1
    return Batch(normal, defect, one_hot([1, 2], 3))


def draws(step: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(7), step)


def of(method: StarGANv2, name: str) -> Player:
    (player,) = (one for one in method.players() if one.name == name)
    return player


def terms_of(name: str, *, step: int = 0, **settings: Any) -> tuple[Tensor, Terms, Networks]:
    method, networks = made(**settings)
    player, given = of(method, name), None
    if player.ahead is not None:
        (given,) = player.ahead(networks, [batch()], draws(step))
        given = given.detach()
    total, terms = player.loss(networks, batch(), draws(step), given)
    return total, terms, networks


# --- networks


@pytest.mark.parametrize("kind", ["mapping", "style", "critic"])
def test_only_the_branch_that_is_chosen_gets_gradient(kind: str) -> None:
    _, networks = made()
    label, image = one_hot([1, 1], 3), batch().normal
    if kind == "mapping":
        network: nn.Module = networks[MAPPING]
        network(torch.randn(2, LATENT), label).sum().backward()
        branches = [*cast(MappingNetwork, network).own, cast(MappingNetwork, network).last]
    elif kind == "style":
        network = networks[STYLE]
        network(image, label).sum().backward()
        branches = [cast(StyleEncoder, network).head]
    else:
        network = networks[CRITIC]
        cast(BranchCritic, network).scores(image, label).sum().backward()  # type: ignore[no-untyped-call]
        branches = [cast(BranchCritic, network).head]
    for layer in branches:
        for parameter in layer.parameters():
            assert parameter.grad is not None
            assert not parameter.grad[[0, 2]].any() and parameter.grad[1].any()


def test_of_an_image_of_several_classes_the_mean_of_their_branches_is_chosen() -> None:
    branches = torch.tensor([[[1.0, 2], [3, 4], [5, 8]]])
    assert chosen(branches, torch.tensor([[0.0, 1, 1]])).tolist() == [[4, 6]]
    assert chosen(branches[..., 0], one_hot([0], 3)).tolist() == [1]


def test_the_generator_sees_a_style_and_never_a_label() -> None:
    """Two classes of one style are painted alike; and its parameters know no number of classes."""
    method, networks = made()
    generator, image, style = networks["generator"], batch().normal, torch.randn(2, 5)
    assert isinstance(generator, StyledGenerator)
    paint = method.paint_like
    networks = {**networks, STYLE: lambda reference, label: style}  # type: ignore[dict-item]
    noise = torch.zeros(2, LATENT)
    pictures = [
        paint(networks, image, constant_map(one_hot([k, k], 3)), noise, image).foreground
        for k in (1, 2)
    ]
    assert torch.equal(*pictures) and torch.equal(pictures[0], generator(image, style))
    more = StarGANv2(method.shape, TASK._replace(classes=7)).networks()["generator"]
    assert [p.shape for p in more.parameters()] == [p.shape for p in generator.parameters()]


def test_a_style_modulates_a_normalized_map() -> None:
    norm, x = AdaptiveNorm(3, 5), torch.randn(2, 3, 6, 6)
    style = torch.randn(2, 5)
    scale, shift = norm.modulation(style).chunk(2, 1)
    mean, std = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True).sqrt()
    naive = (1 + scale[..., None, None]) * (x - mean) / std + shift[..., None, None]
    assert_close(norm(x, style), naive, atol=1e-4, rtol=1e-4)


# --- losses


def test_the_diversity_is_zero_for_equal_images_and_its_second_image_gets_no_gradient() -> None:
    one, other = (torch.rand(2, 1, 4, 4, requires_grad=True) for _ in range(2))
    assert losses.diversity(one, one) == 0
    term = losses.diversity(one, other)
    assert_close(term, (one - other).abs().mean())
    term.backward()  # type: ignore[no-untyped-call]
    assert one.grad is not None and other.grad is None


def test_r1_of_a_linear_critic_is_half_the_square_of_its_slope() -> None:
    w = torch.randn(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    images = torch.rand(3, 1, SIZE, SIZE)
    term = losses.r1_penalty(lambda x: (x * w).sum((1, 2, 3)), images)
    assert_close(term, w.square().sum() / 2)


def test_the_critics_loss_is_the_sum_of_its_terms_and_r1_is_taken_of_reals_alone() -> None:
    total, terms, networks = terms_of("critic", r1=3.0)
    critic = cast(BranchCritic, networks[CRITIC])
    assert_close(total, terms["gan"] + 3 * terms["r1"])
    data = batch()
    expected = losses.r1_penalty(lambda x: critic.scores(x, data.source), data.images)
    assert_close(terms["r1"], expected)
    style = cast(StyleEncoder, networks[STYLE])(data.real, data.target)
    noise = draws().noise(4, LATENT)
    mapped = networks[MAPPING](noise, data.target)
    fakes = [networks["generator"](data.images, s) for s in (mapped, style)]
    judged = torch.cat([critic.scores(fake, data.target) for fake in fakes])
    real = critic.scores(data.images, data.source)
    assert_close(terms["gan"], losses.minimax_discriminator(real, judged), atol=1e-5, rtol=1e-5)


def test_the_generators_loss_is_the_sum_of_its_terms() -> None:
    total, terms, networks = terms_of("generator", sty=2.0, ds=3.0, cyc=4.0)
    assert_close(total, terms["adv"] + 2 * terms["sty"] + 4 * terms["cyc"] - 3 * terms["ds"])
    data, generator, encoder = batch(), networks["generator"], networks[STYLE]
    rng = draws()
    noise, other = rng.noise(4, LATENT), rng.noise(4, LATENT)
    styles = [networks[MAPPING](noise, data.target), encoder(data.real, data.target)]
    painted = [generator(data.images, style) for style in styles]
    found = [encoder(image, data.target) for image in painted]
    assert_close(
        terms["sty"], sum((s - f).abs().mean() for s, f in zip(styles, found, strict=True)) / 2
    )
    another = generator(data.images, networks[MAPPING](other, data.target))
    assert_close(terms["ds"], (painted[0] - another).abs().mean())
    # Back in the style that the source image itself has as one of its own class.
    own = encoder(data.images, data.source)
    back = [generator(image, own) for image in painted]
    assert_close(terms["cyc"], sum((data.images - x).abs().mean() for x in back) / 2)


def test_the_weight_of_the_diversity_falls_to_nothing() -> None:
    for step, share in ((0, 1.0), (25, 0.75), (100, 0.0), (900, 0.0)):
        total, terms, _ = terms_of("generator", step=step, ds=2.0, diversity_steps=100)
        rest = terms["adv"] + terms["sty"] + terms["cyc"]
        assert_close(total, rest - 2 * share * terms["ds"])


# --- training


def test_the_mapping_network_learns_at_a_rate_of_its_own() -> None:
    state = State(config_of(mapping_lr=1e-5), made()[0], device=CPU)
    # The state's own method has the settings of the configuration.
    state = State(
        config_of(mapping_lr=1e-5), StarGANv2(config_of(mapping_lr=1e-5).method, TASK), device=CPU
    )
    rates = {
        id(p): group["lr"]
        for group in state.optimisers["generator"].param_groups
        for p in group["params"]
    }
    for name, rate in ((MAPPING, 1e-5), (STYLE, 2e-4), ("generator", 2e-4)):
        assert {rates[id(p)] for p in state.networks[name].parameters()} == {rate}


def test_the_averages_of_all_three_networks_follow_them() -> None:
    config = config_of()
    engine = Engine(config, StarGANv2(config.method, TASK), device=CPU, bf16=False)
    names = ("generator", MAPPING, STYLE)
    before = {n: [p.clone() for p in engine.state.networks[n].parameters()] for n in names}
    terms = engine.step(0, batch)
    assert not terms["skipped"]
    decay = 1 / EMA_RAMP
    for name in names:
        average = engine.state.averages[name]
        assert engine.state.painting.networks[name] is average
        now = engine.state.networks[name].parameters()
        for old, new, mean in zip(before[name], now, average.parameters(), strict=True):
            assert_close(mean, decay * old + (1 - decay) * new)
        assert any(
            not torch.equal(*pair)
            for pair in zip(before[name], engine.state.networks[name].parameters(), strict=True)
        )


# --- painting


def test_noise_or_a_reference_makes_the_style_that_paints() -> None:
    method, networks = made()
    painter, image, reference = Painter(method, networks), batch().normal, batch(1).defect
    noise, control = torch.randn(2, LATENT), constant_map(one_hot([1, 2], 3))
    assert painter.noise_size(SIZE, SIZE) == LATENT and method.styled
    generator, label = networks["generator"], one_hot([1, 2], 3)
    by_noise = painter.layer(image, control, noise).foreground
    assert_close(by_noise, generator(image, networks[MAPPING](noise, label)))
    assert not torch.equal(by_noise, painter.layer(image, control, noise + 1).foreground)
    like = painter.layer(image, control, noise, reference).foreground
    assert_close(like, generator(image, networks[STYLE](reference, label)))
    assert torch.equal(like, painter.layer(image, control, noise + 1, reference).foreground)
    assert not torch.equal(like, painter.layer(image, control, noise, image).foreground)


def test_the_preset_is_its_authors_recipe() -> None:
    config = load_config("starganv2", {})
    s, optim = config.method, config.optim
    assert (s.r1, s.sty, s.ds, s.cyc, s.mapping_lr) == (1, 1, 1, 1, 1e-6)
    assert (s.latent, s.style_size, s.mapping_width, s.residual_blocks) == (16, 64, 512, 2)
    assert (optim.lr, optim.betas, optim.ema) == (1e-4, (0, 0.99), 0.999)
    assert s.diversity_steps == config.training.steps == 100_000 and config.training.batch_size == 8


def test_a_final_rate_above_the_mapping_networks_is_refused() -> None:
    with pytest.raises(SettingError, match=r"final_lr 1e-06 is larger than mapping_lr 1e-07"):
        config_of(mapping_lr=1e-7)
