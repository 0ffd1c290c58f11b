"""The pipeline of a generate job: reading, computing and writing overlap."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from defectgan.files import sync_all
from defectgan.generation.canvas import AHEAD, Canvas, paint_rows
from defectgan.generation.choose import surest
from defectgan.generation.layer import paint_source
from defectgan.generation.mask_threshold import find_thresholds
from defectgan.generation.plan import PlanRow, make_plan
from defectgan.generation.request import GenerateJob, Order, settle
from defectgan.generation.shelf import Blank, Shelf
from defectgan.generation.style import Style
from defectgan.generation.writers import FolderWriter
from defectgan.locks import held
from defectgan.manifest import FORMAT, Box, ManifestRow
from defectgan.memory import Portions
from defectgan.model.file import Model

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
    with held(out), ThreadPoolExecutor(IO_THREADS) as pool:
        order = settle(job, model, out)
        writer = FolderWriter(out, job.binary_masks, model)
        files, info = job.sources.files, model.info
        shelf = Shelf(files, info, pool) if files else Blank(info)
        portions = Portions(batch_size, "images", say)
        paint = partial(paint_rows, shelf, portions, model=model, device=device, style=order.style)
        thresholds = order.thresholds or find_thresholds(job, paint)
        finished = writer.open(order.record(model) | {"thresholds": thresholds}, say)
        begun = sum(number < job.n for number in finished)
        done(begun)

        def settled(written: list[ManifestRow]) -> None:
            writer.record(written)
            done(len(written))

        tries = _timed(paint(_missing(order, finished)), (job.n - begun) * order.candidates, expect)
        tasks = (
            pool.submit(_finish, writer, model, device, thresholds, canvas.apart(), order.style)
            for canvas in surest(tries, order.candidates, attrgetter("confidence"))
        )
        _settle_in_groups(tasks, max(1, batch_size // order.candidates), settled)
        if begun < job.n:
            sync_all()
            if finished:
                writer.put_in_order()
    return GenerateOutcome(len(finished), job.n - begun, shelf.damaged)


def _missing(order: Order, finished: Collection[int]) -> Iterator[PlanRow]:
    """All candidates of the images that are not there, one image after the other."""
    job = order.job
    plan = make_plan(
        job.sources.files, job.defects, n=job.n, seed=job.seed, candidates=order.candidates
    )
    return itertools.chain.from_iterable(c for c in plan if c[0].number not in finished)


def _settle_in_groups(
    tasks: Iterator[Future[T]], size: int, settled: Callable[[list[T]], None]
) -> None:
    """Hand over the results of tasks, so many at once, while further ones are at work; whatever
    happens, those that were begun are handed over first.
    """
    begun: deque[Future[T]] = deque()

    def settle_group() -> None:
        settled([begun.popleft().result() for _ in range(min(size, len(begun)))])

    try:
        for task in tasks:
            begun.append(task)
            if len(begun) == (1 + AHEAD) * size:
                settle_group()
    finally:
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
    style: Style | None,
) -> ManifestRow:
    """Compose at the source's own size, write, and return the manifest's row."""
    row, source, threshold = canvas.row, canvas.source, thresholds[canvas.row.defect]
    painted = paint_source(
        source.picture,
        canvas.view,
        canvas.image,
        canvas.foreground,
        canvas.mask,
        source.levels,
        canvas.detail(model, device),
    )
    found = is_defect(painted.mask, threshold)
    picture = replace(source.picture, pixels=painted.pixels)
    files = writer.write(row, picture, painted.mask, found)
    if style is not None:
        files |= {"style": str(style.path), "style_sha256": style.sha256}
    return ManifestRow(
        format=FORMAT,
        number=row.number,
        **files,
        source=row.source and str(row.source),
        source_sha256=source.sha256,
        defect=row.defect,
        seed=row.seed,
        window=canvas.view.window,
        threshold=threshold,
        box=_box(found),
        mask_area=round(float(found.mean()), 6),
        mask_kind=model.painter.method.mask_kind,
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
