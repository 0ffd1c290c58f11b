"""How well the opacities of a mask rank the pixels of a true one above all others, at every
threshold at once.

Opacities are counted by their half-precision code: of the numbers from 0 to 1 there are 15,361,
dense near 0 where faint masks live. All pixels of a class need no more memory than those counts,
and the answers differ from those of the exact ranking by rounding alone (1 in 1,000).
"""

import numpy as np
from numpy.typing import NDArray

from defectgan.inspection.subject import Mask, Region

# The half-precision numbers from 0 to 1, and the code of 1.
CODES = 0x3C01

# [2, CODES]: how many pixels outside and inside the true mask have each opacity.
Ranks = NDArray[np.int64]


def rank(scores: Mask, truth: Region) -> Ranks:
    """Count the pixels of scores [H, W] in [0, 1] by their code, outside and inside the truth."""
    # Adding 0 turns a negative zero, whose code is not 0, into a positive one.
    codes = (scores.clip(0, 1) + np.float32(0)).astype(np.float16).view(np.uint16)
    return np.stack([np.bincount(codes[side], minlength=CODES) for side in (~truth, truth)])


def average_precision(ranks: Ranks) -> float | None:
    """The mean precision over all recalls, as a step function; None without a true pixel.

    A score that says nothing has the share of true pixels.
    """
    false, true = _found(ranks)
    if not ranks[1].any():
        return None
    precision = true / np.maximum(true + false, 1)
    return float((precision * ranks[1]).sum() / ranks[1].sum())


def auroc(ranks: Ranks) -> float | None:
    """The probability that a pixel inside scores higher than one outside, ties counted half; None
    where there is no such pair. A score that says nothing has 0.5.
    """
    outside, inside = ranks.sum(axis=1)
    if not outside or not inside:
        return None
    below = np.cumsum(ranks[0]) - ranks[0] / 2
    return float((below * ranks[1]).sum() / (float(outside) * float(inside)))


def ious(ranks: Ranks) -> NDArray[np.float64]:
    """IoU [CODES] where the pixels of a higher code than i are found; 1 where both are empty."""
    false, true = _found(ranks) - ranks
    union = ranks[1].sum() + false
    return np.where(union > 0, true / np.maximum(union, 1), 1.0)


def best_threshold(curve: NDArray[np.float64], *, least: float = 0.0) -> float:
    """The opacity from ``least`` on at which a curve [CODES] is largest; the middle one where it is
    flat there.
    """
    first = int(np.float16(least).view(np.uint16))
    best = first + np.flatnonzero(curve[first:] == curve[first:].max())
    return float(np.uint16(best[len(best) // 2]).view(np.float16))


def _found(ranks: Ranks) -> Ranks:
    """How many pixels outside and inside have at least each opacity."""
    return np.cumsum(ranks[:, ::-1], axis=1)[:, ::-1]
