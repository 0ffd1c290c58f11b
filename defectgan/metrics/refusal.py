"""What a plant decides by: how many defects are found while only so many good parts are refused.

Every image has a score, higher = more like a defect, and is refused where it lies *above* the
threshold. The threshold for a share s is the lowest score of a good image at which at most s of the
good ones are refused: floor(s * good) of them, fewer where good images tie, and a defect whose
score ties with the threshold is not found. So the share is never exceeded, and ties never help.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from defectgan.metrics.arrays import Figures
from defectgan.metrics.ranking import distinct

SHARES = (0.05, 0.01, 0.001)
# A share is measured where at least one good image may be refused; below the second number three
# must be, for at the far tail one odd part would decide.
FEWEST, RARE, FEWEST_RARE = 1, 0.01, 3
# s * good is a whole number for some shares, and their float lies below it.
ROUNDING = 1e-9


class Thousand(NamedTuple):
    """Of 1,000 parts: defective ones that pass, and good ones that are refused."""

    escapes: float
    overkill: float


def measurable_shares(good: int, shares: tuple[float, ...] = SHARES) -> tuple[float, ...]:
    """Those of the shares that so many good images can show: 5 % takes 20, 1 % takes 100, 0.1 %
    takes 3,000.
    """
    return tuple(s for s in shares if s * good + ROUNDING >= (FEWEST_RARE if s < RARE else FEWEST))


def threshold_at(good: ArrayLike, share: float) -> float:
    """The threshold above which at most a share of the good images' scores [N] lie; -inf for a
    share of 1.

    Raises:
        ValueError: if there are no good images, or the share is none.
    """
    scores = np.asarray(good, np.float64)
    return float(_thresholds(scores, np.ones((1, len(scores))), share)[0])


def recall_at(
    scores: ArrayLike, classes: ArrayLike, counts: Figures | None = None, *, share: float, k: int
) -> Figures:
    """The share of defects found where at most ``share`` of the good images are refused.

    Args:
        scores: [N], higher = more like a defect.
        classes: [N], the class of each image, 0 = good.
        counts: [R, N], how often each resample of a bootstrap holds each image; None for all once.
        share: of good images that may be refused.
        k: the number of classes, the good one among them.

    Returns:
        [R, K]: of all defects first, then of each class 1 to K - 1; NaN for one without images.

    Raises:
        ValueError: as ``threshold_at``.
    """
    scores, classes = np.asarray(scores, np.float64), np.asarray(classes)
    counts = np.ones((1, len(scores))) if counts is None else counts
    good = classes == 0
    limits = _thresholds(scores[good], counts[:, good], share)
    drawn = counts[:, ~good]
    found = drawn * (scores[~good] > limits[:, None])
    of_class = np.eye(k)[classes[~good]]
    of_class[:, 0] = 1
    whole = drawn @ of_class
    unknown = np.full(whole.shape, np.nan)
    return np.asarray(np.divide(found @ of_class, whole, out=unknown, where=whole > 0))


def per_thousand(*, recall: float, refused: float, defect_rate: float) -> Thousand:
    """What passes and what is lost among 1,000 parts of which ``defect_rate`` are defective."""
    return Thousand(1000 * defect_rate * (1 - recall), 1000 * (1 - defect_rate) * refused)


def f1_at(scores: ArrayLike, defect: ArrayLike, threshold: float) -> float:
    """The F1 of the defects where scores [N] above a threshold are refused; 0 if none is found."""
    refused, true = np.asarray(scores) > threshold, np.asarray(defect, bool)
    both = refused.sum() + true.sum()
    return float(2 * (refused & true).sum() / both) if both else 0.0


def best_f1(scores: ArrayLike, defect: ArrayLike) -> tuple[float, float]:
    """The highest F1 at any threshold, and that threshold, the lowest of several."""
    values, good, bad = _tally(scores, defect)
    refused = bad + good
    f1 = np.divide(2 * bad, refused + bad[0], out=np.zeros(len(bad)), where=refused + bad[0] > 0)
    best = int(f1.argmax())
    return float(f1[best]), _between(values, best)


def best_told_at(scores: ArrayLike, defect: ArrayLike, *, share: float) -> float:
    """The threshold at which recall less refusals is highest (Youden, Cancer 1950) among those
    that refuse at most a share of the good images; the lowest of several. It lies midway between
    the two scores that it parts.

    Unlike F1 it does not depend on how many defects there are for a good image, which for made
    ones is anyone's choice.

    Raises:
        ValueError: if there are no good images or no defects.
    """
    values, good, bad = _tally(scores, defect)
    _require_both(good, bad)
    told = bad / bad[0] - good / good[0]
    allowed = good <= share * good[0] * (1 + ROUNDING)
    return _between(values, int(np.where(allowed, told, -np.inf).argmax()))


def _thresholds(good: Figures, counts: Figures, share: float) -> Figures:
    """The threshold of each resample [R] of the good images' scores [N]."""
    if not len(good) or not 0 <= share <= 1:
        raise ValueError(
            f"a share of {share} of {len(good)} good images: expected 0 to 1 of some images"
        )
    order = np.argsort(-good, kind="stable")
    values, first = np.unique(-good[order], return_index=True)
    above = np.cumsum(np.add.reduceat(counts[:, order], first, axis=1), axis=1)  # or level with
    allowed = share * above[:, -1:] * (1 + ROUNDING)
    return np.asarray(np.append(-values, -np.inf)[(above <= allowed).sum(axis=1)])


def _tally(scores: ArrayLike, defect: ArrayLike) -> tuple[Figures, Figures, Figures]:
    """Distinct scores, ascending, and how many good images and defects are refused where the
    threshold lies just below each, and above all.
    """
    values, ranks = distinct(scores, defect)
    good, bad = (np.append(np.cumsum(t[::-1])[::-1], 0).astype(float) for t in ranks)
    return values, good, bad


def _require_both(good: Figures, bad: Figures) -> None:
    if not (good[0] and bad[0]):
        raise ValueError(f"{good[0]:g} good images and {bad[0]:g} defects: expected some of both")


def _between(values: Figures, first: int) -> float:
    """A threshold that refuses the distinct scores from the ``first`` on."""
    if first == 0:
        return -np.inf
    if first == len(values):
        return float(values[-1])
    middle = (values[first - 1] + values[first]) / 2
    # Two neighbouring floats have no number between them.
    return float(middle if middle < values[first] else values[first - 1])
