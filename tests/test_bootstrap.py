"""Intervals over pieces and seeds: against known distributions and scipy's."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, f1_score, recall_score

from defectgan.metrics.bootstrap import interval, paired_interval
from defectgan.metrics.confusion import accuracy, confusions, macro_f1, recalls


def mean(values: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = counts @ values / counts.sum(axis=1)
    return means


def test_of_single_images_and_one_seed_it_is_scipys() -> None:
    values = np.random.default_rng(0).gamma(1.0, size=80)
    ours = interval(values[None, None], np.arange(80), mean, resamples=20_000)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=0)
    assert ours.value == pytest.approx(values.mean())
    expected = (theirs.confidence_interval.low, theirs.confidence_interval.high)
    assert (ours.low, ours.high) == pytest.approx(expected, abs=0.02 * values.std())


def test_a_paired_difference_is_that_of_each_image() -> None:
    """What both arms share drops out: the same images are easy for both."""
    rng = np.random.default_rng(1)
    shared, ours = 10 * rng.random((1, 1, 200)), rng.random((1, 1, 200))
    paired = paired_interval(shared + ours, shared, np.arange(200), mean)
    alone = interval(ours, np.arange(200), mean)
    np.testing.assert_allclose(paired, alone)


# Percentiles of 40 pieces are slightly narrow, those of 3 generators more so.
@pytest.mark.parametrize(("noise", "least"), [(0.0, 0.9), (0.3, 0.85)])
def test_it_holds_the_truth_as_often_as_it_says(noise: float, least: float) -> None:
    """A difference of mean 0: pieces of 3 images each, generators and classifiers that differ."""
    rng = np.random.default_rng(2)
    draws, pieces = 200, 40
    groups = np.repeat(np.arange(pieces), 3)
    held = 0
    for _ in range(draws):
        of_piece = rng.normal(size=pieces)[groups] + 0.3 * rng.normal(size=len(groups))
        of_seed = noise * rng.normal(size=(3, 1, 1))
        of_seed = of_seed + noise * rng.normal(size=(1, 5, 1))
        low, high = interval(of_piece + of_seed, groups, mean, resamples=400)[1:]
        held += bool(low <= 0 <= high)
    assert least <= held / draws <= 0.99, held


def test_images_of_one_piece_count_as_one() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=30).repeat(10)[None, None]
    wide = interval(values, np.arange(30).repeat(10), mean)
    narrow = interval(values, np.arange(300), mean)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(10**0.5, rel=0.1)


def test_the_spread_of_a_mean_over_few_seeds_is_not_understated() -> None:
    """Resamples of n - 1 seeds: their variance is that of the mean, s^2 / n."""
    seeds = np.array([0.0, 1.0, 5.0])
    values = np.tile(seeds[:, None, None], (1, 1, 4))
    half, nearly_all = (
        interval(values, np.arange(4), mean, level=level, resamples=40_000)
        for level in (0.5, 0.999)
    )
    # Two of three are drawn: 0, 1 and 5 with a ninth each; 0.5, 2.5 and 3 with two ninths each.
    assert half.value == pytest.approx(2)
    assert half.low == 0.5 and half.high == 3
    assert nearly_all.low == 0 and nearly_all.high == 5


def test_within_strata_no_class_goes_missing() -> None:
    true = np.array([0] * 30 + [1] * 2)
    named = true[None, None]

    def recall(one: NDArray[np.int64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return recalls(confusions(true, one, counts, classes=2))

    assert np.isnan(interval(named, np.arange(32), recall).low).tolist() == [False, True]
    np.testing.assert_array_equal(
        interval(named, np.arange(32), recall, strata=true), np.ones((3, 2))
    )


def test_the_same_seed_draws_the_same() -> None:
    values = np.random.default_rng(4).random((2, 2, 50))
    one, two, other = (interval(values, np.arange(50), mean, seed=s) for s in (7, 7, 8))
    assert one == two != other


def test_an_arm_without_a_generator_stands_beside_each() -> None:
    rng = np.random.default_rng(5)
    ours, base = rng.random((3, 2, 40)), rng.random((1, 2, 40))
    written_out = np.repeat(base, 3, axis=0)
    groups = np.arange(40)
    assert paired_interval(ours, base, groups, mean) == paired_interval(
        ours, written_out, groups, mean
    )


@pytest.mark.parametrize("base", [(2, 2, 40), (3, 2, 39)])
def test_arms_of_other_seeds_or_images_are_refused(base: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"broadcast|expected"):
        paired_interval(np.zeros((3, 2, 40)), np.zeros(base), np.arange(40), mean)


def test_an_image_without_a_piece_is_refused() -> None:
    with pytest.raises(ValueError, match="40 images of 39 pieces"):
        interval(np.zeros((1, 1, 40)), np.arange(39), mean)


def test_figures_of_a_confusion_are_scikit_learns() -> None:
    rng = np.random.default_rng(6)
    true, named = rng.integers(0, 4, 60), rng.integers(0, 3, 60)
    confusion = confusions(true, named, np.ones((1, 60)), classes=5)
    labels = range(5)
    scores = recall_score(true, named, labels=labels, average=None, zero_division=np.nan)
    np.testing.assert_allclose(recalls(confusion)[0], scores)
    assert accuracy(confusion)[0] == pytest.approx(accuracy_score(true, named))
    expected = f1_score(true, named, labels=labels, average="macro", zero_division=0)
    assert macro_f1(confusion)[0] == pytest.approx(expected)


def test_fifteen_classifiers_on_a_thousand_images_take_seconds() -> None:
    rng = np.random.default_rng(7)
    true = rng.integers(0, 6, 1000)
    ours, base = rng.integers(0, 6, (3, 5, 1000)), rng.integers(0, 6, (1, 5, 1000))

    def f1(named: NDArray[np.int64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return macro_f1(confusions(true, named, counts, classes=6))

    started = time.process_time()
    paired_interval(ours, base, np.arange(1000), f1)
    assert time.process_time() - started < 10  # about 2 on one core
