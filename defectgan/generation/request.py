"""What is asked for, and what is made of it in a folder that may hold a part of it already."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectgan.errors import DataError, ModelError
from defectgan.files import digest
from defectgan.generation.amounts import counts
from defectgan.generation.choose import CANDIDATES, usual_candidates
from defectgan.generation.likeness import Examples, can_tell
from defectgan.generation.plan import PlanRow, Sources, make_plan
from defectgan.generation.tasks import Task, digest_of, plan_of
from defectgan.generation.writers import has_strange_files, recorded_job
from defectgan.manifest import JOB
from defectgan.model.file import MODEL, Model


@dataclass(frozen=True)
class GenerateJob:
    """What a generate command asks for; the same job makes the same images.

    With several ``candidates`` each image is painted so many times, on up to ``CAP`` good images,
    and the one is kept whose class the critic is surest of; None leaves the number to the folder's
    earlier images, then to the model.

    The classes come in turn, or as often as their ``shares`` say; ``tasks`` say row by row what is
    painted on what, in the place of all that. With ``like`` those candidates are kept that are
    nearest to its images.
    """

    sources: Sources
    defects: tuple[str, ...]
    n: int
    seed: int
    binary_masks: bool
    candidates: int | None = None
    shares: Mapping[str, int] | None = None
    tasks: tuple[Task, ...] = ()
    like: Examples | None = None

    def plan(
        self, candidates: int, wanted: Callable[[int], bool] = lambda number: True
    ) -> Iterator[list[PlanRow]]:
        """The candidates of those images that are ``wanted``."""
        if self.tasks:
            return plan_of(
                self.tasks,
                candidates=candidates,
                wanted=lambda number: number < self.n and wanted(number),
            )
        return make_plan(
            self.sources.files,
            self.defects,
            n=self.n,
            seed=self.seed,
            candidates=candidates,
            shares=self.shares,
            wanted=wanted,
        )

    def counts(self) -> dict[str, int]:
        """How many images there will be of each class."""
        if not self.tasks:
            return counts(self.defects, self.n, self.shares)
        total = dict.fromkeys(self.defects, 0)
        for task in self.tasks:
            for name, count in counts(task.classes, task.count, None).items():
                total[name] += count
        return total

    def further(self) -> dict[str, Any]:
        """What tells this job from others, of what most jobs have none of."""
        return {
            "shares": None if self.shares is None else dict(self.shares),
            "jobs_sha256": digest_of(self.tasks) if self.tasks else None,
            "like_sha256": None if self.like is None else self.like.sha256,
        }


@dataclass(frozen=True)
class Order:
    """A job in its folder: how many candidates there are, and the opacity of each class above
    which a pixel of its masks is defect, the same for all images of a folder; None where that is
    still to be found.
    """

    job: GenerateJob
    candidates: int
    thresholds: dict[str, float] | None

    def record(self, model: Model) -> dict[str, Any]:
        """What tells this job from another one in the same folder; how many images it has does
        not, for no image depends on that.
        """
        listed = "\n".join(str(path) for path in self.job.sources.files)
        return {
            MODEL: model.sha256,
            "defects": list(self.job.defects),
            "seed": self.job.seed,
            "binary_masks": self.job.binary_masks,
            "candidates": self.candidates,
            "sources": len(self.job.sources.files),
            "sources_sha256": digest(os.fsencode(listed)),
            **self.job.further(),
        }


def _usual(job: GenerateJob, model: Model) -> int:
    return usual_candidates(model) if job.like is None else CANDIDATES


def settle(job: GenerateJob, model: Model, out: Path) -> Order:
    """What a job means for this model and this folder; nothing is made.

    Raises:
        DataError: if the folder holds something else.
        ModelError: if the model does not know a class, or has no critic to choose with.
    """
    for name in job.defects:
        model.info.label_of(name)
    strange = has_strange_files(out)  # before the record is looked for: a shard may just begin here
    there = recorded_job(out, model)
    candidates = job.candidates or (there or {}).get("candidates") or _usual(job, model)
    thresholds = (there or {}).get("thresholds")
    if thresholds is None and model.info.calibrated is not None:
        thresholds = dict.fromkeys(job.defects, model.info.calibrated)
    if job.like is not None and not can_tell(model):
        raise ModelError(
            f"{model.path} holds the generator alone, and it takes its critic, or the extra "
            "'features', to tell which images are like others"
        )
    if candidates > 1 and job.like is None and not model.painter.has_critic:
        raise ModelError(
            f"{model.path} holds the generator alone, and it takes the critic to choose among "
            f"{candidates} candidates: take the weights of a run, or one candidate"
        )
    order = Order(job, candidates, thresholds)
    if there is None and strange:
        raise DataError(f"{out} is not empty: name another folder, nothing was written")
    if there is not None and (
        other := [name for name, value in order.record(model).items() if there.get(name) != value]
    ):
        raise DataError(
            f"{out} holds the images of another job (see {JOB}: {', '.join(other)}): name another "
            "folder, nothing was written"
        )
    return order
