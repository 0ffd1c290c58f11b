"""Scores of many images against their true masks."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectgan.data.masks import is_defect
from defectgan.inspection.subject import Mask, Region
from defectgan.metrics import ranking
from defectgan.metrics.overlap import iou


@dataclass
class Against:
    """All pixels ranked together, the IoU of each image summed over the images at every threshold,
    and the IoU of each at its own.
    """

    ranks: ranking.Ranks = field(default_factory=lambda: np.zeros((2, ranking.CODES), np.int64))
    curve: NDArray[np.float64] = field(default_factory=lambda: np.zeros(ranking.CODES))
    ious: list[float] = field(default_factory=list)

    def add(self, scores: Mask, truth: Region, *, threshold: float) -> None:
        """Add an image by its scores [H, W] in [0, 1] and its true mask."""
        ranks = ranking.rank(scores, truth)
        self.ranks += ranks
        self.curve += ranking.ious(ranks)
        self.ious.append(iou(is_defect(scores, threshold), truth))

    @property
    def mean_curve(self) -> NDArray[np.float64]:
        """The mean IoU [CODES] over the images at every threshold."""
        return self.curve / len(self.ious)

    def row(self) -> dict[str, Any]:
        """``iou``, the mean over images at their own thresholds; ``iou_best``, at the one
        ``threshold_best`` that is best for all of them; ``ap`` and ``auroc`` of all pixels
        together.
        """
        return {
            "iou": float(np.mean(self.ious)),
            "iou_best": float(self.mean_curve.max()),
            "threshold_best": ranking.best_threshold(self.curve),
            "ap": ranking.average_precision(self.ranks),
            "auroc": ranking.auroc_of_ranks(self.ranks),
        }
