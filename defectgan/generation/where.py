"""Where defects may be: a box, masks, or where the model has seen real ones."""

import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from defectgan.data.masks import read_region
from defectgan.data.pairing import pair
from defectgan.data.places import is_file, is_folder
from defectgan.data.walk import find_images
from defectgan.errors import DataError, SettingError
from defectgan.files import digest, sha256
from defectgan.generation.wishes import Amount
from defectgan.words import counted

LEARNED = "learned"
# Decoded masks that are kept: the candidates of neighbouring images share their sources.
ROOM = 32

Region = NDArray[np.bool_]
Size = tuple[int, int]


class Area(Protocol):
    """Part of each source."""

    def of(self, source: Path, size: Size) -> Region:
        """Of a source of this height and width, [H, W].

        Raises:
            DataError: if a mask is missing, damaged or of another size.
        """

    def record(self) -> str:
        """What tells it from another one."""


@dataclass(frozen=True)
class BoxArea:
    """A box; what lies beside an image is not in it."""

    left: Amount
    top: Amount
    width: Amount
    height: Amount

    def of(self, source: Path, size: Size) -> Region:
        high, wide = size
        region = np.zeros(size, bool)
        rows, columns = _span(self.top, self.height, high), _span(self.left, self.width, wide)
        region[rows, columns] = True
        return region

    def record(self) -> str:
        return ",".join(map(str, (self.left, self.top, self.width, self.height)))


def _span(start: Amount, length: Amount, whole: int) -> slice:
    first = start.of(whole)
    return slice(round(first), round(first + length.of(whole)))


@dataclass(frozen=True, eq=False)
class MaskArea:
    """Masks: those of each source, or ``one`` for all; white is in it."""

    files: Mapping[Path, tuple[Path, ...]]
    one: Path | None = None
    _kept: OrderedDict[Path, Region] = field(default_factory=OrderedDict, repr=False, init=False)

    def of(self, source: Path, size: Size) -> Region:
        region = self._kept.pop(source, None)
        if region is None:
            region = self._read(source)
        self._kept[source] = region
        if len(self._kept) > ROOM:
            self._kept.popitem(last=False)
        if region.shape != size:
            raise DataError(
                f"{self._masks(source)[0]} is {region.shape[1]} x {region.shape[0]} pixels, and "
                f"{source} is {size[1]} x {size[0]}: a mask has the size of its image"
            )
        return region

    def _masks(self, source: Path) -> tuple[Path, ...]:
        return (self.one,) if self.one is not None else self.files[source]

    def _read(self, source: Path) -> Region:
        first, *others = (read_region(mask) for mask in self._masks(source))
        for other in others:
            first = first | other
        return first

    def record(self) -> str:
        if self.one is not None:
            return sha256(self.one)
        listed = "\n".join(str(path) for masks in self.files.values() for path in masks)
        return digest(os.fsencode(listed))


@dataclass(frozen=True)
class LearnedArea:
    """All of an image; the model says how likely each place is."""

    def of(self, source: Path, size: Size) -> Region:
        return np.ones(size, bool)

    def record(self) -> str:
        return LEARNED


def read_area(text: str, sources: Sequence[Path]) -> Area:
    """What a box ``x,y,w,h``, a mask file, a folder of masks, or ``learned`` stands for.

    Args:
        text: as a person writes it; numbers of a box are pixels, or shares of the image's width and
            height with a decimal point.
        sources: the images that a folder has masks of, called like them.

    Raises:
        SettingError: if it is a box that cannot be.
        DataError: if it is nothing of that, or an image has no mask.
    """
    if text == LEARNED:
        return LearnedArea()
    if is_folder(path := Path(text)):
        return _masks_in(path, sources)
    if is_file(path):
        read_region(path)  # what is no mask shall be said before anything is painted
        return MaskArea({}, path)
    if re.fullmatch(r"[\d.\s,]+", text):
        return read_box(text)
    raise DataError(
        f"{text} is no place: expected a box x,y,w,h, a mask file, a folder of masks called like "
        f"the images, or {LEARNED}"
    )


def read_box(text: str) -> BoxArea:
    """The box that ``x,y,w,h`` stands for, in pixels or as shares of the image.

    Raises:
        SettingError: if it stands for none, or an empty one.
    """
    parts = text.split(",")
    if len(parts) != 4:
        raise SettingError(
            f"{text} is no box: expected left, top, width and height, such as 10,20,64,64 in "
            "pixels or 0.1,0.2,0.5,0.5 as shares of the image"
        )
    box = BoxArea(*(Amount.read(part) for part in parts))
    if not box.width.value or not box.height.value:
        raise SettingError(f"{text} is an empty box: its width and height are to be above 0")
    return box


def _masks_in(folder: Path, sources: Sequence[Path]) -> MaskArea:
    root = Path(os.path.commonpath([path.parent for path in sources]))
    paired = pair(sources, root, find_images(folder).images, folder).masks
    if missing := [path for path in sources if path not in paired]:
        raise DataError(
            f"{folder} has no mask for {counted(len(missing), 'image')} of {len(sources)}, such as "
            f"{missing[0]}: a mask is called like its image"
        )
    return MaskArea({path: paired[path] for path in sources})
