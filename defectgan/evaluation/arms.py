"""The arms of the test: what a classifier may learn from, each beside the baseline that it is held
against.

All arms see the real training images, balanced by class, for the same number of steps. They differ
in what is added to the defect classes, and in whether images are augmented the classical way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from defectgan.data.dataset import Seen
from defectgan.data.samples import SPLITS
from defectgan.errors import SettingError
from defectgan.evaluation.painting import NOBODY, PaintedBy, added, painted, undone
from defectgan.evaluation.pools import see
from defectgan.evaluation.procedural import Donor, deface
from defectgan.evaluation.real import RealSplit
from defectgan.settings.data import DataConfig

Extra = Literal["synthetic", "procedural", "mix", "real"]
# What is seen of the images of each class.
SeenByClass = Sequence[Sequence[Seen]]


class Arm(NamedTuple):
    """What is added to the real images, whether they are augmented, and the arm to compare with.

    ``extra`` is added to the defect classes: ``synthetic`` images, ``procedural`` ones, half of
    each (``mix``), or ``real`` ones that the others do without; with ``control`` as many synthetic
    ones whose defect was taken away again are added to the good ones.
    """

    name: str
    extra: Extra | None = None
    classical: bool = False
    baseline: str | None = None
    control: bool = False

    @property
    def painted(self) -> bool:
        """Whether it learns from a generator's images."""
        return self.extra in ("synthetic", "mix")


# Learns from good images alone, and knows no classes.
GOOD_ONLY = "good-only"
# Learns from real images that the others do without: what no synthesis can be expected to beat.
FURTHER = "classical+more-real"
ARMS = {
    arm.name: arm
    for arm in (
        Arm(GOOD_ONLY),
        Arm("real"),
        Arm("synthetic", "synthetic", baseline="real"),
        Arm("procedural", "procedural", baseline="real"),
        Arm("classical", classical=True, baseline="real"),
        Arm("classical+synthetic", "synthetic", True, "classical"),
        Arm("classical+procedural", "procedural", True, "classical"),
        Arm("classical+mix", "mix", True, "classical"),
        Arm("classical+synthetic+control", "synthetic", True, "classical+synthetic", control=True),
        Arm(FURTHER, "real", True, "classical"),
    )
}
# The arm that the question is about; how many images it adds is chosen by validation.
ASKED = ARMS["classical+synthetic"]
# Those that are trained where nothing else is asked for: hardly anybody does without augmentation.
USUAL = tuple(name for name in ARMS if name not in ("synthetic", "procedural"))


def known_arms(names: Sequence[str]) -> tuple[Arm, ...]:
    """The arms of these names and those that they are held against, in the order of ``ARMS``.

    Raises:
        SettingError: if there is no such arm.
    """
    for name in names:
        if name not in ARMS:
            raise SettingError(f"no arm {name}: expected {', '.join(ARMS)}")
    wanted = set(names)
    for arm in reversed(ARMS.values()):
        if arm.name in wanted and arm.baseline is not None:
            wanted.add(arm.baseline)
    return tuple(arm for arm in ARMS.values() if arm.name in wanted)


@dataclass(frozen=True)
class Material:
    """All images of a test, decoded once: of each class those to train on, to choose by and to test
    on, and what may be added to those to train on. ``further`` are real ones that were left out;
    ``synthetic`` and ``control`` are those of each generator.
    """

    train: SeenByClass
    val: SeenByClass
    test: SeenByClass
    procedural: SeenByClass = ()
    further: SeenByClass = ()
    synthetic: Mapping[PaintedBy, SeenByClass] = field(default_factory=dict)
    control: Mapping[PaintedBy, SeenByClass] = field(default_factory=dict)

    def learned_from(self, arm: Arm, ratio: float, painter: PaintedBy = NOBODY) -> list[list[Seen]]:
        """What an arm learns from.

        Args:
            arm: which.
            ratio: so many images are added for a real one of a defect class; of further real ones
                as many as there are.
            painter: whose synthetic images.
        """
        pools = [list(members) for members in self.train]
        for k, members in enumerate(self.train[1:], start=1):
            more = added(ratio, len(members))
            for extra, count in self._extras(arm, more, painter):
                assert extra is self.further or count <= len(extra[k])
                pools[k] += extra[k][:count]
            if arm.control:
                pools[0] += self.control[painter][k][:more]
        return pools

    def _extras(self, arm: Arm, more: int, painter: PaintedBy) -> list[tuple[SeenByClass, int]]:
        """What is added to a class, and how many."""
        match arm.extra:
            case "synthetic":
                return [(self.synthetic[painter], more)]
            case "procedural":
                return [(self.procedural, more)]
            case "mix":
                half = (more + 1) // 2
                return [(self.synthetic[painter], half), (self.procedural, more - half)]
            case "real":
                return [(self.further, more)]
        return []


def gather(
    real: RealSplit,
    config: DataConfig,
    generated: Mapping[PaintedBy, Path],
    *,
    ratio: float,
    seed: int,
    control: bool = False,
) -> Material:
    """Decode all that the arms need.

    Args:
        real: the real images.
        config: their size to the network.
        generated: where ``paint`` put the images of each generator.
        ratio: the most images that are added for a real one.
        seed: draws the procedural ones.
        control: whether ``take_away`` has been at the generated ones.
    """
    train, val, test = (see(real.part(s), config, truths=True) for s in SPLITS)
    sets = {painter: painted(real, folder) for painter, folder in generated.items()}
    return Material(
        train,
        val,
        test,
        procedural=_defaced(train, ratio=ratio, seed=seed),
        further=see(real.further, config),
        synthetic={painter: see(made, config, truths=True) for painter, made in sets.items()},
        control={o: see(undone(made), config) for o, made in sets.items()} if control else {},
    )


def _defaced(train: SeenByClass, *, ratio: float, seed: int) -> list[list[Seen]]:
    normal, *defects = train
    classes: list[list[Seen]] = [[]]
    for k, members in enumerate(defects, start=1):
        donors = [Donor(seen.image, seen.truth) for seen in members]
        count = added(ratio, len(members))
        made = deface([seen.image for seen in normal], donors, count, seed=seed + k)
        classes.append(
            [Seen(one.image, [k], np.uint8(255) * one.region[..., None]) for one in made]
        )
    return classes
