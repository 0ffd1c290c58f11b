"""The pipeline of a generate job: reading, computing and writing overlap."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

from defectgan.errors import CheckFailed
from defectgan.files import sync_all
from defectgan.generation.canvas import Easel, Result, Try
from defectgan.generation.finish import Finisher
from defectgan.generation.mask_threshold import find_thresholds
from defectgan.generation.plan import Wanted, wanted_images
from defectgan.generation.request import GenerateJob, Order, settle
from defectgan.generation.rounds import Ended, Rounds
from defectgan.generation.shelf import Shelf
from defectgan.generation.writers import FolderWriter
from defectgan.locks import held
from defectgan.manifest import REJECTED, GivenUp, ManifestRow
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

    def refuse_short(self, n: int, out: Path) -> None:
        """Make sure that the n images of a job are there.

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
            f"{out / REJECTED})"
        )


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
        shelf = Shelf(job.sources.files, model.info, pool)
        portions = Portions(batch_size, "images", say)
        paint = Easel(
            shelf,
            portions,
            model,
            device,
            placed=job.placed,
            compared=job.checks is not None and job.checks.keep_best is not None,
        )
        thresholds = order.thresholds or find_thresholds(job, paint)
        finished = writer.open(order.record(model) | {"thresholds": thresholds}, say)
        short = {number: one for number, one in writer.given_up().items() if number < job.n}
        begun = sum(number < job.n for number in finished)
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

        finish = Finisher(writer, model, thresholds, order.checks, order.candidates)
        timed = _Timed(paint, round((job.n - begun) * order.paintings_each), expect)
        rounds = Rounds(timed, finish, pool, size=max(1, batch_size // order.tries), ended=ended)
        rounds(_missing(order, {*finished, *short}))
        made = job.n - begun - len(short)
        if made:
            sync_all()
            writer.put_in_order()
    return GenerateOutcome(len(finished), made, shelf.damaged, tuple(short.values()))


def _first_lost(image: GivenUp) -> str:
    """What is said of the first image that is given up."""
    (why, _), *_ = Counter(rejection.why for rejection in image.rejected).most_common(1)
    tried = counted(len(image.rejected), "painting")
    return (
        f"image {image.number} of {image.defect} is given up: {tried} of it were rejected, most as "
        f"{why}; there may be more such images"
    )


def _missing(order: Order, settled: Collection[int]) -> Iterator[Wanted]:
    """The images that are not there, and were not given up."""
    job = order.job
    images = wanted_images(
        job.sources.files, job.defects, n=job.n, seed=job.seed, wishes=job.wishes
    )
    return (wanted for wanted in images if wanted.number not in settled)


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
