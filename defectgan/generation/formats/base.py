"""What all formats need of a generated set: its classes, and of each image what is in its mask."""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from defectgan.data.masks import Part, cut_parts, joined, read_region
from defectgan.errors import DataError
from defectgan.files import atomic_path, read_json
from defectgan.heads import opened
from defectgan.manifest import AND, JOB, Box, ManifestRow, each_row
from defectgan.model.info import MASK_THRESHOLD
from defectgan.names import safe_folders

T = TypeVar("T")


@dataclass(frozen=True)
class SetFacts:
    """A set as a whole: where it is, its classes, and the opacities above which a pixel of a mask
    of each is defect: one, unless it was put together.
    """

    out: Path
    classes: tuple[str, ...]
    thresholds: Mapping[str, list[float]]

    @property
    def folders(self) -> dict[str, str]:
        """What the folder of each class is called."""
        return safe_folders(self.classes)

    def folder(self, row: ManifestRow) -> str:
        """What the folder of an image is called: by all of its classes."""
        return AND.join(self.folders[name] for name in row.labels)

    def number(self, defect: str) -> int:
        """Counts the classes from 0."""
        return self.classes.index(defect)


def facts_of(out: Path) -> SetFacts:
    """The facts of a set; its classes are in the order in which its job names them.

    Raises:
        DataError: if there is no set, or a row is damaged.
    """
    named = read_json(out / JOB).get("defects", []) if (out / JOB).is_file() else []
    thresholds: dict[str, set[float]] = {name: set() for name in named}
    for row in each_row(out):
        for name in row.labels:
            thresholds.setdefault(name, set()).add(row.threshold_or(MASK_THRESHOLD))
    if not thresholds:
        raise DataError(f"{out} holds no images of a job: make some first")
    return SetFacts(out, tuple(thresholds), {k: sorted(v) for k, v in thresholds.items()})


@dataclass(frozen=True)
class Shown:
    """An image of a set: its ``row``, ``size`` (height, width), and each connected one of the
    ``parts`` of what is defect in its mask with its class, and its ``defects``: the parts that
    belong together where the row says which defects there are, else each part.
    """

    row: ManifestRow
    size: tuple[int, int]
    parts: tuple[tuple[str, Part], ...]
    defects: tuple[tuple[str, Part], ...]

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return Path(self.row.output).stem

    @property
    def mask(self) -> NDArray[np.uint8]:
        """[H, W], 255 where there is defect and 0 elsewhere."""
        whole = np.zeros(self.size, np.uint8)
        for _, part in self.parts:
            left, top, width, height = part.box
            whole[top : top + height, left : left + width][part.pixels] = 255
        return whole


def look(out: Path, row: ManifestRow) -> Shown:
    """Read the mask of an image by the threshold that its row records.

    Raises:
        DataError: if it is missing or damaged, or of another size than its image.
    """
    found = read_region(out / row.mask, row.threshold_or(MASK_THRESHOLD))
    with opened(out / row.output) as image:
        size = (image.height, image.width)
    if found.shape != size:
        raise DataError(f"{out / row.mask} is {found.shape}, its image {size}: make both again")
    parts = cut_parts(found)
    named = tuple((_defect_of(part, row)[0], part) for part in parts)
    return Shown(row, size, named, _defects(row, parts) if row.instances else named)


def _defects(row: ManifestRow, parts: Sequence[Part]) -> tuple[tuple[str, Part], ...]:
    """The defects of an image that says which it has: the parts of each together."""
    pieces: dict[tuple[str, Box], list[Part]] = {one: [] for one in row.boxes}
    for part in parts:
        pieces.setdefault(_defect_of(part, row), []).append(part)
    return tuple((name, joined(own)) for (name, _), own in pieces.items() if own)


def _defect_of(part: Part, row: ManifestRow) -> tuple[str, Box]:
    """The class and the box of the defect in whose box most of a part lies."""
    # Of one that a person has painted in since, or a row without boxes, nothing is known.
    unknown = (row.labels[0], part.box)
    return max(row.boxes, key=lambda one: _common(part.box, one[1]), default=unknown)


def _common(a: Box, b: Box) -> int:
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(wide, 0) * max(high, 0)


class Writer(ABC, Generic[T]):
    """Writes a set in a format, one image after the other."""

    def __init__(self, facts: SetFacts, stack: ExitStack) -> None:
        """Args: the set; what is closed when all is written, or nothing is."""
        self.facts, self.out = facts, facts.out

    @abstractmethod
    def work(self, shown: Shown) -> T:
        """What takes time, in any order and in several threads."""

    @abstractmethod
    def add(self, shown: Shown, made: T) -> None:
        """What is written in the order of the images."""

    @abstractmethod
    def finish(self) -> Path:
        """All images were added; returns the file or folder to begin with."""


def place_file(source: Path, target: Path) -> None:
    """Have a file at another place, too: as a link, or where a disk has none as a copy."""
    if target.exists() and target.samefile(source):
        return
    with atomic_path(target, sync=False) as part:
        part.unlink(missing_ok=True)  # left by a kill it is the source itself
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)
