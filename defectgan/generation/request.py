"""What is asked for, and what is made of it in a folder that may hold a part of it already."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectgan.errors import DataError, ModelError
from defectgan.files import digest
from defectgan.generation.choose import usual_candidates
from defectgan.generation.plan import Sources
from defectgan.generation.writers import has_strange_files, recorded_job
from defectgan.manifest import JOB
from defectgan.model.file import MODEL, Model


@dataclass(frozen=True)
class GenerateJob:
    """What a generate command asks for; the same job makes the same images.

    With several ``candidates`` each image is painted so many times, on up to ``CAP`` good images,
    and the one is kept whose class the critic is surest of; None leaves the number to the folder's
    earlier images, then to the model.
    """

    sources: Sources
    defects: tuple[str, ...]
    n: int
    seed: int
    binary_masks: bool
    candidates: int | None = None


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
        }


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
    candidates = job.candidates or (there or {}).get("candidates") or usual_candidates(model)
    thresholds = (there or {}).get("thresholds")
    if thresholds is None and model.info.calibrated is not None:
        thresholds = dict.fromkeys(job.defects, model.info.calibrated)
    if candidates > 1 and not model.painter.has_critic:
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
