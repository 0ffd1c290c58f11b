"""The plan: a list of rows, each with all that its image depends on.

A row needs nothing but itself and the model, so any batch size, order or restart makes the same
image.
"""

import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from defectgan.data.facts import readable
from defectgan.data.places import is_file, is_folder
from defectgan.data.walk import Found, find_images
from defectgan.errors import DataError
from defectgan.generation.amounts import in_turn
from defectgan.generation.choose import CAP
from defectgan.generation.wishes import USUAL, Wishes
from defectgan.heads import EXPECTED, is_image_name
from defectgan.names import clipped, readable_name

# How many defects an image has is drawn apart from all else.
COUNT = 2


@dataclass(frozen=True)
class PlanRow:
    """One image to make: defect ``defect`` painted over ``source`` with the noise of ``seed``, as
    is wished; or made whole, where there is no source.
    """

    number: int
    source: Path | None
    defect: str
    seed: int
    wishes: Wishes = USUAL

    @property
    def name(self) -> str:
        """The file name of the image and of its mask, without the extension."""
        of_source = f"_{clipped(readable_name(self.source.stem))}" if self.source else ""
        return f"{self.number:06d}{of_source}"


@dataclass(frozen=True)
class Sources:
    """The good images to paint on, none for images that are made whole; and the files that were
    left out, each with its reason.
    """

    files: tuple[Path, ...] = ()
    rejected: tuple[tuple[Path, str], ...] = ()


def find_sources(normal: str) -> Sources:
    """The images that a folder, a file or a glob pattern stands for.

    Raises:
        DataError: if there is none that can be read.
    """
    path = Path(normal)
    found = Found([], [], [])
    if is_folder(path):
        found = find_images(path)
    elif is_file(path):
        found.images.append(path)
    else:
        matches = (Path(p) for p in sorted(glob.glob(normal, recursive=True)))
        found.images.extend(p for p in matches if is_image_name(p.name) and p.is_file())
    files, unreadable = readable(found.images)
    rejected = [*found.skipped, *unreadable, *found.aside]
    if not files:
        detail = f"; the first of {len(rejected)}: {rejected[0][1]}" if rejected else ""
        raise DataError(
            f"no images in {normal}: expected a folder, a file or a pattern of {EXPECTED} "
            f"files{detail}"
        )
    return Sources(tuple(files), tuple(rejected))


@dataclass(frozen=True)
class Wanted:
    """An image of a job: its ``first`` candidate, the ``sources`` that its candidates are painted
    on in turn, and the ``classes`` of its defects, one after the other.
    """

    first: PlanRow
    sources: tuple[Path | None, ...]
    classes: tuple[str, ...]

    @property
    def number(self) -> int:
        """Counts the images of a job."""
        return self.first.number

    def candidate(self, c: int, *, nth: int = 0) -> PlanRow:
        """Candidate c of the image, or with ``nth`` of its next defects; there is no last one."""
        if not nth:
            seed = row_seed(self.first.seed, c) if c else self.first.seed
            return replace(self.first, source=self.sources[c % len(self.sources)], seed=seed)
        return replace(self.first, defect=self.classes[nth], seed=row_seed(self.first.seed, c, nth))


def wanted_images(
    files: Sequence[Path],
    defects: Sequence[str],
    *,
    n: int,
    seed: int,
    wishes: Wishes = USUAL,
    shares: Mapping[str, int] | None = None,
    wanted: Callable[[int], bool] = lambda number: True,
) -> Iterator[Wanted]:
    """Those of the n images of a job that are ``wanted`` by their numbers, over all defect classes
    in turn, as often as their ``shares`` say, or together.

    The first candidates take every source once, in random order, before any comes twice. Candidate
    c of an image is painted on the source that comes ``c % CAP`` places later in this lap, round
    to its start, with noise of its own.

    Candidate c of image i depends on (files, defects, seed, wishes, shares, i, c) alone: neither
    on n nor on how many candidates there are.
    """
    order: list[int] = []
    for i, defect in zip(range(n), in_turn(defects, shares), strict=False):
        sources: tuple[Path | None, ...] = (None,) * CAP
        if files:
            lap, place = divmod(i, len(files))
            if place == 0:
                order = np.random.default_rng([seed, lap]).permutation(len(files)).tolist()
            sources = tuple(files[order[(place + step) % len(files)]] for step in range(CAP))
        if not wanted(i):
            continue
        own = row_seed(seed, i)
        names = tuple(defects) if wishes.together else (defect,)
        classes = names * _count(wishes.count, own)
        yield Wanted(PlanRow(i, sources[0], classes[0], own, wishes), sources, classes)


def _count(count: tuple[int, int], seed: int) -> int:
    low, high = count
    if low == high:
        return low
    return int(np.random.default_rng([seed, COUNT]).integers(low, high, endpoint=True))


def make_plan(
    files: Sequence[Path],
    defects: Sequence[str],
    *,
    n: int,
    seed: int,
    candidates: int = 1,
    wishes: Wishes = USUAL,
) -> Iterator[list[PlanRow]]:
    """The candidates of the first defects of n images, see ``wanted_images``."""
    for wanted in wanted_images(files, defects, n=n, seed=seed, wishes=wishes):
        yield [wanted.candidate(c) for c in range(candidates)]


def row_seed(*key: int) -> int:
    """A seed that depends on a key alone."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])
