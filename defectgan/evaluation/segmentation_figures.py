"""What a segmenter is worth, from what it says of each pixel of test images: pixel AP, and IoU
where the probability is above 0.5.

N images of P pixels, K classes (0 = normal), R resamples. What a segmenter says of a pixel is one
number, [N, P]: the bin of its probability, counted from 1, below 0 for a pixel outside the true
mask; 0 all over an image of a defect that has no true mask, which is not tested on. A bin is eight
neighbouring codes of ``ranking``, none of them across a half: pixels that differ by less than 1 %
of their distance to 0 or 1 are level, and a thousand resamples of them need no more memory than
those of a classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectgan.evaluation.gain_figures import Part
from defectgan.metrics.arrays import Figures
from defectgan.metrics.overlap import iou_of_counts
from defectgan.metrics.ranking import CODES, HALF, average_precisions, codes_of

SaidOfPixels = NDArray[np.int16]

CODES_PER_BIN = 8
# Bins end at a code, so that one of them ends at a half.
BINS = -(-(CODES - 1) // CODES_PER_BIN) + 1
HALF_BIN = HALF // CODES_PER_BIN
METRICS = ("iou", "ap")
# Resamples whose pixels are counted at once; changes the speed alone.
AT_ONCE = 64


def said_of(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> SaidOfPixels:
    """What a segmenter says of the pixels of an image, [P], from its probabilities [H, W] and the
    true mask [H, W].
    """
    bins = 1 - -codes_of(scores) // CODES_PER_BIN
    return np.where(truth, bins, -bins).ravel().astype(np.int16)


@dataclass(frozen=True)
class SegmenterFigures:
    """Tells the figures of segmenters on images of K classes, of which ``counts`` says how many of
    each there are, those of a class side by side; ``shown`` are the pixels [N] of the true mask of
    each, -1 for one that is not tested on.

    Of the classes those are told that show a defect.
    """

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    shown: NDArray[np.int64]

    @classmethod
    def of(
        cls, said: SaidOfPixels, classes: Sequence[str], counts: Sequence[int]
    ) -> "SegmenterFigures":
        """By what any segmenter says: all have seen the same masks."""
        shown = np.where(said.any(axis=1), (said > 0).sum(axis=1), -1)
        return cls(tuple(classes), tuple(counts), shown)

    @property
    def truth(self) -> NDArray[np.int64]:
        """The class of each image, [N]."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def strata(self) -> NDArray[np.int64]:
        """What pieces are drawn within, [N]: as many images as there are show a defect of a class
        in every resample, and as many none.
        """
        return 3 * self.truth + np.sign(self.shown)

    @property
    def parts(self) -> list[Part]:
        """The names of the figures, in their order."""
        names = ("", *(self.classes[k] for k in self._told))
        return [Part(metric, name) for metric in METRICS for name in names]

    @property
    def _told(self) -> list[int]:
        return [k for k in range(1, len(self.classes)) if (self.shown[self.truth == k] > 0).any()]

    def __call__(self, said: SaidOfPixels, counts: Figures) -> Figures:
        """The figures [R, M] of what is said [N, P] of images that each of R resamples holds so
        often, counts [R, N].
        """
        ranks = np.stack([_ranks(one) for one in said])
        used = np.flatnonzero(ranks.any(axis=(0, 1)))  # most are not, by a segmenter that is sure
        ranks, above = ranks[..., used], used > HALF_BIN
        starts = range(0, len(counts), AT_ONCE)
        return np.concatenate([self._some(ranks, above, counts[i : i + AT_ONCE]) for i in starts])

    def _some(self, ranks: Figures, above: NDArray[np.bool_], counts: Figures) -> Figures:
        truth = self.truth
        by_class = np.stack(
            [
                np.tensordot(counts[:, truth == k], ranks[truth == k], axes=1)
                for k in range(len(self.classes))
            ],
            axis=1,
        )
        told = np.concatenate([by_class.sum(axis=1, keepdims=True), by_class[:, self._told]], 1)
        return np.concatenate([_ious(told, above), average_precisions(told)], axis=1)


def _ranks(said: SaidOfPixels) -> Figures:
    """How many pixels outside and inside the true mask fall in each bin, [2, BINS]."""
    sides = (-said[said < 0], said[said > 0])
    return np.stack([np.bincount(side, minlength=BINS + 1)[1:] for side in sides]).astype(float)


def _ious(ranks: Figures, above: NDArray[np.bool_]) -> Figures:
    """IoU [...] of the pixels in the bins ``above`` [bins] a half with the true ones, ranks
    [..., 2, bins]; 1 where there are neither.
    """
    false, true = np.moveaxis(ranks @ above.astype(float), -1, 0)
    return iou_of_counts(true, ranks[..., 1, :].sum(axis=-1) + false)


def pixel_scores(
    said: SaidOfPixels, classes: Sequence[str], counts: Sequence[int]
) -> dict[str, Any]:
    """The figures of one segmenter for a row: of all pixels by name, and of each class that shows a
    defect by its name.
    """
    yardstick = SegmenterFigures.of(said, classes, counts)
    figures = yardstick(said, np.ones((1, len(said))))[0]
    told: dict[str, Any] = {}
    for part, value in zip(yardstick.parts, figures.tolist(), strict=True):
        if part.of:
            told.setdefault(f"class_{part.name}", {})[part.of] = value
        else:
            told[part.name] = value
    return told
