"""How well scores rank what is sought above all else, at every threshold at once: AUROC, average
precision and IoU, of images by their scores and of pixels by the opacities of a mask.

Opacities are counted by a code: up to 0.5 that of the number in half precision, from there on
mirrored that of its distance to 1. The codes are as dense near 1 as near 0: a saturated mask ranks
by its last digits. All pixels of a class need no more memory than those counts, and the answers
differ from those of the exact ranking by rounding alone.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from defectgan.metrics.arrays import Mask, Region
from defectgan.metrics.overlap import iou_of_counts

# The code of 0.5, and how many codes there are.
HALF = 0x3800
CODES = 2 * HALF + 1

# [2, N]: how many pixels outside and inside the true mask have each of N opacities, ascending, such
# as the CODES.
Ranks = NDArray[np.int64]


def rank(scores: Mask, truth: Region) -> Ranks:
    """Count the pixels of scores [H, W] in [0, 1] by their code, outside and inside the truth."""
    codes = codes_of(np.asarray(scores, np.float32))
    return np.stack([np.bincount(codes[side], minlength=CODES) for side in (~truth, truth)])


def codes_of(scores: Mask) -> NDArray[np.int64]:
    """The code of each score in [0, 1]."""
    # An absolute value has no negative zero, whose code would not be 0.
    near = np.abs(np.minimum(scores, 1 - scores).clip(0)).astype(np.float16)
    codes = near.view(np.uint16).astype(np.int64)
    return np.asarray(np.where(scores <= 0.5, codes, 2 * HALF - codes), dtype=np.int64)


def average_precision(ranks: Ranks) -> float | None:
    """The mean precision over all recalls, as a step function; None without a true pixel.

    A score that says nothing has the share of true pixels.
    """
    return float(average_precisions(ranks)) if ranks[1].any() else None


def average_precisions(ranks: NDArray[Any]) -> NDArray[np.float64]:
    """As ``average_precision``, of any number of ranks [..., 2, codes] at once, to [...]; NaN
    without a true pixel.
    """
    false, true = np.moveaxis(_found(ranks), -2, 0)
    inside = ranks[..., 1, :]
    whole = inside.sum(axis=-1, dtype=np.float64)
    found = (true / np.maximum(true + false, 1) * inside).sum(axis=-1)
    return np.asarray(np.divide(found, whole, out=np.full(whole.shape, np.nan), where=whole > 0))


def auroc_of_ranks(ranks: NDArray[Any]) -> float | None:
    """The probability that a pixel inside scores higher than one outside, ties counted half; None
    where there is no such pair. A score that says nothing has 0.5.
    """
    outside, inside = ranks.sum(axis=1)
    if not outside or not inside:
        return None
    below = np.cumsum(ranks[0]) - ranks[0] / 2
    return float((below * ranks[1]).sum() / (float(outside) * float(inside)))


def distinct(scores: ArrayLike, sought: ArrayLike) -> tuple[NDArray[np.float64], Ranks]:
    """Distinct scores of [N], ascending, and how many of what is not sought and of what is have
    each of them.
    """
    true = np.asarray(sought, bool)
    values, place = np.unique(np.asarray(scores, np.float64), return_inverse=True)
    return values, np.stack([np.bincount(place[s], minlength=len(values)) for s in (~true, true)])


def auroc(scores: ArrayLike, defect: ArrayLike) -> float:
    """The probability that a defect scores higher than a good image, ties counted half.

    Raises:
        ValueError: if there are no good images or no defects.
    """
    _, ranks = distinct(scores, defect)
    area = auroc_of_ranks(ranks)
    if area is None:
        good, bad = ranks.sum(axis=1)
        raise ValueError(f"{good} good images and {bad} defects: expected some of both")
    return area


def ious(ranks: Ranks) -> NDArray[np.float64]:
    """IoU [CODES] where the pixels of a higher code than i are found; 1 where both are empty."""
    false, true = _found(ranks) - ranks
    return iou_of_counts(true, ranks[1].sum() + false)


def best_threshold(curve: NDArray[np.float64], *, least: float = 0.0) -> float:
    """The opacity from ``least`` on at which a curve [CODES] is largest; the middle one where it is
    flat there.
    """
    first = int(codes_of(np.array([least], np.float32))[0])
    best = first + np.flatnonzero(curve[first:] == curve[first:].max())
    code = int(best[len(best) // 2])
    if code == first:
        return least
    near = float(np.uint16(min(code, 2 * HALF - code)).view(np.float16))
    return near if code <= HALF else 1 - near


def _found(ranks: NDArray[Any]) -> NDArray[Any]:
    """How many pixels outside and inside have at least each opacity, [..., 2, codes]."""
    return np.cumsum(ranks[..., ::-1], axis=-1)[..., ::-1]
