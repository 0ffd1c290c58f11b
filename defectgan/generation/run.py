"""The pipeline of a generate job: reading, computing and writing overlap."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from defectgan import __version__
from defectgan.data.masks import is_defect
from defectgan.errors import CheckFailed, DataError
from defectgan.files import sync_all
from defectgan.generation.canvas import AHEAD, Canvas, paint_rows
from defectgan.generation.choose import surest
from defectgan.generation.layer import paint_source
from defectgan.generation.likeness import Likeness
from defectgan.generation.mask_threshold import find_thresholds
from defectgan.generation.plan import PlanRow
from defectgan.generation.request import GenerateJob, Order, settle
from defectgan.generation.shards import WHOLE, Shard
from defectgan.generation.shelf import Shelf
from defectgan.generation.writers import FolderWriter
from defectgan.locks import held
from defectgan.manifest import FORMAT, JOB, Box, ManifestRow
from defectgan.memory import Portions
from defectgan.model.file import Model
from defectgan.words import counted

T = TypeVar("T")

IO_THREADS = 4
# The batch after which the speed is known: the first is slower.
TIMED = 2


class GenerateOutcome(NamedTuple):
    """What came of a job: how many images were there before, how many were made, and the sources
    that were left out, each with its reason.
    """

    there: int
    made: int
    damaged: dict[Path, str]


def run_job(
    job: GenerateJob,
    model: Model,
    out: Path,
    *,
    device: torch.device,
    batch_size: int,
    shard: Shard = WHOLE,
    done: Callable[[int], None] = lambda count: None,
    expect: Callable[[int, float], None] = lambda paintings, seconds: None,
    say: Callable[[str], None] = lambda text: None,
) -> GenerateOutcome:
    """Make the images of a job in a folder. What is there of it is not made again, even if that is
    more than is asked for; what has been taken away or torn since is.

    A source that turns out to be damaged is left out, and the next one takes its place.

    Args:
        job: what to make.
        model: the model, on the device.
        out: the folder, new, empty, or with images of the same job.
        device: where to compute.
        batch_size: candidates computed at once; does not change them by more than rounding.
        shard: the part of the images to make, beside other shards in the same folder; the whole job
            makes all that shards have left, and joins what they have made.
        done: called with the number of images more of those asked for that are there.
        expect: called once, as soon as the speed is known, with the number of candidates that are
            still to be painted and the seconds that it will take.
        say: told where so many at once do not fit into memory, and how many do, and of what was
            damaged and is made again.

    Raises:
        DataError: if all sources are damaged, the folder holds something else, or another job is at
            work in it; what was written before stays.
        ModelError: if the model cannot do it.
        OutOfMemory: if not even one image at a time fits into memory.
    """
    with shard.held(out), ThreadPoolExecutor(IO_THREADS) as pool:
        order, share = settle(job, model, out), shard.share(job.n)
        writer = FolderWriter(out, job.binary_masks, model, shard)
        shelf = Shelf(job.sources.files, model.info, pool)
        portions = Portions(batch_size, "images", say)
        paint = partial(paint_rows, shelf, portions, model=model, device=device)
        likeness = None if job.like is None else Likeness(job.like, model, device)
        thresholds = order.thresholds or find_thresholds(job, paint)
        writer.begin(order.record(model) | {"thresholds": thresholds})
        if not shard.whole:  # another one may have been earlier
            thresholds = settle(job, model, out).thresholds or thresholds
        finished = writer.open(say)
        begun = sum(number < job.n for number in finished)
        done(begun)

        def settled(written: list[ManifestRow]) -> None:
            writer.record(written)
            done(len(written))

        left = _missing(order, shard, finished)
        tries = _timed(paint(left, likeness=likeness), (share - begun) * order.candidates, expect)
        tasks = (
            pool.submit(_finish, writer, model, device, thresholds, canvas.apart())
            for canvas in surest(tries, order.candidates, attrgetter("worth"))
        )
        _settle_in_groups(tasks, max(1, batch_size // order.candidates), settled)
        if begun < share:
            sync_all()
            if finished:
                writer.put_in_order()
    return GenerateOutcome(len(finished), share - begun, shelf.damaged)


def join_shards(
    job: GenerateJob, model: Model, out: Path, *, say: Callable[[str], None] = lambda text: None
) -> GenerateOutcome:
    """Join what the shards of a job have made into one manifest; nothing is painted.

    Args:
        job: what was to be made.
        model: the model that made it.
        out: the folder.
        say: told of what was damaged.

    Raises:
        DataError: if the folder holds something else, or a job is at work in it.
        CheckFailed: if images are missing; what is there has been joined.
    """
    with held(out):
        settle(job, model, out)
        if not (out / JOB).is_file():
            raise DataError(f"{out} holds no shards of a job: make them first")
        finished = FolderWriter(out, job.binary_masks, model).open(say)
    if missing := job.n - sum(number < job.n for number in finished):
        raise CheckFailed(
            f"{missing} of {counted(job.n, 'image')} are missing in {out}: a shard has not ended, "
            "or has failed; the same command for it, or for the whole job, makes them"
        )
    return GenerateOutcome(len(finished), 0, {})


def _missing(order: Order, shard: Shard, finished: Collection[int]) -> Iterator[PlanRow]:
    """All candidates of the images that are not there, one image after the other."""
    plan = order.job.plan(
        order.candidates, lambda number: shard.has(number) and number not in finished
    )
    return itertools.chain.from_iterable(plan)


def _settle_in_groups(
    tasks: Iterator[Future[T]], size: int, settled: Callable[[list[T]], None]
) -> None:
    """Hand over the results of tasks, so many at once, while further ones are at work; whatever
    happens, all that were begun and end well are handed over first.
    """
    begun: deque[Future[T]] = deque()

    def settle_group() -> None:
        group = [begun.popleft() for _ in range(min(size, len(begun)))]
        failures = [error for task in group if (error := task.exception()) is not None]
        settled([task.result() for task in group if task.exception() is None])
        if failures:
            raise failures[0]

    try:
        for task in tasks:
            begun.append(task)
            if len(begun) == (1 + AHEAD) * size:
                settle_group()
    except BaseException:
        while begun:
            with suppress(Exception):  # the first failure is the one to tell of
                settle_group()
        raise
    while begun:
        settle_group()


def _timed(
    batches: Iterable[Sequence[Canvas]], left: int, expect: Callable[[int, float], None]
) -> Iterator[Canvas]:
    """All of the batches; of ``left`` there will be, says how long the rest will take."""
    before = 0.0
    for count, batch in enumerate(batches, start=1):
        now = time.perf_counter()
        left -= len(batch)
        if count == TIMED and left:
            expect(left, (now - before) / len(batch) * left)
        before = now
        yield from batch


def _finish(
    writer: FolderWriter,
    model: Model,
    device: torch.device,
    thresholds: Mapping[str, float],
    canvas: Canvas,
) -> ManifestRow:
    """Compose at the source's own size, write, and return the manifest's row."""
    row, source, threshold = canvas.row, canvas.source, thresholds[canvas.row.defect]
    levels = model.info.levels_of(source.picture)
    painted = paint_source(
        source.picture,
        canvas.view,
        canvas.image,
        canvas.foreground,
        canvas.mask,
        levels,
        canvas.detail(model, device),
    )
    found = is_defect(painted.mask, threshold)
    picture = replace(source.picture, pixels=painted.pixels)
    files = writer.write(row, picture, painted.mask, found)
    return ManifestRow(
        format=FORMAT,
        number=row.number,
        **files,
        source=str(row.source),
        source_sha256=source.sha256,
        defect=row.defect,
        seed=row.seed,
        window=canvas.view.window,
        threshold=threshold,
        box=_box(found),
        mask_area=round(float(found.mean()), 6),
        **canvas.verdict,
        model_sha256=model.sha256,
        defectgan=__version__,
        torch=torch.__version__,
    )


def _box(found: NDArray[np.bool_]) -> Box | None:
    """[left, top, width, height] of what a person sees of the mask; None where that is nothing."""
    rows, columns = (np.flatnonzero(found.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    top, left = int(rows.min()), int(columns.min())
    return left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1
