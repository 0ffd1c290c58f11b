"""The whole of ``generate``: from what is asked for to a job that can begin, and to its images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from defectgan.data.facts import Facts
from defectgan.data.levels import about_dim
from defectgan.devices import pick_device
from defectgan.generation.checks import USUAL as USUAL_CHECKS
from defectgan.generation.checks import Checks
from defectgan.generation.mask_threshold import looked_at
from defectgan.generation.plan import find_sources
from defectgan.generation.request import GenerateJob, Order, settle
from defectgan.generation.run import run_job
from defectgan.generation.where import read_area
from defectgan.generation.wishes import USUAL, Wishes
from defectgan.listener import SILENT, Listener
from defectgan.model.file import Model, load_model
from defectgan.names import plain_name
from defectgan.runs import find_model, unused

# A default folder name spells out so many classes; more are counted.
NAMED = 3
# Images computed at once.
BATCH = 16


@dataclass(frozen=True)
class Prepared:
    """A job with all that it takes: its ``order``, the ``model`` on its ``device``, and the folder
    ``out``; nothing is made yet.
    """

    order: Order
    model: Model
    out: Path
    device: torch.device

    @property
    def job(self) -> GenerateJob:
        """What is asked for."""
        return self.order.job

    @property
    def paintings(self) -> int:
        """How many candidates all images take together, where none is rejected."""
        return round(self.job.n * self.order.paintings_each)

    @property
    def first_paintings(self) -> int:
        """How many come before, to find the threshold of each class; 0 where they are known."""
        return looked_at(self.job) if self.order.thresholds is None else 0

    def notes(self) -> list[str]:
        """What a person should know of the sources before they are painted on."""
        return about_dim(self.job.sources.files, Facts()) if self.model.info.levels is None else []


def prepare(
    normal: str,
    *,
    defects: Sequence[str] | None = None,
    n: int = 100,
    model: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    binary_masks: bool = False,
    candidates: int | None = None,
    where: str | Path | None = None,
    forbidden: str | Path | None = None,
    wishes: Wishes = USUAL,
    checks: Checks = USUAL_CHECKS,
    device: str = "auto",
) -> Prepared:
    """Find all that a job takes; the arguments are those of ``generate``.

    Raises:
        SettingError: if there is no such device, or wishes and checks contradict each other.
        DataError: if there are no sources, masks are missing, or the folder holds something else.
        ModelError: if there is no model, or it cannot do it.
    """
    place = pick_device(device)
    trained = load_model(find_model(model), device=place)
    classes = tuple(defects or trained.info.classes[1:])
    sources = find_sources(normal)
    allowed, barred = (
        None if area is None else read_area(str(area), sources.files) for area in (where, forbidden)
    )
    job = GenerateJob(
        sources,
        classes,
        n,
        seed,
        binary_masks=binary_masks,
        candidates=candidates,
        wishes=replace(wishes, where=allowed, forbidden=barred),
        checks=checks,
    )
    folder = out or _default_folder(classes)
    return Prepared(settle(job, trained, folder), trained, folder, place)


def generate(
    normal: str | Path,
    *,
    defects: Sequence[str] | None = None,
    n: int = 100,
    model: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    batch_size: int = BATCH,
    binary_masks: bool = False,
    candidates: int | None = None,
    where: str | Path | None = None,
    forbidden: str | Path | None = None,
    wishes: Wishes = USUAL,
    checks: Checks = USUAL_CHECKS,
    device: str = "auto",
    listener: Listener = SILENT,
) -> Path:
    """Paint defects onto good images; returns the folder with images, pixel masks and a manifest.

    Images keep their size, depth and every pixel that is not painted. A job that was cut short goes
    on when it is called again with the same folder, and a larger ``n`` adds to what is there.

    Args:
        normal: good images to paint on: a folder, a file or a pattern.
        defects: classes to paint, in turn; None for all that the model knows.
        n: images to make, over all classes.
        model: run folder or weights, None for the newest run.
        out: the folder; ``generated/<time>-<classes>`` by default.
        seed: the same seed makes the same images.
        batch_size: images computed at once; changes the speed alone.
        binary_masks: write masks of 0 and 255 instead of soft ones.
        candidates: paintings tried for each image, of which the one is kept whose class the critic
            is surest of; None for the usual number.
        where: where defects may be: a box ``x,y,w,h`` in pixels or, with decimal points, shares of
            the image; a mask file; a folder of masks called like the images; ``learned``.
        forbidden: where none may be, likewise.
        wishes: size, number and strength of the defects.
        checks: what a painting must hold to be kept.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        listener: who is told how it goes.

    Raises:
        SettingError: if there is no such device, or wishes and checks contradict each other.
        DataError: if there are no sources, all are damaged, masks are missing, or the folder holds
            something else.
        ModelError: if there is no model, or it cannot do it.
        OutOfMemory: if not even one image at a time fits into memory.
        CheckFailed: if images are missing because every painting of them was rejected; what was
            made is there.
    """
    prepared = prepare(
        str(normal),
        defects=defects,
        n=n,
        model=model,
        out=out,
        seed=seed,
        binary_masks=binary_masks,
        candidates=candidates,
        where=where,
        forbidden=forbidden,
        wishes=wishes,
        checks=checks,
        device=device,
    )
    with listener.counting("images", n) as done:
        outcome = run_job(
            prepared.job,
            prepared.model,
            prepared.out,
            device=prepared.device,
            batch_size=batch_size,
            done=done,
            say=listener.warn,
        )
    outcome.refuse_short(n, prepared.out)
    return prepared.out


def _default_folder(classes: Sequence[str]) -> Path:
    name = plain_name("-".join(classes)) if len(classes) <= NAMED else f"{len(classes)}-classes"
    return unused(Path("generated") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}")
