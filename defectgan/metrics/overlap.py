"""How far two regions are the same: intersection over union, 1 where both are empty.

A region is an array of bool, of any shape; counts are of pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from defectgan.metrics.arrays import Region


def iou_of_counts(both: ArrayLike, either: ArrayLike) -> NDArray[np.float64]:
    """``both / either``, of any number of regions at once; 1 where there is nothing in either."""
    both, either = np.asarray(both, np.float64), np.asarray(either)
    return np.asarray(np.divide(both, either, out=np.ones(both.shape), where=either > 0))


def iou(found: Region, truth: Region) -> float:
    """Intersection over union of two regions; 1 where both are empty."""
    both, either = np.logical_and(found, truth).sum(), np.logical_or(found, truth).sum()
    return float(iou_of_counts(both, either))


def pairwise_iou(masks: Sequence[Region]) -> float | None:
    """The mean IoU of all pairs of equally large masks, 1 where all are the same; None for fewer
    than two.
    """
    if len(masks) < 2:
        return None
    flat = np.stack([mask.ravel() for mask in masks]).astype(np.float32)
    both: NDArray[Any] = flat @ flat.T
    areas = flat.sum(axis=1)
    either = areas[:, None] + areas[None] - both
    pairs = np.triu_indices(len(masks), k=1)
    return float(iou_of_counts(both[pairs], either[pairs]).mean())
