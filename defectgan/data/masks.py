"""Masks: which pixels they mean, and where the defects lie.

Above half of the largest value a mask has is defect, so 0 and 1, 0 and 255 and soft masks all read;
in a mask that a model has painted, what lies above the opacity that was recorded with it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defectgan.data.samples import Box
from defectgan.files import digest
from defectgan.images import brightest, decoded, different, read_picture

# A pixel of a frame is defect where at least half of what it shows of the image is.
COVERED = 128

# Of 255: a change of a pixel from which on it counts as visible.
VISIBLE = 10

# The strip along the border of an image, in shares of its sides, and the share of a mask in it from
# which on the mask hugs the border.
STRIP, HUGGING = 1 / 16, 0.75

# The largest parts of a mask that are taken for defects of their own.
MAX_PARTS = 16


class MaskFacts(NamedTuple):
    """How many different values a mask has, and the boxes round its parts, the largest first."""

    values: int
    boxes: tuple[Box, ...]


def read_region(path: Path, threshold: float | None = None) -> NDArray[np.bool_]:
    """The defect of a mask file, [H, W]: what lies above an opacity in [0, 1], or for None above
    half of the largest value.

    Raises:
        DataError: if the file is missing or damaged.
    """
    pixels = read_picture(path).pixels
    if threshold is None:
        return _region(pixels)
    return is_defect(pixels.max(axis=2), threshold)


def region_digest(path: Path) -> str:
    """The SHA-256 of the defect of a true mask, whatever file it is kept in.

    Raises:
        DataError: if the file is missing or damaged.
    """
    with decoded(path) as picture:
        region = _region(picture.pixels)
    return digest(repr(region.shape).encode() + np.packbits(region).tobytes())


def is_defect(opacity: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Which pixels a painted mask means: those of an opacity above the threshold.

    All that counts, cuts or learns from the pixels of a painted mask asks here.

    Args:
        opacity: of any shape, in [0, 1]; integers as a mask file has them, their largest value 1.
        threshold: in [0, 1].
    """
    if opacity.dtype in (np.uint8, np.uint16):
        most = np.iinfo(opacity.dtype).max
        values = np.arange(most + 1) / np.float32(most)
        # By a table: large masks take no more than they are.
        return np.asarray(is_defect(values, threshold)[opacity])
    if opacity.dtype.kind in "iu":
        opacity = opacity / np.float32(np.iinfo(opacity.dtype).max)
    # In one precision, whatever form the mask has: 51 of 255 is not above 0.2.
    return np.asarray(opacity.astype(np.float32) > np.float32(threshold))


def look_at_mask(path: Path) -> MaskFacts:
    """The facts of a mask file.

    Raises:
        DataError: if the file is missing or damaged.
    """
    with decoded(path) as picture:
        largest = find_parts(_region(picture.pixels))[:MAX_PARTS]
        return MaskFacts(
            values=len(different(picture.pixels)),
            boxes=tuple((float(x), float(y), float(w), float(h)) for x, y, w, h, _ in largest),
        )


def along_border(found: NDArray[np.bool_]) -> float:
    """The share of a region [H, W] that lies in the strip along the border; 0 of an empty one."""
    rows, columns = (max(1, round(side * STRIP)) for side in found.shape)
    area = int(found.sum())
    return 1 - int(found[rows:-rows, columns:-columns].sum()) / area if area else 0.0


def half_covered(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels are defect, by a mask in 0..255 that was brought to another size."""
    return np.asarray(mask >= COVERED)


def find_parts(region: NDArray[np.bool_]) -> list[list[int]]:
    """The connected parts of a region [H, W], each [left, top, width, height, pixels], the largest
    first; pixels that touch at a corner are connected.
    """
    found = [
        [x + left, y + top, *rest]
        for left, top, _, parts in _blocks(region)
        for x, y, *rest in parts[1:].tolist()
    ]
    return sorted(found, key=lambda part: -part[-1])


class Part(NamedTuple):
    """A connected part of a region: where it begins, and its own pixels [h, w] in the box round
    it.
    """

    left: int
    top: int
    pixels: NDArray[np.bool_]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width, height."""
        height, width = self.pixels.shape
        return self.left, self.top, width, height

    @property
    def area(self) -> int:
        """In pixels."""
        return int(self.pixels.sum())


def cut_parts(region: NDArray[np.bool_]) -> list[Part]:
    """The connected parts of a region [H, W] with their pixels, from its top to its bottom."""
    found = [
        Part(x + left, y + top, labels[y : y + height, x : x + width] == i)
        for left, top, labels, parts in _blocks(region)
        for i, (x, y, width, height, _) in enumerate(parts.tolist())
        if i
    ]
    return sorted(found, key=lambda part: (part.top, part.left))


def joined(parts: Sequence[Part]) -> Part:
    """Parts of a region as one, which may not be connected."""
    left, top = min(part.left for part in parts), min(part.top for part in parts)
    right = max(part.left + part.pixels.shape[1] for part in parts)
    bottom = max(part.top + part.pixels.shape[0] for part in parts)
    pixels = np.zeros((bottom - top, right - left), bool)
    for part in parts:
        rows, columns = part.pixels.shape
        y, x = part.top - top, part.left - left
        pixels[y : y + rows, x : x + columns] |= part.pixels
    return Part(left, top, pixels)


def _blocks(
    region: NDArray[np.bool_],
) -> Iterator[tuple[int, int, NDArray[np.int32], NDArray[np.int32]]]:
    """Blocks that hold whole parts of a region: left, top, the number of the part that each pixel
    is of, and of each number left, top, width, height and pixels; 0 is what is no part.
    """
    # Not in a network's way: OpenCV takes a quarter of a second to import.
    import cv2

    # Each pixel that is looked at takes four bytes: parts lie between rows and columns of nothing.
    for top, bottom in _runs(np.asarray(region.any(axis=1))):
        band = region[top:bottom]
        for left, right in _runs(np.asarray(band.any(axis=0))):
            block = band[:, left:right].astype(np.uint8)
            _, labels, parts, _ = cv2.connectedComponentsWithStats(block, connectivity=8)
            yield left, top, np.asarray(labels, np.int32), np.asarray(parts, np.int32)


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where flags are set one after the other: the first of each and what follows the last."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def outline(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1 at the pixels that touch a region [H, W] from outside."""
    import cv2

    inside = region.astype(np.uint8)
    wider = cv2.dilate(inside, np.ones((3, 3), np.uint8))
    return (wider - inside).astype(np.float32)


def _region(pixels: NDArray[np.generic]) -> NDArray[np.bool_]:
    values = brightest(pixels)
    return np.asarray(values > values.max() / 2)
