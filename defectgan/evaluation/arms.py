"""The arms of the test: what a classifier may learn from, each beside the baseline that it is held
against.

All arms see the real training images, balanced by class, for the same number of steps. They differ
in what is added to the defect classes, and in whether images are augmented the classical way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from defectgan.config import DataConfig
from defectgan.data.dataset import Seen
from defectgan.data.index import Index
from defectgan.data.samples import SPLITS, TRAIN
from defectgan.errors import ModelError, SettingError
from defectgan.evaluation.images import generated_index, see
from defectgan.evaluation.procedural import Donor, deface
from defectgan.evaluation.real import RealSplit
from defectgan.generation.choose import CANDIDATES
from defectgan.generation.job import Job
from defectgan.generation.plan import Sources
from defectgan.generation.run import run_job
from defectgan.names import safe_folders
from defectgan.training.checkpoint import Model

Extra = Literal["synthetic", "procedural"]
# What is seen of the images of each class.
Classes = Sequence[Sequence[Seen]]
# Images that the generator paints at once; changes the speed alone.
PAINT_BATCH = 16


class Arm(NamedTuple):
    """What is added to the real images, whether they are augmented, and the arm to compare with."""

    name: str
    extra: Extra | None = None
    classical: bool = False
    baseline: str | None = None


ARMS = {
    arm.name: arm
    for arm in (
        Arm("real"),
        Arm("synthetic", "synthetic", baseline="real"),
        Arm("procedural", "procedural", baseline="real"),
        Arm("classical", classical=True, baseline="real"),
        Arm("classical+synthetic", "synthetic", classical=True, baseline="classical"),
        Arm("classical+procedural", "procedural", classical=True, baseline="classical"),
    )
}
# The arm in which the share of synthetic images is varied.
SWEPT = "classical+synthetic"


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


def added(ratio: float, real: int) -> int:
    """How many images are added to ``real`` ones of a class."""
    # 1.1 times 50 are 55, although the product of the floats lies above.
    return math.ceil(round(ratio * real, 6))


@dataclass(frozen=True)
class Material:
    """All images of a test, decoded once: of each class those to train on, to choose by and to test
    on, and what may be added to those to train on.
    """

    train: Classes
    val: Classes
    test: Classes
    extras: dict[Extra, Classes]

    def learned_from(self, arm: Arm, ratio: float) -> list[list[Seen]]:
        """What an arm learns from, with so many added images a real one of a defect class."""
        if arm.extra is None:
            return [list(members) for members in self.train]
        pools = []
        for members, extra in zip(self.train, self.extras[arm.extra], strict=True):
            more = added(ratio, len(members)) if extra else 0
            assert more <= len(extra)
            pools.append([*members, *extra[:more]])
        return pools


def gather(
    real: RealSplit, config: DataConfig, generated: Path | None, *, ratio: float, seed: int
) -> Material:
    """Decode all that the arms need.

    Args:
        real: the real images.
        config: their size to the classifier.
        generated: what ``paint`` made; None where no arm asks for it.
        ratio: the most images that are added for a real one.
        seed: draws the procedural ones.
    """
    train, val, test = (see(real.part(s), config, truths=True) for s in SPLITS)
    extras: dict[Extra, Classes] = {"procedural": _defaced(train, ratio=ratio, seed=seed)}
    if generated is not None:
        extras["synthetic"] = see(painted(real, generated), config, truths=True)
    return Material(train, val, test, extras)


def _defaced(train: Classes, *, ratio: float, seed: int) -> list[list[Seen]]:
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


def painted(real: RealSplit, folder: Path) -> Index:
    """What ``paint`` made, the images of each class in the order in which they were planned."""
    folders = [folder / name for name in _folders(real)]
    parts = [generated_index(part, real.index) for part in folders]
    return replace(parts[0], root=folder, samples=tuple(s for part in parts for s in part.samples))


def _folders(real: RealSplit) -> list[str]:
    """What the folder of the set of each defect class is called."""
    return list(safe_folders(real.classes).values())[1:]


def refuse_unproved(model: Model, candidates: int | None) -> None:
    """Let nobody take a test of images as they come for one of the surest, by oversight.

    Args:
        model: the generator.
        candidates: how many were asked for, None for the usual number.

    Raises:
        ModelError: if it cannot choose among any, and one alone was not asked for.
    """
    if candidates is None and model.critic is None:
        raise ModelError(
            f"{model.path} holds the generator alone, and it takes the critic to keep the surest "
            f"of {CANDIDATES} candidates: images as they come may harm where chosen ones help, so "
            "a test of them says nothing of the model; take the weights of a run, or ask for one "
            "candidate to test images as they come",
            mend=("candidates", "1"),
        )


def paint(
    model: Model,
    real: RealSplit,
    folder: Path,
    *,
    ratio: float,
    candidates: int,
    seed: int,
    device: torch.device,
) -> None:
    """Paint each defect class onto the good training images, a folder a class; a job that was cut
    short goes on.

    Args:
        model: the generator.
        real: whose good training images are painted on, and how many of each class there are.
        folder: where they go.
        ratio: images for each real one of the class.
        candidates: paintings of each image, of which the one that the critic is surest of is kept.
        seed: draws.
        device: where to compute.

    Raises:
        ModelError: if the model does not know a class, or cannot choose among candidates.
    """
    normal, *defects = real.part(TRAIN).members
    sources = Sources(tuple(sample.file for sample in normal), ())
    for k, (part, members) in enumerate(zip(_folders(real), defects, strict=True), start=1):
        name = real.classes[k]
        n = added(ratio, len(members))
        job = Job(sources, (name,), n, seed + k, binary_masks=False, candidates=candidates)
        run_job(
            job,
            model,
            folder / part,
            device=device,
            batch_size=PAINT_BATCH,
        )
