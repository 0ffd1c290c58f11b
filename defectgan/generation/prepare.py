"""The whole of ``generate``: from what is asked for to a job that can begin, and to its images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from defectgan.data.facts import Facts
from defectgan.data.levels import about_dim
from defectgan.devices import pick_device
from defectgan.errors import SettingError
from defectgan.generation.mask_threshold import looked_at
from defectgan.generation.plan import Sources, find_sources
from defectgan.generation.request import GenerateJob, Order, settle, whole
from defectgan.generation.run import run_job
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
        """How many candidates all images take together."""
        return self.job.n * self.order.candidates

    @property
    def first_paintings(self) -> int:
        """How many come before, to find the threshold of each class; 0 where they are known."""
        return looked_at(self.job) if self.order.thresholds is None else 0

    def notes(self) -> list[str]:
        """What a person should know before anything is made."""
        if not self.model.painter.method.paints_on_images:
            return [
                f"the method {self.model.info.form.method.name} makes whole images from noise: the "
                "mask of each is all of it, and teaches no segmenter"
            ]
        return about_dim(self.job.sources.files, Facts()) if self.model.info.levels is None else []


def prepare(
    normal: str | None = None,
    *,
    defects: Sequence[str] | None = None,
    n: int = 100,
    model: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    binary_masks: bool = False,
    candidates: int | None = None,
    style: Path | None = None,
    device: str = "auto",
) -> Prepared:
    """Find all that a job takes; the arguments are those of ``generate``.

    Raises:
        SettingError: if there is no such device, or good images are missing or named for a model
            that makes whole ones.
        DataError: if there are no sources, or the folder holds something else.
        ModelError: if there is no model, or it cannot do it.
    """
    place = pick_device(device)
    trained = load_model(find_model(model), device=place)
    classes = tuple(defects or trained.info.made)
    sources = _sources(normal, trained)
    job = GenerateJob(
        sources, classes, n, seed, binary_masks=binary_masks, candidates=candidates, style=style
    )
    folder = out or _default_folder(classes)
    return Prepared(settle(job, trained, folder), trained, folder, place)


def _sources(normal: str | None, model: Model) -> Sources:
    if not model.painter.method.paints_on_images:
        if normal is not None:
            raise SettingError(f"{model.path} {whole(model)}")
        return Sources()
    if normal is None:
        raise SettingError("no good images to paint on: name them", mend=("normal", "FOLDER"))
    return find_sources(normal)


def generate(
    normal: str | Path | None = None,
    *,
    defects: Sequence[str] | None = None,
    n: int = 100,
    model: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    batch_size: int = BATCH,
    binary_masks: bool = False,
    candidates: int | None = None,
    style: Path | None = None,
    device: str = "auto",
    listener: Listener = SILENT,
) -> Path:
    """Paint defects onto good images; returns the folder with images, pixel masks and a manifest.

    Images keep their size, depth and every pixel that is not painted. A job that was cut short goes
    on when it is called again with the same folder, and a larger ``n`` adds to what is there.

    Args:
        normal: good images to paint on: a folder, a file or a pattern; None for a model that makes
            whole images.
        defects: classes to paint, in turn; None for all that the model knows.
        n: images to make, over all classes.
        model: run folder or weights, None for the newest run.
        out: the folder; ``generated/<time>-<classes>`` by default.
        seed: the same seed makes the same images.
        batch_size: images computed at once; changes the speed alone.
        binary_masks: write masks of 0 and 255 instead of soft ones.
        candidates: paintings tried for each image, of which the one is kept whose class the critic
            is surest of; None for the usual number.
        style: a picture of a defect in whose manner all are painted, by a model whose method has a
            style encoder; None: the seed varies the manner.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        listener: who is told how it goes.

    Raises:
        SettingError: if there is no such device, or good images are missing or named for a model
            that makes whole ones.
        DataError: if there are no sources, all are damaged, or the folder holds something else.
        ModelError: if there is no model, or it cannot do it.
        OutOfMemory: if not even one image at a time fits into memory.
    """
    prepared = prepare(
        None if normal is None else str(normal),
        defects=defects,
        n=n,
        model=model,
        out=out,
        seed=seed,
        binary_masks=binary_masks,
        candidates=candidates,
        style=style,
        device=device,
    )
    with listener.counting("images", n) as done:
        run_job(
            prepared.job,
            prepared.model,
            prepared.out,
            device=prepared.device,
            batch_size=batch_size,
            done=done,
            say=listener.warn,
        )
    return prepared.out


def _default_folder(classes: Sequence[str]) -> Path:
    name = plain_name("-".join(classes)) if len(classes) <= NAMED else f"{len(classes)}-classes"
    return unused(Path("generated") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}")
