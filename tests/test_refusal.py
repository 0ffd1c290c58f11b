"""Recall at a fixed share of good parts refused, and what a thousand parts come to."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

from defectgan.metrics.ranking import auroc
from defectgan.metrics.refusal import (
    best_f1,
    best_told_at,
    f1_at,
    measurable_shares,
    per_thousand,
    recall_at,
    threshold_at,
)

# Few values: many ties.
SCORES = st.lists(st.integers(0, 6), min_size=1, max_size=25)
SHARES = st.sampled_from([0.0, 0.05, 0.1, 0.29, 0.5, 1.0])


def naive_threshold(good: list[float], share: float) -> float:
    """The lowest of the scores, or less than all, above which at most that share lies."""
    n = len(good)
    fits = [t for t in [-np.inf, *good] if sum(g > t for g in good) <= share * n + 1e-9]
    return min(fits)


def test_one_good_image_of_twenty_may_be_refused_at_five_percent() -> None:
    assert threshold_at(range(20), 0.05) == 18
    assert threshold_at(range(19), 0.05) == 18  # not a whole one: none


def test_good_images_that_tie_are_refused_together_or_not_at_all() -> None:
    good = [0] * 18 + [7, 7]
    assert threshold_at(good, 0.05) == 7
    assert threshold_at(good, 0.10) == 0


def test_a_defect_that_ties_with_the_threshold_is_not_found() -> None:
    scores, classes = [*range(20), 18, 18.5, 17, 30], [0] * 20 + [1, 1, 2, 2]
    found = recall_at(scores, classes, share=0.05, k=3)
    np.testing.assert_allclose(found, [[0.5, 0.5, 0.5]])


def test_a_whole_number_of_good_images_is_not_lost_to_rounding() -> None:
    """0.29 * 100 is 28.999999999999996 in floats."""
    assert threshold_at(range(100), 0.29) == 70


def test_the_recall_of_a_class_without_images_is_not_known() -> None:
    found = recall_at([0, 1, 5], [0, 0, 2], share=0.05, k=3)
    np.testing.assert_array_equal(found, [[1, np.nan, 1]])


@given(SCORES, SCORES, SHARES)
def test_the_threshold_is_the_lowest_that_keeps_the_share(
    good: list[float], bad: list[float], share: float
) -> None:
    threshold = threshold_at(good, share)
    assert threshold == naive_threshold(good, share)
    found = recall_at(good + bad, [0] * len(good) + [1] * len(bad), share=share, k=2)
    np.testing.assert_allclose(found, np.mean([b > threshold for b in bad]))


@given(SCORES, SCORES, SHARES)
def test_counts_say_the_same_as_images_written_out(
    good: list[float], bad: list[float], share: float
) -> None:
    scores = np.array(good + bad, float)
    classes = np.array([0] * len(good) + [1 + i % 2 for i in range(len(bad))])
    counts = np.random.default_rng(len(good)).integers(0, 4, (3, len(scores))).astype(float)
    counts[:, 0] += 1
    found = recall_at(scores, classes, counts, share=share, k=3)
    for row, expected in zip(counts.astype(int), found, strict=True):
        one = recall_at(scores.repeat(row), classes.repeat(row), share=share, k=3)[0]
        np.testing.assert_allclose(one, expected)


def candidates(scores: NDArray[np.float64]) -> list[float]:
    values = np.unique(scores)
    return [-np.inf, *(float(a + b) / 2 for a, b in pairwise(values)), float(values[-1])]


@given(SCORES, SCORES, SHARES)
def test_the_best_thresholds_are_those_of_a_search(
    good: list[float], bad: list[float], share: float
) -> None:
    scores, defect = np.array(good + bad), np.array([False] * len(good) + [True] * len(bad))
    all_f1 = [f1_at(scores, defect, t) for t in candidates(scores)]
    f1, threshold = best_f1(scores, defect)
    assert f1 == pytest.approx(max(all_f1))
    assert f1_at(scores, defect, threshold) == pytest.approx(f1)

    def told(t: float) -> float:
        return float((scores[defect] > t).mean() - (scores[~defect] > t).mean())

    allowed = [t for t in candidates(scores) if (scores[~defect] > t).mean() <= share * (1 + 1e-9)]
    threshold = best_told_at(scores, defect, share=share)
    assert threshold in allowed
    assert told(threshold) == pytest.approx(max(map(told, allowed)))


def test_f1_and_auroc_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    scores, defect = rng.random(50).round(1), rng.random(50) < 0.3
    assert auroc(scores, defect) == pytest.approx(roc_auc_score(defect, scores))
    assert f1_at(scores, defect, 0.6) == pytest.approx(f1_score(defect, scores > 0.6))


def test_between_neighbouring_floats_the_higher_is_refused() -> None:
    low = 1.0
    high = float(np.nextafter(low, 2))
    assert best_told_at([low, high], [False, True], share=0) == low


def test_of_a_thousand_parts_with_two_percent_defective() -> None:
    """20 are defective, of which a quarter escapes; of 980 good ones 1 % is refused."""
    parts = per_thousand(recall=0.75, refused=0.01, defect_rate=0.02)
    assert parts == pytest.approx((5, 9.8))


@pytest.mark.parametrize(
    ("good", "shares"),
    [
        *((19, ()), (20, (0.05,)), (99, (0.05,)), (100, (0.05, 0.01))),
        *((2999, (0.05, 0.01)), (3000, (0.05, 0.01, 0.001))),
    ],
)
def test_a_share_is_measured_where_there_are_enough_good_images(
    good: int, shares: tuple[float, ...]
) -> None:
    assert measurable_shares(good) == shares


@pytest.mark.parametrize(("good", "share"), [([], 0.1), ([1.0], -0.1), ([1.0], 1.1)])
def test_a_share_of_nothing_is_refused(good: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="expected 0 to 1 of some images"):
        threshold_at(good, share)


def test_defects_are_told_from_nothing_by_no_threshold() -> None:
    with pytest.raises(ValueError, match="0 good images and 1 defects"):
        best_told_at([1.0], [True], share=0.1)
