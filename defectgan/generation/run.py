"""The pipeline of a generate job: reading, computing and writing overlap."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

from defectgan.errors import CheckFailed, DataError
from defectgan.files import sync_all
from defectgan.generation.canvas import Easel, Result, Try
from defectgan.generation.finish import Finisher
from defectgan.generation.likeness import Likeness
from defectgan.generation.mask_threshold import find_thresholds
from defectgan.generation.plan import Wanted
from defectgan.generation.request import GenerateJob, settle
from defectgan.generation.rounds import Ended, Rounds
from defectgan.generation.shards import WHOLE, Shard
from defectgan.generation.shelf import Blank, Shelf
from defectgan.generation.writers import FolderWriter
from defectgan.locks import held
from defectgan.manifest import JOB, REJECTED, GivenUp, ManifestRow
from defectgan.memory import Portions
from defectgan.model.file import Model
from defectgan.words import counted

IO_THREADS = 4
# The batch after which the speed is known: the first is slower.
TIMED = 2


class GenerateOutcome(NamedTuple):
    """What came of a job: how many images were there before, how many were made, the sources that
    were left out, each with its reason, and the images that were given up.
    """

    there: int
    made: int
    damaged: dict[Path, str]
    given_up: tuple[GivenUp, ...] = ()

    def refuse_short(self, n: int, home: Path) -> None:
        """Make sure that the n images of a job, or of a shard of it, are there; ``home`` is where
        its manifest is.

        Raises:
            CheckFailed: if some were given up; says how many were made, and why.
        """
        if not self.given_up:
            return
        lost = Counter(one.defect for one in self.given_up)
        why = Counter(rejection.why for one in self.given_up for rejection in one.rejected)
        missing = ", ".join(f"{count} of {defect}" for defect, count in sorted(lost.items()))
        raise CheckFailed(
            f"made {n - len(self.given_up)} of {counted(n, 'image')}, {missing} are missing: all "
            f"{counted(why.total(), 'painting')} of them were rejected "
            f"({', '.join(f'{word} {count}' for word, count in why.most_common())}; see "
            f"{home / REJECTED})"
        )


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
        files, info = job.sources.files, model.info
        shelf = Shelf(files, info, pool) if files else Blank(info)
        portions = Portions(batch_size, "images", say)
        paint = Easel(
            shelf,
            portions,
            model,
            device,
            style=order.style,
            placed=job.placed,
            compared=job.checks is not None and job.checks.keep_best is not None,
            likeness=None if job.like is None else Likeness(job.like, model, device),
        )
        thresholds = order.thresholds or find_thresholds(
            job, paint, lambda canvas: canvas.painted(model, device)
        )
        writer.begin(order.record(model) | {"thresholds": thresholds})
        if not shard.whole:  # another one may have been earlier
            thresholds = settle(job, model, out).thresholds or thresholds
        finished = writer.open(say)
        short = _short(writer, job, finished)
        begun = sum(number < job.n for number in finished)
        left = share - begun - len(short)
        done(begun)

        def ended(images: list[Ended]) -> None:
            rows = [one for one in images if isinstance(one, ManifestRow)]
            lost = [one for one in images if isinstance(one, GivenUp)]
            if rows:
                writer.record(rows)
            if lost:
                writer.give_up(lost)
                if not short:
                    say(_first_lost(lost[0]))
                short.update((one.number, one) for one in lost)
            done(len(rows))

        finish = Finisher(
            writer, model, device, thresholds, order.checks, order.candidates, order.style
        )
        timed = _Timed(paint, round(left * order.paintings_each), expect)
        rounds = Rounds(timed, finish, pool, size=max(1, batch_size // order.tries), ended=ended)
        rounds(_missing(job, shard, {*finished, *short}))
        if left:
            sync_all()
            writer.put_in_order()
    made = share - begun - len(short)
    return GenerateOutcome(len(finished), made, shelf.damaged, tuple(short.values()))


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
        CheckFailed: if images are missing that were not given up; what is there has been joined.
    """
    with held(out):
        settle(job, model, out)
        if not (out / JOB).is_file():
            raise DataError(f"{out} holds no shards of a job: make them first")
        writer = FolderWriter(out, job.binary_masks, model)
        finished = writer.open(say)
        short = _short(writer, job, finished)
    if missing := job.n - sum(number < job.n for number in finished) - len(short):
        raise CheckFailed(
            f"{missing} of {counted(job.n, 'image')} are missing in {out}: a shard has not ended, "
            "or has failed; the same command for it, or for the whole job, makes them"
        )
    return GenerateOutcome(len(finished), 0, {}, tuple(short.values()))


def _short(writer: FolderWriter, job: GenerateJob, finished: Collection[int]) -> dict[int, GivenUp]:
    """The images of a job that were given up."""
    lost = writer.given_up()
    return {n: one for n, one in lost.items() if n < job.n and n not in finished}


def _first_lost(image: GivenUp) -> str:
    """What is said of the first image that is given up."""
    (why, _), *_ = Counter(rejection.why for rejection in image.rejected).most_common(1)
    tried = counted(len(image.rejected), "painting")
    return (
        f"image {image.number} of {image.defect} is given up: {tried} of it were rejected, most as "
        f"{why}; there may be more such images"
    )


def _missing(job: GenerateJob, shard: Shard, settled: Collection[int]) -> Iterator[Wanted]:
    """The images that are not there, and were not given up."""
    return job.images(lambda number: shard.has(number) and number not in settled)


class _Timed:
    """Says once how long all paintings will take, of which there will be ``left``."""

    def __init__(self, paint: Easel, left: int, expect: Callable[[int, float], None]) -> None:
        self._paint, self._left, self._expect = paint, left, expect
        self._count, self._before = 0, 0.0

    def __call__(self, tries: Iterable[Try]) -> Iterator[list[Result]]:
        """What becomes of each."""
        for batch in self._paint(tries):
            now = time.perf_counter()
            self._count, self._left = self._count + 1, self._left - len(batch)
            if self._count == TIMED and self._left > 0:
                self._expect(self._left, (now - self._before) / len(batch) * self._left)
            self._before = now
            yield batch
