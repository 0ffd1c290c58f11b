"""How sure the figures of a test are: each arm, and each beside its baseline, with 95 % intervals
over the test pieces, the generators and the classifiers.

Arrays are [G, S, N, ...]: what S networks say of N images, of each of G generators; an arm without
one has G = 1. A classifier says [K], a logit a class, a segmenter [P], a number a pixel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectgan.data.samples import Sample
from defectgan.evaluation.gain_figures import ClassifierFigures, Measure
from defectgan.evaluation.ledger import said_by
from defectgan.evaluation.real import RealSplit
from defectgan.evaluation.segmentation_figures import SegmenterFigures
from defectgan.metrics.bootstrap import Interval, interval, paired_interval

Rows = Sequence[Mapping[str, Any]]
# Value, lower and upper bound by the name of the figure, and by class, "" for all.
Told = dict[str, dict[str, list[float]]]
Said = NDArray[Any]


@dataclass(frozen=True)
class Answers:
    """What the networks of a test say of the images of a split, and which pieces those show."""

    folder: Path
    rows: Rows
    split: str
    classes: tuple[str, ...]
    members: tuple[tuple[Sample, ...], ...]

    @classmethod
    def of(cls, folder: Path, rows: Rows, real: RealSplit, split: str) -> "Answers":
        return cls(folder, rows, split, real.classes, real.part(split).members)

    @property
    def pieces(self) -> list[str]:
        """The piece that each image shows."""
        return [s.piece for members in self.members for s in members]

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(map(len, self.members))

    def yardstick(self, *, named: bool = True) -> ClassifierFigures:
        """What tells the figures of networks; ``named`` where they name the class."""
        return ClassifierFigures(self.classes, self.counts, named)

    def measure(self, *said: Said) -> Measure:
        """What tells the figures that these [G, S, N, ...] have in common; where one of them knows
        no classes, those of defects alone.
        """
        return self.yardstick(named=min(one.shape[-1] for one in said) > 1)

    def said(self, net: str, arm: str) -> Said:
        """[G, S, N, ...], generators and classifiers in the order of the rows."""
        mine = [row for row in self.rows if (row["net"], row["arm"]) == (net, arm)]
        generators = list(dict.fromkeys(row["generator"] for row in mine))
        seeds = sorted({row["seed"] for row in mine})
        found = {(row["generator"], row["seed"]): row for row in mine}
        return np.stack(
            [
                np.stack([self._of(found[generator, seed]) for seed in seeds])
                for generator in generators
            ]
        )

    def _of(self, row: Mapping[str, Any]) -> Said:
        said: Said = said_by(self.folder, row)[self.split].numpy()
        return said

    def level(self, net: str, arm: str) -> Told:
        """The figures of an arm."""
        said = self.said(net, arm)
        measure = self.measure(said)
        return _told(measure, interval(said, self.pieces, measure, strata=measure.strata))

    def each(self, net: str, arm: str, figure: str) -> NDArray[np.float64]:
        """A figure of all images of each training of an arm, [G, S]."""
        yardstick, once = self.yardstick(), np.ones((1, sum(self.counts)))
        place = [part.name for part in yardstick.parts].index(figure)
        said = self.said(net, arm)
        return np.array([[yardstick(one, once)[0, place] for one in some] for some in said])

    def gain(self, net: str, arm: str, baseline: str) -> Told:
        """How far the figures of an arm lie above those of another one of the same network."""
        return self.beside((net, arm), (net, baseline))

    def beside(self, one: tuple[str, str], other: tuple[str, str]) -> Told:
        """How far the figures of one network and arm lie above those of another; where one of the
        two knows no classes, those that both have.
        """
        ours, base = (self.said(*kind) for kind in (one, other))
        measure = self.measure(ours, base)
        found = paired_interval(ours, base, self.pieces, measure, strata=measure.strata)
        return _told(measure, found)


class SegmenterAnswers(Answers):
    """The same of segmenters."""

    def measure(self, *said: Said) -> Measure:
        return SegmenterFigures.of(said[0][0, 0], self.classes, self.counts)


def _told(measure: Measure, found: Interval) -> Told:
    told: Told = {}
    for i, part in enumerate(measure.parts):
        bounds = [float(side[i]) for side in found]
        told.setdefault(part.name, {})[part.of] = bounds
    return told
