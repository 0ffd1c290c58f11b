"""Outlines of defects as COCO writes them, polygons or run lengths, and the masks that they are.

A mask is kept as a file in the cache, named by its content: whatever reads masks reads these, and
one that is gone is made again.
"""

import hashlib
import json
import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectgan.data.samples import Box, Sample
from defectgan.errors import DataError
from defectgan.files import cache_folder
from defectgan.images import write_mask

FOLDER = "outlines"
WRITERS = 4
# A polygon has three corners at least.
CORNERS = 6

Region = NDArray[np.bool_]


def outline_of(segmentation: Any) -> str | None:
    """The outline of an annotation as a text; None where it has none and its box is all."""
    return json.dumps(segmentation) if segmentation else None


def box_of(segmentation: Any) -> Box:
    """The box round an outline.

    Raises:
        ValueError: if it is none.
    """
    if isinstance(segmentation, dict):
        height, width = segmentation["size"]
        rows, columns = np.nonzero(_by_runs(segmentation, int(height), int(width)))
        if not len(rows):
            raise ValueError("an empty run-length mask without a bbox")
        left, top = int(columns.min()), int(rows.min())
        return left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1
    polygons = _polygons(segmentation)
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def region_of(outline: str, height: int, width: int) -> Region:
    """The pixels [H, W] of an image of this size that an outline holds.

    Raises:
        ValueError: if it is no outline, or of an image of another size.
    """
    segmentation = json.loads(outline)
    if isinstance(segmentation, dict):
        return _by_runs(segmentation, height, width)
    from pycocotools import mask

    polygons = _polygons(segmentation)
    if any(abs(v) > 2 * max(height, width) for polygon in polygons for v in polygon):
        raise ValueError(f"a polygon lies far outside of the {width} x {height} pixels")
    # Its own decoder warns of a numpy that it does not know yet.
    merged = mask.merge(mask.frPyObjects(polygons, height, width))
    return _drawn(_runs(merged["counts"].decode()), height, width)


def _polygons(segmentation: Any) -> list[list[float]]:
    """``[[x0, y0, x1, y1, ...], ...]``."""
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("a segmentation that is neither polygons nor run lengths")
    polygons = [[float(v) for v in polygon] for polygon in segmentation]
    for polygon in polygons:
        if len(polygon) < CORNERS or len(polygon) % 2 or not all(map(math.isfinite, polygon)):
            raise ValueError("a polygon that is not three corners or more, each x and y")
    return polygons


def _by_runs(segmentation: dict[str, Any], height: int, width: int) -> Region:
    size, counts = list(segmentation["size"]), segmentation["counts"]
    if size != [height, width]:
        raise ValueError(
            f"a run-length mask {size[1]} wide and {size[0]} high, the image is {width} wide and "
            f"{height} high"
        )
    runs = _runs(counts) if isinstance(counts, str) else [int(n) for n in counts]
    return _drawn(runs, height, width)


def _drawn(runs: Sequence[int], height: int, width: int) -> Region:
    """What run lengths mean: down the columns, outside and inside in turn."""
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"a run-length mask of {sum(runs)} pixels, the image has {height * width}")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def _runs(counts: str) -> list[int]:
    """The run lengths of a compressed text: groups of 5 bits, low ones first, of each length its
    difference to the one before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for code in (ord(c) - 48 for c in counts):
        if not 0 <= code < 64:
            raise ValueError("a run-length mask with a character that is none of its code")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("a run-length mask that is cut short")
    return runs


def is_outlined(sample: Sample) -> bool:
    """Whether each defect of an image has an outline: boxes alone do not say which pixels."""
    return bool(sample.marks) and all(mark.outline is not None for mark in sample.marks)


def with_masks(samples: Sequence[Sample]) -> tuple[list[Sample], list[tuple[Path, str]]]:
    """The samples, those that are outlined with a mask of all their defects, and those whose
    outlines are damaged, each with the reason.
    """

    def attempt(sample: Sample) -> Sample | str:
        if not is_outlined(sample) or sample.header is None:
            return sample
        try:
            return replace(sample, mask=_mask_file(sample))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            return f"its outline is damaged: {error}; mend or remove it"

    with ThreadPoolExecutor(WRITERS) as pool:
        made = list(zip(samples, pool.map(attempt, samples), strict=True))
    good = [result for _, result in made if isinstance(result, Sample)]
    return good, [(s.file, result) for s, result in made if isinstance(result, str)]


def _mask_file(sample: Sample) -> Path:
    """The mask of a sample's outlines together, drawn if it is not there."""
    assert sample.header is not None
    height, width = sample.header.height, sample.header.width
    outlines = [str(mark.outline) for mark in sample.marks]
    content = hashlib.sha256(json.dumps([height, width, outlines]).encode()).hexdigest()
    path = cache_folder() / FOLDER / content[:2] / f"{content}.png"
    if not path.is_file():
        region = np.zeros((height, width), dtype=np.bool_)
        for outline in outlines:  # one at a time: large images may have hundreds
            region |= region_of(outline, height, width)
        # Images may have the same outlines, and several processes read the same images.
        own = path.with_name(f"{content}-{os.getpid()}-{threading.get_ident()}.png")
        try:
            write_mask(own, np.uint8(255) * region)
            os.replace(own, path)
        except OSError as error:
            raise DataError(
                f"the mask of {sample.file} cannot be kept in {path.parent}: {error.strerror}; "
                "free some room, or name another folder (DEFECTGAN_CACHE)"
            ) from error
    return path
