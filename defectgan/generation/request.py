"""What is asked for, and what is made of it in a folder that may hold a part of it already."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectgan.errors import DataError, ModelError, SettingError
from defectgan.files import digest
from defectgan.generation import checks, wishes
from defectgan.generation.amounts import counts
from defectgan.generation.checks import Checks
from defectgan.generation.choose import CANDIDATES, usual_candidates
from defectgan.generation.heat import refuse_unlearned
from defectgan.generation.likeness import Examples, can_tell
from defectgan.generation.plan import Sources, Wanted, wanted_images
from defectgan.generation.style import Style, read_style
from defectgan.generation.tasks import Task, digest_of, images_of
from defectgan.generation.where import LearnedArea
from defectgan.generation.wishes import Wishes
from defectgan.generation.writers import has_strange_files, recorded_job
from defectgan.manifest import JOB
from defectgan.model.file import MODEL, Model
from defectgan.model.pixels import INVISIBLE


@dataclass(frozen=True)
class GenerateJob:
    """What a generate command asks for; the same job makes the same images.

    With several ``candidates`` each image is painted so many times, on up to ``CAP`` good images,
    and the one is kept whose class the critic is surest of; None leaves the number to the folder's
    earlier images, then to the model.

    The classes come in turn, or as often as their ``shares`` say; ``tasks`` say row by row what is
    painted on what, in the place of all that. With ``like`` those candidates are kept that are
    nearest to its images. ``wishes`` say how they are painted, ``checks`` what a painting must hold
    to be kept; None: all are kept as they come, also those that show nothing. ``style`` is a
    picture in whose manner all are painted.
    """

    sources: Sources
    defects: tuple[str, ...]
    n: int
    seed: int
    binary_masks: bool
    candidates: int | None = None
    style: Path | None = None
    shares: Mapping[str, int] | None = None
    tasks: tuple[Task, ...] = ()
    like: Examples | None = None
    wishes: Wishes = wishes.USUAL
    checks: Checks | None = checks.USUAL

    def images(self, wanted: Callable[[int], bool] = lambda number: True) -> Iterator[Wanted]:
        """Those images that are ``wanted`` by their numbers."""
        if self.tasks:
            return images_of(
                self.tasks,
                self.wishes,
                wanted=lambda number: number < self.n and wanted(number),
            )
        return wanted_images(
            self.sources.files,
            self.defects,
            n=self.n,
            seed=self.seed,
            wishes=self.wishes,
            shares=self.shares,
            wanted=wanted,
        )

    def counts(self) -> dict[str, int]:
        """How many images there will be of each class."""
        if not self.tasks:
            return self._counts(self.defects, self.n)
        total = dict.fromkeys(self.defects, 0)
        for task in self.tasks:
            for name, count in self._counts(task.classes, task.count).items():
                total[name] += count
        return total

    def _counts(self, defects: tuple[str, ...], n: int) -> dict[str, int]:
        return (
            dict.fromkeys(defects, n) if self.wishes.together else counts(defects, n, self.shares)
        )

    @property
    def classes_each(self) -> float:
        """How many classes an image shows on average."""
        if not self.wishes.together:
            return 1
        if not self.tasks:
            return len(self.defects)
        images = sum(task.count for task in self.tasks)
        return sum(len(task.classes) * task.count for task in self.tasks) / images

    @property
    def strengths(self) -> set[float]:
        """By which what the model paints is scaled, row by row."""
        return {task.wishes(self.wishes).strength for task in self.tasks} or {self.wishes.strength}

    @property
    def weakest(self) -> float:
        """The least strength that paints anything."""
        return min(filter(None, self.strengths), default=0)

    @property
    def placed(self) -> bool:
        """Whether each defect has a region of its own."""
        wished = self.wishes
        asked = (wished.where, wished.forbidden, wished.size)
        return (
            asked != (None, None, None)
            or wished.several(len(self.defects))
            or any(task.region is not None for task in self.tasks)
        )

    def further(self) -> dict[str, Any]:
        """What tells this job from others, of what most jobs have none of."""
        return {
            "shares": None if self.shares is None else dict(self.shares),
            "jobs_sha256": digest_of(self.tasks) if self.tasks else None,
            "like_sha256": None if self.like is None else self.like.sha256,
            **self.wishes.record(),
        }


@dataclass(frozen=True)
class Order:
    """A job in its folder: how many candidates there are, and the opacity of each class above
    which a pixel of its masks is defect, the same for all images of a folder; None where that is
    still to be found; and the reference of its style, if it has one. Without ``checks`` nothing is
    rejected.
    """

    job: GenerateJob
    candidates: int
    thresholds: dict[str, float] | None
    checks: Checks | None
    style: Style | None = None

    @property
    def paintings_each(self) -> float:
        """How many candidates an image takes on average, where none is rejected."""
        return self.tries * self.job.classes_each * sum(self.job.wishes.count) / 2

    @property
    def tries(self) -> int:
        """How many candidates a defect takes, where none is rejected."""
        return self.candidates * (self.checks.rivals if self.checks else 1)

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
            "style_sha256": self.style and self.style.sha256,
            **self.job.further(),
            "checks": None if self.checks is None else self.checks.record(),
        }


def whole(model: Model) -> str:
    """Why there is nothing to paint on."""
    return (
        f"makes whole images from noise (method {model.info.form.method.name}): there is nothing "
        "to paint on, and it takes no good images"
    )


def no_choice(model: Model) -> str:
    """Why none of several candidates can be chosen."""
    if model.painter.could_choose:
        return (
            f"{model.path} holds the generator alone, and it takes the critic to choose: take the "
            "weights of a run"
        )
    return (
        f"the critic of the method {model.info.form.method.name} knows no classes and cannot choose"
    )


def _usual(job: GenerateJob, model: Model) -> int:
    return usual_candidates(model) if job.like is None else CANDIDATES


def settle(job: GenerateJob, model: Model, out: Path) -> Order:
    """What a job means for this model and this folder; nothing is made.

    Raises:
        DataError: if the folder holds something else, or the style cannot be read.
        SettingError: if wishes and checks contradict each other.
        ModelError: if the model does not know a class, has no critic to choose with, makes whole
            images and is to paint on some, does not know where defects are, or has no style encoder
            for a style.
    """
    if job.sources.files and not model.painter.method.paints_on_images:
        raise ModelError(f"{model.path} {whole(model)}")
    if job.placed and not model.painter.method.paints_on_images:
        raise ModelError(f"{model.path} {whole(model)}, nor a place on them")
    for name in job.defects:
        model.info.label_of(name)
    strange = has_strange_files(out)  # before the record is looked for: a shard may just begin here
    if isinstance(job.wishes.where, LearnedArea):
        refuse_unlearned(model, job.defects)
    if job.checks and job.checks.of_mask and 0 in job.strengths:
        raise SettingError("a strength of 0 paints nothing: no mask can be asked of it")
    there = recorded_job(out, model)
    candidates = job.candidates or (there or {}).get("candidates") or _usual(job, model)
    thresholds = (there or {}).get("thresholds")
    if thresholds is None and model.info.calibrated is not None:
        # An opacity of true masks; what is painted weaker has less of it.
        opacity = model.info.calibrated * min(job.weakest, 1)
        thresholds = dict.fromkeys(job.defects, max(opacity, INVISIBLE))
    if thresholds is None and model.painter.method.mask_kind == "whole":
        thresholds = dict.fromkeys(job.defects, model.info.threshold)
    refuse_without_critic(job, model, candidates)
    style = None if job.style is None else read_style(job.style, model)
    # A set of a version that rejected nothing goes on as it was begun.
    begun_without = there is not None and there.get("checks") is None and job.checks == checks.USUAL
    order = Order(job, candidates, thresholds, None if begun_without else job.checks, style)
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


def refuse_without_critic(job: GenerateJob, model: Model, candidates: int) -> None:
    """Make sure that there is a critic where a job takes one.

    Raises:
        ModelError: if there is none.
    """
    if model.painter.has_critic:
        return
    alone = f"{model.path} holds the generator alone, and it takes the critic to"
    if job.like is not None and not can_tell(model):
        raise ModelError(f"{alone} tell which images are like others, or the extra 'features'")
    if candidates > 1 and job.like is None:
        raise ModelError(f"{no_choice(model)}, or one candidate instead of {candidates}")
    if job.checks and job.checks.of_critic:
        raise ModelError(
            f"{alone} tell how sure it is of a class and what the best images are: take the "
            "weights of a run, or check masks alone"
        )
