"""The textbook's plots of docs/methods.md, computed with the losses that the library trains with.

    python benchmarks/methods_plots.py                  all of them, into docs/
    python benchmarks/methods_plots.py lines surfaces   some

lines      two parallel lines: KL, Jensen-Shannon and Wasserstein over their distance
sure       what is left of a generator's gradient as the discriminator gets sure
surfaces   clipped weights against the gradient penalty, on eight Gaussians
modes      eight Gaussians under the minimax loss, and under WGAN-GP

A point of the plane is an image [2, 1, 1] to the losses. Needs the extra ``plots``; a minute or two
on one core.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from defectgan import losses

DOCS = Path(__file__).parents[1] / "docs"
# A logit that stands for certainty.
SURE = 60.0
RADIUS, SPREAD = 2.0, 0.05
MODES = 8
BATCH = 256
# Of a mode: points within so many deviations of its middle are its own.
NEAR = 4 * SPREAD
BLUE, RED, GREEN, GRAY = "#1f77b4", "#d62728", "#2ca02c", "#888888"


# --- two parallel lines


class Distances(NamedTuple):
    """Of two distributions that do not touch, or are one."""

    kl: float
    js: float
    wasserstein: float


def of_lines(theta: float) -> Distances:
    """Of the uniform ones on the segments (0, u) and (theta, u), by the losses at their optimum.

    The best discriminator is sure where the segments differ and doubts where they are one; with D
    at its best ``JS = log 2 - L_D / 2``. The best critic of slope 1 is the first coordinate.
    """
    u = torch.linspace(0, 1, 101)
    real, made = (torch.stack([torch.full_like(u, x), u], dim=1) for x in (0.0, theta))
    logit = 0.0 if theta == 0 else SURE
    least = losses.minimax_discriminator(logit + 0 * u, -logit + 0 * u)
    critic = math.copysign(1, -theta) * torch.tensor([1.0, 0.0])
    estimate = -losses.wasserstein_critic(real @ critic, made @ critic)
    kl = 0.0 if theta == 0 else math.inf
    return Distances(kl, math.log(2) - float(least) / 2, float(estimate))


def lines() -> Figure:
    figure, (left, right) = _axes(2, size=(9, 3.2))
    for x, name, colour in ((0, "real", BLUE), (0.6, "made", RED)):
        left.plot([x, x], [0, 1], color=colour, linewidth=3, label=name)
    left.annotate("", (0.6, 0.5), (0, 0.5), arrowprops={"arrowstyle": "<->"})
    left.text(0.3, 0.53, r"$\theta$", ha="center")
    left.set(xlim=(-0.4, 1.2), title="two segments, side by side")
    left.legend(loc="upper right")
    thetas = [x / 50 for x in range(-50, 51)]
    found = [of_lines(theta) for theta in thetas]
    right.plot(thetas, [d.wasserstein for d in found], color=GREEN, label=r"$W = |\theta|$")
    apart = [(t, d.js) for t, d in zip(thetas, found, strict=True) if t]
    for side in (-1, 1):
        part = [(t, js) for t, js in apart if t * side > 0]
        label = r"$JS = \log 2$, 0 at $\theta = 0$" if side > 0 else None
        right.plot(*zip(*part, strict=True), color=BLUE, label=label)
    right.plot([0], [0], "o", color=BLUE, markersize=4)
    for t in (-0.75, -0.4, 0.4, 0.75):
        right.annotate(
            "", (t, 1.12), (t, 0.98), arrowprops={"arrowstyle": "->", "color": RED}, color=RED
        )
    right.plot([], [], color=RED, marker="^", linestyle="", label=r"$KL = \infty$, but at 0")
    right.set(ylim=(-0.05, 1.15), xlabel=r"$\theta$", title="how far apart they are")
    right.legend(loc="lower right", fontsize=8)
    return figure


# --- a discriminator that is sure


GENERATOR_LOSSES: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    r"minimax $\log(1 - D)$": (losses.minimax_generator, RED),
    r"non-saturating $-\log D$": (losses.non_saturating_generator, BLUE),
    r"Wasserstein $-D$": (losses.wasserstein_generator, GREEN),
}


def pulls(apart: float, loss: Callable[[Tensor], Tensor], *, points: int = 4001) -> float:
    """The mean size of a generator loss's gradient at what is made, N(0, 1), where real is
    N(apart, 1) and the discriminator is the best one, or the critic the best of slope 1.
    """
    x = torch.special.ndtri(torch.linspace(0, 1, points + 2, dtype=torch.float64)[1:-1])
    x.requires_grad_()
    score = x if loss is losses.wasserstein_generator else apart * x - apart**2 / 2
    (slope,) = torch.autograd.grad(points * loss(score), x)
    return float(slope.abs().mean())


def sure() -> Figure:
    figure, (left, right) = _axes(2, size=(9, 3.2))
    logits = torch.linspace(-8, 8, 201)
    distances = [d / 10 for d in range(1, 81)]
    for name, (loss, colour) in GENERATOR_LOSSES.items():
        at = logits.clone().requires_grad_()
        (slope,) = torch.autograd.grad(len(at) * loss(at), at)
        left.plot(logits, slope.abs(), color=colour, label=name)
        right.semilogy(distances, [pulls(d, loss) for d in distances], color=colour)
    left.set(
        xlabel="logit (score) of a made image", ylabel="|slope of the loss|", ylim=(-0.05, 1.15)
    )
    left.set_title("seen through on the left, passes on the right", fontsize=9)
    left.legend(fontsize=8, loc="center right")
    right.set(ylim=(1e-4, 20), xlabel="distance of N(0, 1) made from N(d, 1) real, d")
    right.set_title("gradient that reaches the generator, best opponent", fontsize=9)
    return figure


# --- eight Gaussians


def middles() -> Tensor:
    """[8, 2], on a ring."""
    angle = torch.arange(MODES) * 2 * math.pi / MODES
    return RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)


def real_points(count: int, rng: torch.Generator) -> Tensor:
    """[count, 2]."""
    chosen = torch.randint(MODES, (count,), generator=rng)
    return middles()[chosen] + SPREAD * torch.randn(count, 2, generator=rng)


def modes_hit(points: Tensor) -> int:
    """How many of the eight at least a hundredth of the points [N, 2] lie near."""
    near = torch.cdist(points, middles()) < NEAR
    return int((near.float().mean(0) > 0.01).sum())


def network(inputs: int, outputs: int, *, width: int = 64, layers: int = 3) -> nn.Sequential:
    sizes = [inputs] + layers * [width]
    hidden = [
        layer
        for before, after in itertools.pairwise(sizes)
        for layer in (nn.Linear(before, after), nn.ReLU())
    ]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], outputs))


def penalty(critic: nn.Module, real: Tensor, made: Tensor, rng: torch.Generator) -> Tensor:
    """The library's, of points as images."""
    t = torch.rand(len(real), generator=rng)
    at = losses.interpolate(real[..., None, None], made[..., None, None], t)
    return losses.penalty_at(lambda x: critic(x.flatten(1))[:, 0], at)


class Trained(NamedTuple):
    """A critic, and the weights that it has in all its layers, flat."""

    critic: nn.Sequential
    weights: Tensor


def train_critic(*, clip: float | None, steps: int = 3000) -> Trained:
    """Of the eight Gaussians against the same with much noise, which stands still."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    critic = network(2, 1)
    optimiser: torch.optim.Optimizer = (
        torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
        if clip is None
        else torch.optim.RMSprop(critic.parameters(), lr=1e-4)
    )
    for _ in range(steps):
        real = real_points(BATCH, rng)
        made = real_points(BATCH, rng) + torch.randn(BATCH, 2, generator=rng)
        loss = losses.wasserstein_critic(critic(real), critic(made))
        if clip is None:
            loss = loss + 10 * penalty(critic, real, made, rng)
        _lower(optimiser, loss)
        if clip is not None:
            losses.clip_weights(critic.parameters(), clip)
    weights = [p.detach().flatten() for n, p in critic.named_parameters() if n.endswith("weight")]
    return Trained(critic, torch.cat(weights))


CLIP = 0.1


def at_bounds(weights: Tensor) -> float:
    """The share of weights that lie within a hundredth of a bound."""
    return float((weights.abs() > 0.99 * CLIP).float().mean())


def surfaces() -> Figure:
    figure, axes = _axes(4, size=(12, 3.1))
    side = torch.linspace(-3.2, 3.2, 81)
    grid = torch.cartesian_prod(side, side)
    kinds = ((CLIP, f"weights clipped to {CLIP:g}", RED), (None, "gradient penalty", BLUE))
    for k, (clip, name, colour) in enumerate(kinds):
        critic, weights = train_critic(clip=clip)
        with torch.no_grad():
            value = critic(grid).reshape(81, 81).T
        axes[k].contourf(side, side, value, levels=18, cmap="viridis")
        shown = real_points(200, torch.Generator().manual_seed(1))
        axes[k].scatter(shown[:, 0], shown[:, 1], s=3, color="white")
        axes[k].set_title(f"the critic's value: {name}", fontsize=9)
        axes[k].set_aspect("equal")
        axes[2 + k].hist(weights.numpy(), bins=60, color=colour)
        at = "" if clip is None else f", {at_bounds(weights):.0%} at the bounds"
        axes[2 + k].set_title(f"its weights{at}", fontsize=9)
        axes[2 + k].set_yticks([])
    return figure


class Game(NamedTuple):
    """What the critic and the generator lower, and how often the former for once the latter."""

    name: str
    adversary: Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
    generator: Callable[[Tensor], Tensor]
    repeats: int


def _minimax(critic: nn.Module, real: Tensor, made: Tensor, rng: torch.Generator) -> Tensor:
    return losses.minimax_discriminator(critic(real), critic(made))


def _wasserstein(critic: nn.Module, real: Tensor, made: Tensor, rng: torch.Generator) -> Tensor:
    distance = losses.wasserstein_critic(critic(real), critic(made))
    # The circle is small: its slope of 1 asks for a penalty that is small beside the distance.
    return distance + 0.1 * penalty(critic, real, made, rng)


MINIMAX = Game("minimax", _minimax, losses.minimax_generator, 1)
WGAN_GP = Game("WGAN-GP", _wasserstein, losses.wasserstein_generator, 5)
# Of both games: the generator is the faster one, as where modes collapse.
RATES = {"generator": 1e-3, "critic": 3e-4}
SHOWN_AT = (250, 500, 1000, 1500)


def play(game: Game, *, steps: int = SHOWN_AT[-1], seed: int = 0) -> Iterator[tuple[int, Tensor]]:
    """After each of the steps of ``SHOWN_AT`` up to ``steps``, its number and 512 points made."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    generator, critic = network(2, 2, width=128, layers=2), network(2, 1, width=128, layers=2)
    makes, judges = (
        torch.optim.Adam(net.parameters(), lr=rate, betas=(0.5, 0.999))
        for net, rate in zip((generator, critic), RATES.values(), strict=True)
    )
    for step in range(1, steps + 1):
        for _ in range(game.repeats):
            real = real_points(BATCH, rng)
            made = generator(torch.randn(BATCH, 2, generator=rng)).detach()
            _lower(judges, game.adversary(critic, real, made, rng))
        made = generator(torch.randn(BATCH, 2, generator=rng))
        _lower(makes, game.generator(critic(made)))
        if step in SHOWN_AT:
            noise = torch.randn(512, 2, generator=torch.Generator().manual_seed(9))
            yield step, generator(noise).detach()


def _lower(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def modes() -> Figure:
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    for row, game in enumerate((MINIMAX, WGAN_GP)):
        for column, (step, points) in enumerate(play(game)):
            axes = figure.add_subplot(2, len(SHOWN_AT), row * len(SHOWN_AT) + column + 1)
            ring = middles()
            axes.scatter(ring[:, 0], ring[:, 1], s=60, color="none", edgecolors=GRAY)
            axes.scatter(points[:, 0], points[:, 1], s=3, color=(RED, BLUE)[row], alpha=0.5)
            axes.set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect="equal")
            title = f"{game.name}, step {step}: {modes_hit(points)} of {MODES}"
            axes.set_title(title, fontsize=9)
    return figure


PLOTS: dict[str, Callable[[], Figure]] = {
    "lines": lines,
    "sure": sure,
    "surfaces": surfaces,
    "modes": modes,
}


def _axes(count: int, *, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=size, layout="constrained")
    found: Any = figure.subplots(1, count)
    return figure, list(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("plots", nargs="*", choices=[*PLOTS, []], help="all by default")
    parser.add_argument("--out", type=Path, default=DOCS)
    wanted = parser.parse_args()
    for name in wanted.plots or PLOTS:
        path = wanted.out / f"methods-{name}.png"
        PLOTS[name]().savefig(path, format="png", dpi=80)
        print(f"{path}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
