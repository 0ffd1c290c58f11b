"""The critic's augmentation: what each kind does, and how its strength follows the critic."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from defectgan.methods.augment import (
    BRIGHTNESS,
    CONTRAST,
    KINDS,
    augment,
    draw_augmentation,
)
from defectgan.training.adaptive import GOAL, STRONGEST, WAY, adapted

ALWAYS, NEVER = torch.tensor(1.0), torch.tensor(0.0)
ACROSS, DOWN, TURN, SCALE, CONTRASTED, LIGHTER, SATURATED = range(KINDS)


def images(channels: int = 3) -> Tensor:
    return torch.rand(2, channels, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def only(kind: int, amount: float) -> Tensor:
    """One kind at an amount in [-1, 1], no other."""
    drawn = torch.full((2, KINDS, 2), 0.5)
    drawn[:, kind, 1] = (amount + 1) / 2
    return drawn


def test_nothing_is_changed_at_strength_0() -> None:
    drawn = draw_augmentation(2, torch.Generator().manual_seed(0))
    assert_close(augment(images(), drawn, NEVER), images(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "amount", "expected"),
    [
        # A shift of an eighth to the left and upwards is two pixels of sixteen.
        (ACROSS, 1.0, lambda x: torch.cat([x[..., 2:], x[..., -1:], x[..., -2:-1]], dim=3)),
        (DOWN, 1.0, lambda x: torch.cat([x[..., 2:, :], x[..., -1:, :], x[..., -2:-1, :]], dim=2)),
        (TURN, 1.0, lambda x: x.flip(2, 3)),
        (TURN, 0.5, lambda x: x.rot90(1, (2, 3))),
        (LIGHTER, 0.5, lambda x: x + BRIGHTNESS),
        (SATURATED, -1.0, lambda x: x.mean(1, keepdim=True).expand_as(x)),
    ],
)
def test_each_kind_does_what_its_name_says(kind, amount, expected) -> None:  # type: ignore[no-untyped-def]
    changed = augment(images(), only(kind, amount), ALWAYS)
    assert_close(changed, expected(images()), rtol=0, atol=1e-4)


def test_contrast_keeps_the_mean_and_stretches_the_rest() -> None:
    x, changed = images(), augment(images(), only(CONTRASTED, 1.0), ALWAYS)
    assert_close(changed.mean((1, 2, 3)), x.mean((1, 2, 3)))
    assert_close(changed.std((1, 2, 3)), x.std((1, 2, 3)) * torch.tensor(CONTRAST).exp())


def test_turns_keep_the_shape_of_things_in_oblong_images() -> None:
    """A disc stays a disc: height and width are scaled alike."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="ij")
    disc = (((y - 15.5) ** 2 + (x - 31.5) ** 2) < 36).float().expand(2, 1, 32, 64)
    turned = augment(disc, only(TURN, 0.25), ALWAYS)
    middle = slice(16, 48)  # further out the mirrored border shows it again
    assert (turned - disc)[..., middle].abs().mean() < 0.02


def test_gray_images_stay_gray_and_gradients_flow() -> None:
    x = images(channels=1).requires_grad_()
    drawn = draw_augmentation(2, torch.Generator().manual_seed(1))
    changed = augment(x, drawn, ALWAYS)
    assert changed.shape == x.shape
    (gradient,) = torch.autograd.grad(changed.sum(), x)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("side", [64, 256])
def test_images_are_moved_to_the_same_place_under_autocast(side: int) -> None:
    """In bf16 the grid would be a third of a pixel off at 128 px."""
    rng = torch.Generator().manual_seed(0)
    x, drawn = torch.rand(2, 3, side, side, generator=rng), draw_augmentation(2, rng)
    expected = augment(x, drawn, ALWAYS)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(augment(x, drawn, ALWAYS), expected, rtol=0, atol=1e-5)


def test_about_so_many_images_are_changed_as_the_strength_says() -> None:
    drawn = draw_augmentation(4000, torch.Generator().manual_seed(0))
    drawn[:, :LIGHTER, 0] = 1  # no other kind
    flat = torch.zeros(4000, 1, 1, 1)
    changed = augment(flat, drawn, torch.tensor(0.3)) != 0
    assert float(changed.float().mean()) == pytest.approx(0.3, abs=0.03)


def test_the_strength_follows_the_critic_and_stays_within_bounds() -> None:
    half = torch.tensor(0.5)
    above, below = torch.tensor(GOAL + 0.1), torch.tensor(GOAL - 0.1)
    assert_close(adapted(half, above, 1000), half + 1 / (1000 * WAY))
    assert_close(adapted(half, below, 1000), half - 1 / (1000 * WAY))
    assert_close(adapted(half, torch.tensor(float("nan")), 1000), half - 1 / (1000 * WAY))
    for _ in range(200):
        half = adapted(half, above, 1000)
    assert_close(half, torch.tensor(STRONGEST))
    assert adapted(NEVER, below, 1000) == 0
