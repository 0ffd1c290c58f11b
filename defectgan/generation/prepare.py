"""The whole of ``generate``: from what is asked for to a job that can begin, and to its images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from defectgan.data.facts import Facts
from defectgan.data.levels import about_dim
from defectgan.errors import SettingError
from defectgan.generation.amounts import to_balance
from defectgan.generation.checks import USUAL as USUAL_CHECKS
from defectgan.generation.checks import Checks
from defectgan.generation.formats import check_formats, export_set
from defectgan.generation.into import add_to, set_in
from defectgan.generation.likeness import Examples, read_examples
from defectgan.generation.mask_threshold import looked_at
from defectgan.generation.plan import Sources, find_sources
from defectgan.generation.request import GenerateJob, Order, settle, whole
from defectgan.generation.run import run_job
from defectgan.generation.shards import WHOLE, Shard
from defectgan.generation.tasks import Task, read_tasks, sources_of
from defectgan.generation.where import read_area
from defectgan.generation.wishes import USUAL, Wishes
from defectgan.listener import SILENT, Listener
from defectgan.model.file import Model, load_model
from defectgan.names import plain_name
from defectgan.processes import own_device
from defectgan.runs import find_model, unused

# A default folder name spells out so many classes; more are counted.
NAMED = 3
# Images computed at once.
BATCH = 16
# Images that are made where nobody says how many.
USUAL_N = 100


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
    n: int | None = None,
    model: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    binary_masks: bool = False,
    candidates: int | None = None,
    style: Path | None = None,
    per_class: int | None = None,
    balance_to: Path | None = None,
    like: Path | None = None,
    jobs: Path | None = None,
    into: Path | None = None,
    where: str | Path | None = None,
    forbidden: str | Path | None = None,
    wishes: Wishes = USUAL,
    checks: Checks = USUAL_CHECKS,
    device: str = "auto",
) -> Prepared:
    """Find all that a job takes; the arguments are those of ``generate``.

    Raises:
        SettingError: if there is no such device, arguments contradict each other, or good images
            are missing or named for a model that makes whole ones.
        DataError: if there are no sources, masks are missing, or the folder holds something else.
        ModelError: if there is no model, or it cannot do it.
    """
    _refuse_contradictions(
        normal, n, per_class, balance_to, like, jobs, defects, together=wishes.together
    )
    place = own_device(device)
    trained = load_model(find_model(model), device=place)
    known = trained.info.made
    tasks: tuple[Task, ...] = ()
    shares: dict[str, int] | None = None
    examples: Examples | None = None
    classes = tuple(defects or known)
    if jobs is not None:
        tasks = read_tasks(jobs, known, seed=seed)
        sources = sources_of(tasks)
        classes = tuple(name for name in known if any(name in task.classes for task in tasks))
        n = sum(task.count for task in tasks)
    else:
        for name in classes:
            trained.info.label_of(name)
        sources = _sources(normal, trained)
    if like is not None:
        examples = read_examples(like, classes)
        shares = examples.shares
    elif balance_to is not None:
        shares = to_balance(balance_to, classes, asked=defects is not None)
        n = sum(shares.values())
    if shares is not None:
        classes = tuple(name for name in classes if name in shares)
    if per_class is not None:
        n = per_class * len(classes)
    allowed, barred = (
        None if area is None else read_area(str(area), sources.files) for area in (where, forbidden)
    )
    job = GenerateJob(
        sources,
        classes,
        USUAL_N if n is None else n,
        seed,
        binary_masks=binary_masks,
        candidates=candidates,
        shares=shares,
        tasks=tasks,
        like=examples,
        wishes=replace(wishes, where=allowed, forbidden=barred),
        style=style,
        checks=checks,
    )
    if into is not None:
        if out is not None:
            raise SettingError(f"images go into {into} or into a set of their own, not into both")
        out = set_in(into, job, trained)
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


def _refuse_contradictions(
    normal: str | None,
    n: int | None,
    per_class: int | None,
    balance_to: Path | None,
    like: Path | None,
    jobs: Path | None,
    defects: Sequence[str] | None,
    *,
    together: bool,
) -> None:
    """Make sure that one thing alone says what is made.

    Raises:
        SettingError: if there is none, or several contradict each other.
    """
    if normal is not None and jobs is not None:
        raise SettingError(
            "good images to paint on are named once: for the whole job, or in each row of a file "
            "of jobs"
        )
    amounts = [n is not None, per_class is not None, balance_to is not None, jobs is not None]
    if sum(amounts) > 1:
        raise SettingError(
            "how many images there will be is said once: in all, for each class, by a data set to "
            "balance, or by a file of jobs"
        )
    shares = [like is not None, per_class is not None or balance_to is not None]
    if sum(shares) > 1 or (jobs is not None and (like is not None or defects)):
        raise SettingError(
            "which classes are made is said once: all alike, by images to make more of, by a data "
            "set to balance, or by a file of jobs"
        )
    if together and any(shares):
        raise SettingError(
            "where all classes are painted into each image there are as many of each: say how many "
            "images there will be in all"
        )


def generate(
    normal: str | Path | None = None,
    *,
    defects: Sequence[str] | None = None,
    n: int | None = None,
    model: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    batch_size: int = BATCH,
    binary_masks: bool = False,
    candidates: int | None = None,
    style: Path | None = None,
    per_class: int | None = None,
    balance_to: Path | None = None,
    like: Path | None = None,
    jobs: Path | None = None,
    into: Path | None = None,
    formats: Sequence[str] = (),
    where: str | Path | None = None,
    forbidden: str | Path | None = None,
    wishes: Wishes = USUAL,
    checks: Checks = USUAL_CHECKS,
    device: str = "auto",
    shard: Shard = WHOLE,
    listener: Listener = SILENT,
) -> Path:
    """Paint defects onto good images; returns the folder with images, pixel masks and a manifest.

    Images keep their size, depth and every pixel that is not painted. A job that was cut short goes
    on when it is called again with the same folder, and a larger ``n`` adds to what is there.

    Args:
        normal: good images to paint on: a folder, a file or a pattern; None with ``jobs``, and for
            a model that makes whole images.
        defects: classes to paint, in turn; None for all that the model knows.
        n: images to make, over all classes; None for 100, or as many as ``per_class``,
            ``balance_to`` or ``jobs`` say.
        model: run folder or weights, None for the newest run.
        out: the folder; ``generated/<time>-<classes>`` by default.
        seed: the same seed makes the same images.
        batch_size: images computed at once; changes the speed alone.
        binary_masks: write masks of 0 and 255 instead of soft ones.
        candidates: paintings tried for each image, of which the one is kept whose class the critic
            is surest of; None for the usual number.
        style: a picture of a defect in whose manner all are painted, by a model whose method has a
            style encoder; None: the seed varies the manner.
        per_class: images to make of each class.
        balance_to: a data set of which every class is filled up to the largest defect class.
        like: real images to make more of, a table with ``file`` and ``labels`` or a folder with one
            folder a class: classes come in their proportion, and those candidates are kept that
            are nearest to them.
        jobs: a file whose rows say what is painted on what, see ``tasks.read_tasks``.
        into: a folder of real images to add to, in the place of ``out``: nothing in it is
            overwritten, and ``into.remove_from`` takes out again what was added.
        formats: further formats to write the set in, when all of it is there.
        where: where defects may be: a box ``x,y,w,h`` in pixels or, with decimal points, shares of
            the image; a mask file; a folder of masks called like the images; ``learned``.
        forbidden: where none may be, likewise.
        wishes: size, number and strength of the defects.
        checks: what a painting must hold to be kept.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        shard: the part of the images to make, beside other shards in the same ``out``; when all are
            done, the same call without a shard joins them.
        listener: who is told how it goes.

    Raises:
        SettingError: if there is no such device, wishes and checks contradict each other, or good
            images are missing or named for a model that makes whole ones.
        DataError: if there are no sources, all are damaged, masks are missing, or the folder holds
            something else.
        ModelError: if there is no model, or it cannot do it.
        OutOfMemory: if not even one image at a time fits into memory.
        CheckFailed: if images are missing because every painting of them was rejected; what was
            made is there.
    """
    check_formats(formats)
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
        per_class=per_class,
        balance_to=balance_to,
        like=like,
        jobs=jobs,
        into=into,
        where=where,
        forbidden=forbidden,
        wishes=wishes,
        checks=checks,
        device=device,
    )
    with listener.counting("images", shard.share(prepared.job.n)) as done:
        outcome = run_job(
            prepared.job,
            prepared.model,
            prepared.out,
            device=prepared.device,
            batch_size=batch_size,
            shard=shard,
            done=done,
            say=listener.warn,
        )
    if shard.whole:
        export_set(prepared.out, formats, say=listener.warn)
        if into is not None:
            add_to(into, prepared.out)
    outcome.refuse_short(shard.share(prepared.job.n), shard.folder(prepared.out))
    return prepared.out


def _default_folder(classes: Sequence[str]) -> Path:
    name = plain_name("-".join(classes)) if len(classes) <= NAMED else f"{len(classes)}-classes"
    return unused(Path("generated") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}")
