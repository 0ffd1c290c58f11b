"""SPADE: modulation by a map, spectral normalization, a style with a prior."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from defectgan import losses
from defectgan.batch import Batch
from defectgan.devices import seeded
from defectgan.methods.base import CRITIC, Networks, Player, Task
from defectgan.methods.config import Config, load_config, parse_config
from defectgan.methods.draws import Draws
from defectgan.methods.spade import SPADE, STYLE
from defectgan.model.painter import Painter
from defectgan.networks.control import constant_map, one_hot
from defectgan.networks.layers import Spade, normalize
from defectgan.networks.multiscale import MultiScaleCritic
from defectgan.networks.spectral import SpectralConv
from defectgan.training.state import State
from defectgan.training.step import Engine, standing_still
from tests.conftest import CPU

SIZE, STYLE_SIZE = 16, 5
TASK = Task(1, 3, (SIZE, SIZE))
TINY: dict[str, Any] = {
    "name": "spade",
    **{"width": 4, "stages": 2, "spade_hidden": 4, "style_size": STYLE_SIZE, "style_layers": 2},
    **{"critic_width": 4, "critic_layers": 2, "scales": 2},
}


def config_of(**settings: Any) -> Config:
    tree = {"data": {"image_size": SIZE}, "method": TINY | settings}
    more = {"training": {"batch_size": 4, "steps": 10}, "optim": {"lr": 1e-4}}
    return parse_config(tree | more, origin="tests")


def made(**settings: Any) -> tuple[SPADE, Networks]:
    method = SPADE(config_of(**settings).method, TASK)
    with seeded(0):
        networks = method.networks()
    for network in networks.values():
        settle(network)
    return method, networks


@torch.no_grad()
def settle(network: nn.Module) -> None:
    """Let the power iteration come to its end, so that each further pass gives the same."""
    for conv in network.modules():
        if isinstance(conv, SpectralConv):
            for _ in range(300):
                conv._sigma(conv.weight.flatten(1), learns=True)


def batch(step: int = 0, part: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(10 * step + part)
    normal, defect = torch.rand(2, 2, 1, SIZE, SIZE, generator=rng) * 2 - 1
    return Batch(normal, defect, one_hot([1, 2], 3))


def draws() -> Draws:
    return Draws(torch.Generator().manual_seed(7), 0)


def of(method: SPADE, name: str) -> Player:
    (player,) = (one for one in method.players() if one.name == name)
    return player


# --- spectral normalization


def largest(conv: SpectralConv) -> Tensor:
    """The largest singular value of the kernel that is applied, by SVD."""
    kernel = conv.weight.detach() / conv._sigma(conv.weight.flatten(1), learns=False).detach()
    value: Tensor = torch.linalg.matrix_norm(kernel.flatten(1), 2)
    return value


def test_the_largest_singular_value_is_one_from_the_start_and_stays_so() -> None:
    method, _ = made()
    engine = Engine(config_of(), method, device=CPU, bf16=False)
    convs = {
        f"{name}.{path}": m
        for name, network in engine.state.networks.items()
        for path, m in network.named_modules()
        if isinstance(m, SpectralConv)
    }
    assert {name.split(".")[0] for name in convs} == {"generator", STYLE, CRITIC}
    assert all(largest(conv) == pytest.approx(1, abs=0.05) for conv in convs.values())
    for t in range(4):
        assert not engine.step(t, batch)["skipped"]
    assert all(largest(conv) == pytest.approx(1, abs=0.05) for conv in convs.values())
    # All of the critic's, and all but the branches of SPADE in the generator.
    plain = [m for m in engine.state.networks[CRITIC].modules() if isinstance(m, nn.Conv2d)]
    assert all(isinstance(conv, SpectralConv) for conv in plain)


def test_a_spectral_convolution_is_the_plain_one_over_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    conv, x = SpectralConv(3, 4, 3, repeat_edge=False), torch.randn(2, 3, 8, 8)
    settle(conv)
    sigma = torch.linalg.matrix_norm(conv.weight.flatten(1), 2)
    assert_close(conv(x), F.conv2d(x, conv.weight / sigma, conv.bias, padding=1))


def test_the_gradient_goes_through_the_singular_value() -> None:
    """W / sigma(W) is the same for 2 W: nothing pulls along W."""
    torch.manual_seed(0)
    conv = SpectralConv(2, 3, 3)
    settle(conv)
    loss = conv(torch.randn(1, 2, 8, 8)).square().sum()
    (gradient,) = torch.autograd.grad(loss, conv.weight)
    along, size = (gradient * conv.weight).sum().detach(), loss.detach()
    assert abs(float(along)) < 1e-4 * float(size) and gradient.any()


def test_painting_and_judging_leave_the_power_iteration_as_it_is() -> None:
    """A sample sheet in between must not change what a training comes to."""
    conv, x = SpectralConv(3, 4, 3), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        conv.weight.mul_(torch.rand(4, 1, 1, 1))
    before = conv.u.clone()
    with torch.no_grad():
        conv(x)
    with standing_still(conv):
        conv(x.requires_grad_())
    assert torch.equal(conv.u, before)
    conv(x)
    assert not torch.equal(conv.u, before)


# --- SPADE


def test_a_constant_map_is_a_conditional_normalization_without_parameters_of_its_own() -> None:
    torch.manual_seed(0)
    spade, x = Spade(4, 3, 8), torch.randn(2, 4, 8, 8)
    control = constant_map(one_hot([1, 2], 3))
    full = spade(x, control.expand(-1, -1, 8, 8))
    assert_close(full, spade(x, control), atol=1e-5, rtol=1e-5)
    for scaled in (3 * x + 2,):
        assert_close(spade(scaled, control), spade(x, control), atol=1e-3, rtol=1e-3)
    assert not any("norm" in name for name, _ in spade.named_parameters())


def test_a_change_of_the_map_changes_nothing_beyond_the_receptive_field() -> None:
    """Two 3 x 3 convolutions: two pixels round it. And (1 + gamma(m)) norm(x) + beta(m)."""
    torch.manual_seed(0)
    spade, x = Spade(4, 3, 8), torch.randn(1, 4, 16, 16)
    control = torch.zeros(1, 3, 16, 16)
    control[:, 0] = 1
    other = control.clone()
    other[:, :, 8, 8] = torch.tensor([0.0, 1, 0])
    changed = (spade(x, control) != spade(x, other)).any(1)[0]
    assert changed[6:11, 6:11].any()
    changed[6:11, 6:11] = False
    assert not changed.any()
    features = F.relu(spade.shared(other))
    naive = (1 + spade.gamma(features)) * normalize(x, torch.ones(1), torch.zeros(1))
    assert_close(spade(x, other), naive + spade.beta(features))


def test_a_map_is_resized_to_the_nearest_cell() -> None:
    torch.manual_seed(0)
    spade, x = Spade(2, 3, 4), torch.randn(1, 2, 8, 8)
    coarse = torch.rand(1, 3, 4, 4)
    by_hand = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(spade(x, coarse), spade(x, by_hand))


# --- losses


def test_the_divergence_is_zero_at_the_unit_gaussian_and_known_elsewhere() -> None:
    zero = torch.zeros(3, 4)
    assert losses.kl_divergence(zero, zero) == 0
    # KL(N(m, s^2) | N(0, 1)) = (m^2 + s^2 - log s^2 - 1) / 2, summed over the values.
    mean, log_variance = torch.full((3, 4), 2.0), torch.full((3, 4), 1.0)
    expected = 4 * (4 + torch.e - 1 - 1) / 2
    assert float(losses.kl_divergence(mean, log_variance)) == pytest.approx(expected)
    by_torch = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, torch.exp(log_variance / 2)),
        torch.distributions.Normal(zero, torch.ones(3, 4)),
    )
    assert_close(losses.kl_divergence(mean, log_variance), by_torch.sum(1).mean())


def test_what_lies_beyond_the_margin_costs_the_critic_nothing() -> None:
    real, fake = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([-3.0, -1.0, 1.0])
    assert_close(losses.hinge_critic(real, fake), torch.tensor(1 / 3 + 2 / 3))
    scores = torch.tensor([1.5, -1.5], requires_grad=True)
    losses.hinge_critic(scores[:1], scores[1:]).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None and not scores.grad.any()


def test_the_generators_loss_is_the_sum_of_its_terms_and_the_way_back_has_the_own_style() -> None:
    method, networks = made(fm=2.0, rec=3.0, kld=4.0)
    total, terms = of(method, "generator").loss(networks, batch(), draws(), None)
    weights = {"adv": 1.0, "fm": 2.0, "rec": 3.0, "kld": 4.0}
    assert_close(total, torch.stack([w * terms[n] for n, w in weights.items()]).sum())
    data, rng, encoder = batch(), draws(), networks[STYLE]
    noise, own_noise = rng.noise(4, STYLE_SIZE), rng.noise(4, STYLE_SIZE)

    def style(images: Tensor, drawn: Tensor) -> Tensor:
        mean, log_variance = encoder(images)
        return mean + torch.exp(log_variance / 2) * drawn  # type: ignore[no-any-return]

    generator = networks["generator"]
    painted = generator(data.images, constant_map(data.target), style(data.real, noise))
    back = generator(painted, constant_map(data.source), style(data.images, own_noise))
    assert_close(terms["rec"], (data.images - back).abs().mean(), atol=1e-4, rtol=1e-4)
    critic = cast(MultiScaleCritic, networks[CRITIC])
    score = critic.scores(painted, data.target).mean()
    assert_close(terms["adv"], -score, atol=1e-4, rtol=1e-4)
    assert_close(terms["kld"], losses.kl_divergence(*encoder(data.images)))


def test_the_critics_loss_is_the_hinge_of_every_patch_of_every_scale() -> None:
    method, networks = made()
    critic, fake = cast(MultiScaleCritic, networks[CRITIC]), torch.rand(4, 1, SIZE, SIZE)
    total, _ = of(method, "critic").loss(networks, batch(), draws(), fake)
    control = constant_map(batch().target)
    with torch.no_grad():
        pairs = zip(critic.maps(batch().real, control), critic.maps(fake, control), strict=True)
        each = [F.relu(1 - a[-1]).mean() + F.relu(1 + b[-1]).mean() for a, b in pairs]
    assert_close(total, torch.stack(each).mean(), atol=1e-4, rtol=1e-4)


# --- training and painting


def test_the_critic_learns_four_times_as_fast_as_the_generator() -> None:
    config = load_config("spade", {"method": TINY, "data": {"image_size": SIZE}})
    state = State(config, SPADE(config.method, TASK), device=CPU)
    rates = {n: {g["lr"] for g in o.param_groups} for n, o in state.optimisers.items()}
    assert rates == {"critic": {4e-4}, "generator": {1e-4}}
    assert config.optim.betas == (0, 0.999)
    whole = load_config("spade", {}).method
    assert (whole.kld, whole.fm, whole.spade_hidden, whole.style_size) == (0.05, 10, 128, 256)


@torch.no_grad()
def test_a_reference_gives_the_style_and_the_seed_a_place_in_its_spread() -> None:
    method, networks = made()
    painter, image, reference = Painter(method, networks), batch().normal, batch(1).defect
    noise, control = torch.randn(2, STYLE_SIZE), constant_map(one_hot([1, 2], 3))
    assert painter.noise_size(SIZE, SIZE) == STYLE_SIZE and method.styled
    generator = networks["generator"]
    mean, log_variance = networks[STYLE](reference)
    like = painter.layer(image, control, noise, reference).foreground
    assert_close(like, generator(image, control, mean + torch.exp(log_variance / 2) * noise))
    assert not torch.equal(like, painter.layer(image, control, noise, image).foreground)
    assert_close(painter.layer(image, control, noise).foreground, generator(image, control, noise))


def test_the_image_and_the_class_reach_what_is_painted() -> None:
    _, networks = made()
    generator, image, style = networks["generator"], batch().normal, torch.randn(2, STYLE_SIZE)
    one, other = (constant_map(one_hot([k, k], 3)) for k in (1, 2))
    painted = generator(image, one, style)
    assert painted.shape == image.shape
    assert not torch.equal(painted, generator(image, other, style))
    assert not torch.equal(painted, generator(-image, one, style))
