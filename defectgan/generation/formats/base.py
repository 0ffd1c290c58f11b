"""What all formats need of a generated set: its classes, and of each image what is in its mask."""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from defectgan.data.masks import Part, cut_parts, read_region
from defectgan.errors import DataError
from defectgan.files import atomic_path, read_json
from defectgan.heads import opened
from defectgan.manifest import JOB, Box, ManifestRow, each_row
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
        for name, _ in labelled_boxes(row):
            thresholds.setdefault(name, set()).add(row.threshold_or(MASK_THRESHOLD))
    if not thresholds:
        raise DataError(f"{out} holds no images of a job: make some first")
    return SetFacts(out, tuple(thresholds), {k: sorted(v) for k, v in thresholds.items()})


def labelled_boxes(row: ManifestRow) -> list[tuple[str, Box | None]]:
    """The class of each defect of an image, and where it lies."""
    return [(row.defect, row.box)]


@dataclass(frozen=True)
class Shown:
    """An image of a set: its ``row``, ``size`` (height, width), and each connected ``part`` of what
    is defect in its mask with its class.
    """

    row: ManifestRow
    size: tuple[int, int]
    parts: tuple[tuple[str, Part], ...]

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
    boxes = labelled_boxes(row)
    return Shown(row, size, tuple((_class_of(part, boxes), part) for part in cut_parts(found)))


def _class_of(part: Part, boxes: list[tuple[str, Box | None]]) -> str:
    """The class of the defect in whose box most of a part lies."""
    if len(boxes) == 1:
        return boxes[0][0]
    return max(boxes, key=lambda one: _common(part.box, one[1]))[0]


def _common(a: Box, b: Box | None) -> int:
    if b is None:
        return -1
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
