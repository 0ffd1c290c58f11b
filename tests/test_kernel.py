"""How far painted images lie from real ones, its error, and which step is the best."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from defectgan.metrics.kernel import Estimate, distance, error_of_share, kid, share
from defectgan.training.best import Best


def gaussian(count: int, mean: float, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return mean + torch.randn(count, 2, generator=rng, dtype=torch.float64)


def kid_of(x: Tensor, y: Tensor) -> float:
    """The KID of plain sets."""
    return kid([x], [y])


def test_the_kernel_distance_of_two_gaussians_is_its_closed_form() -> None:
    """k(x, y) = (<x, y> / 2 + 1)^3 and s = <x, y> / 2: of x ~ N(a, I) and y ~ N(b, I) in the plane,
    E s = <a, b> / 2, E s^2 = (<a, b>^2 + |a|^2 + |b|^2 + 2) / 4, E s^3 from the third moments of a
    product of normals. With b = 0 all odd moments vanish: E k(x, y) = 1 + 3 (|a|^2 + 2) / 4.
    """
    a = 1.0
    x, y, z = gaussian(4000, a, 0), gaussian(4000, 0.0, 1), gaussian(4000, 0.0, 2)
    assert kid_of(y, z) == pytest.approx(0, abs=0.05)
    norm = 2 * a * a
    cross = 1 + 3 * (norm + 2) / 4
    at_zero = 1 + 3 * 2 / 4
    # <x, x'> for two of N(a, I): mean |a|^2, and with c = |a|^2 the moments of its half.
    first, second = norm / 2, (norm**2 + 2 * norm + 2) / 4
    third = (norm**3 + 3 * norm * (2 * norm + 2) + 6 * norm) / 8
    at_a = 1 + 3 * first + 3 * second + third
    expected = at_a + at_zero - 2 * cross
    assert kid_of(x, y) == pytest.approx(expected, rel=0.1)


def test_the_kernel_distance_is_that_of_a_naive_loop() -> None:
    x, y = gaussian(4, 0.5, 0), gaussian(5, 0.0, 1)

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return (float(a @ b) / 2 + 1) ** 3

    pairs = [
        sum(k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j)
        / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    cross = sum(k(a, b) for a in x for b in y) / 20
    assert kid_of(x, y) == pytest.approx(sum(pairs) - 2 * cross)


def test_the_distance_that_a_training_judges_by_is_kid() -> None:
    x, y, z = gaussian(30, 0.5, 0), gaussian(20, 0.0, 1), gaussian(9, 0.1, 2)
    assert distance(x, [y, z]).value == pytest.approx(kid_of(x, y) + kid_of(x, z))


def drawn(seed: int, *, away: float, painted: float = 0.0) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Painted [2, M, F], unpainted [M, F] and real features of two classes: ``painted`` of the way
    from the unpainted ones, so far ``away``, to the real ones.
    """
    rng = torch.Generator().manual_seed(seed)
    plain = torch.randn(16, 8, generator=rng, dtype=torch.float64)
    reals = [away + torch.randn(n, 8, generator=rng, dtype=torch.float64) for n in (12, 9)]
    return torch.stack([plain + painted * away] * 2), plain, reals


def test_the_terms_of_a_distance_are_those_of_a_naive_jackknife() -> None:
    """Each image is left out in turn and everything computed anew; what was painted on one normal
    image is left out of all classes at once.
    """
    painted, _, reals = drawn(0, away=1, painted=0.3)
    painted[1] += 0.1

    def whole(keep: list[int], kept: list[list[int]]) -> float:
        return sum(kid_of(painted[k][keep], reals[k][kept[k]]) for k in (0, 1))

    everything = [list(range(16)), list(range(12)), list(range(9))]
    variance = torch.zeros((), dtype=torch.float64)
    for sample, images in enumerate(everything):
        without = []
        for i in images:
            left = [[j for j in s if (n, j) != (sample, i)] for n, s in enumerate(everything)]
            without.append(whole(left[0], left[1:]))
        n = len(images)
        variance += torch.tensor(without, dtype=torch.float64).var(correction=0) * (n - 1)
    found = distance(painted, reals)
    assert found.value == pytest.approx(whole(everything[0], everything[1:]))
    assert found.error == pytest.approx(float(variance.sqrt()))


def test_the_error_of_a_distance_is_its_spread_over_other_images() -> None:
    found = [distance(plain, reals) for _, plain, reals in (drawn(s, away=1) for s in range(200))]
    spread = torch.tensor([f.value for f in found]).std()
    typical = torch.tensor([f.error for f in found]).median()
    assert_close(typical.float(), spread.float(), rtol=0.25, atol=0)


def test_the_error_of_a_difference_leaves_out_what_both_have_in_common() -> None:
    painted, plain, reals = drawn(0, away=1, painted=0.01)
    near, far = distance(painted, reals), distance(plain, reals)
    assert near.less(far).error < 0.1 * near.error
    assert far.less(far).error == 0


def test_there_is_no_share_of_a_distance_that_is_not_clearly_there() -> None:
    """Normal images and defects of one distribution: half of the distances are above 0 by accident,
    and a share of such a one was any number, -67 in a run.
    """
    shares = []
    for seed in range(100):
        painted, plain, reals = drawn(seed, away=0)
        shares.append(share(distance(painted + 0.1, reals), distance(plain, reals)))
    assert sum(s is not None for s in shares) <= 10
    assert all(abs(s.value) < 3 for s in shares if s is not None)


def test_there_is_no_share_of_what_is_not_finite() -> None:
    """It would be the best for good: nothing is clearly above it."""
    painted, plain, reals = drawn(0, away=2)
    painted[0] = torch.nan
    assert share(distance(painted, reals), distance(plain, reals)) is None


@given(seed=st.integers(0, 10**6), away=st.floats(1.5, 4))
def test_a_share_is_1_unpainted_and_never_clearly_below_0(seed: int, away: float) -> None:
    painted, plain, reals = drawn(seed, away=away, painted=1)
    unpainted = distance(plain, reals)
    same, gone = share(unpainted, unpainted), share(distance(painted, reals), unpainted)
    assert same is not None and same.value == pytest.approx(1)
    assert error_of_share(unpainted, unpainted) == pytest.approx(0, abs=1e-12)
    assert gone is not None and abs(gone.value) < 0.5


def estimate(value: float, *errors: float) -> Estimate:
    return Estimate(torch.tensor([value, *errors], dtype=torch.float64))


def test_a_low_share_by_luck_does_not_win_for_good_and_a_clearly_lower_one_does() -> None:
    best = Best()
    assert best.takes(estimate(0.5, 0.1, 0.0))
    assert best.takes(estimate(-0.3, 0.3, 0.1))  # lucky: its error is as large
    assert best.takes(estimate(0.1, 0.0, 0.0))  # cannot be told from it, and more was learned
    assert not best.takes(estimate(0.9, 0.2, 0.1))
    assert best.takes(estimate(-0.9, 0.3, 0.1))
    assert not best.takes(estimate(0.1, 0.3, 0.1))  # as often as the errors are shared
    assert best.lowest is not None and best.lowest.value == -0.9
