"""How sure the figures of a threshold are: intervals of 95 % over the pieces that the images show.

The threshold itself is set anew by each resample of the images that set it: its bounds say where
other pieces might have put it. All other figures are those of the threshold as it is, and their
bounds say what other pieces might have shown of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defectgan.data.samples import Sample
from defectgan.metrics.arrays import Figures
from defectgan.metrics.bootstrap import Counts, interval
from defectgan.metrics.ranking import auroc
from defectgan.metrics.refusal import best_f1, best_told_at, f1_at, threshold_at

Scores = NDArray[np.float64]


class Sure(NamedTuple):
    """A figure and the bounds of 95 % that it lies between."""

    value: float
    low: float
    high: float


class AboveThreshold(NamedTuple):
    """What lies above a threshold: the share of good images, of all defects, and of each class that
    has images; the F1 of the defects, and what share that is of the highest at any threshold.
    """

    refused: Sure
    found: Sure
    by_class: dict[str, Sure]
    f1: Sure
    of_best_f1: Sure


@dataclass(frozen=True)
class Scored:
    """Images with their ``scores`` [N], the numbers [N] of their ``classes``, 0 for good ones, and
    the ``pieces`` [N] that they show; ``names`` are those of the classes.
    """

    names: tuple[str, ...]
    scores: Scores
    classes: NDArray[np.int64]
    pieces: Sequence[str]

    @classmethod
    def of(
        cls, names: Sequence[str], scores: Sequence[Scores], members: Sequence[Sequence[Sample]]
    ) -> "Scored":
        """From the scores and the samples of each class, good ones first."""
        numbers = np.repeat(np.arange(len(scores)), [len(some) for some in scores])
        pieces = [sample.piece for some in members for sample in some]
        return cls(tuple(names), np.concatenate(scores), numbers, pieces)

    @property
    def defect(self) -> NDArray[np.bool_]:
        """Which images are defects, [N]."""
        return self.classes > 0

    def auroc(self) -> Sure:
        """How well the scores tell defects from good images."""

        def area(drawn: NDArray[np.int64]) -> list[float]:
            return [auroc(self.scores[drawn], self.defect[drawn])]

        return self._sure(area)[0]

    def threshold_by_good(self, share: float) -> Sure:
        """The lowest threshold that refuses at most a share of the good images."""

        def limit(drawn: NDArray[np.int64]) -> list[float]:
            return [threshold_at(self.scores[drawn][~self.defect[drawn]], share)]

        return self._sure(limit)[0]

    def threshold_by_defects(self, share: float) -> Sure:
        """That at which defects are told best from good images, of those that refuse at most a
        share of these.
        """

        def limit(drawn: NDArray[np.int64]) -> list[float]:
            return [best_told_at(self.scores[drawn], self.defect[drawn], share=share)]

        return self._sure(limit)[0]

    def found(self, limit: float) -> AboveThreshold:
        """What lies above a threshold."""
        above = self.scores > limit
        there = [k for k in range(1, len(self.names)) if (self.classes == k).any()]

        def shares(drawn: NDArray[np.int64]) -> list[float]:
            scores, defect, refused = self.scores[drawn], self.defect[drawn], above[drawn]
            sides = [~defect, defect, *(self.classes[drawn] == k for k in there)]
            f1 = f1_at(scores, defect, limit)
            best = best_f1(scores, defect)[0]
            return [*(float(refused[side].mean()) for side in sides), f1, f1 / best]

        refused, found, *each, f1, of_best = self._sure(shares)
        by_class = dict(zip((self.names[k] for k in there), each, strict=True))
        return AboveThreshold(refused, found, by_class, f1, of_best)

    def _sure(self, measure: Callable[[NDArray[np.int64]], Sequence[float]]) -> list[Sure]:
        """The figures that ``measure`` finds in the images of these numbers, each as often as it is
        drawn.
        """
        every = np.arange(len(self.scores))

        def statistic(numbers: NDArray[np.int64], counts: Counts) -> Figures:
            return np.array([measure(np.repeat(numbers, n)) for n in counts.astype(int)])

        found = interval(every[None, None], self.pieces, statistic, strata=self.classes)
        return [Sure(*map(float, bounds)) for bounds in zip(*found, strict=True)]
