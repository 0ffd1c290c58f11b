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
from defectgan.heads import EXPECTED, is_image_name
from defectgan.names import clipped, readable_name


@dataclass(frozen=True)
class PlanRow:
    """One image to make: defect ``defect`` painted over ``source`` with the noise of ``seed``."""

    number: int
    source: Path
    defect: str
    seed: int

    @property
    def name(self) -> str:
        """The file name of the image and of its mask, without the extension."""
        return f"{self.number:06d}_{clipped(readable_name(self.source.stem))}"


@dataclass(frozen=True)
class Sources:
    """The good images to paint on, and the files that were left out, each with its reason."""

    files: tuple[Path, ...]
    rejected: tuple[tuple[Path, str], ...]


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


def make_plan(
    files: Sequence[Path],
    defects: Sequence[str],
    *,
    n: int,
    seed: int,
    candidates: int = 1,
    shares: Mapping[str, int] | None = None,
    wanted: Callable[[int], bool] = lambda number: True,
) -> Iterator[list[PlanRow]]:
    """The candidates of those of n images that are ``wanted``, over all defect classes in turn, or
    as often as their ``shares`` say.

    The first candidates take every source once, in random order, before any comes twice. Candidate
    c of an image is painted on the source that comes ``c % CAP`` places later in this lap, round
    to its start, with noise of its own.

    Candidate c of image i depends on (files, defects, seed, i, c) alone: neither on n nor on
    ``candidates``.
    """
    order: list[int] = []
    for i, defect in zip(range(n), in_turn(defects, shares), strict=False):
        lap, place = divmod(i, len(files))
        if place == 0:
            order = np.random.default_rng([seed, lap]).permutation(len(files)).tolist()
        if not wanted(i):
            continue
        sources = [files[order[(place + step) % len(files)]] for step in range(CAP)]
        row = PlanRow(i, sources[0], defect, row_seed(seed, i))
        further = (
            replace(row, source=sources[c % CAP], seed=row_seed(row.seed, c))
            for c in range(1, candidates)
        )
        yield [row, *further]


def row_seed(*key: int) -> int:
    """A seed that depends on a key alone."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])
