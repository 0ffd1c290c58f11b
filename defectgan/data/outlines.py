"""Outlines of defects as COCO writes them, polygons or run lengths, and the masks that they are.

A mask is kept as a file in the cache, named by its content: whatever reads masks reads these, and
one that is gone is made again. An outline that is none costs its annotation, not the image.
"""

import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectgan.data.kept import WRITERS, kept_mask
from defectgan.data.samples import Box, Mark, Sample
from defectgan.files import digest
from defectgan.heads import SIDEWAYS, Header
from defectgan.images import turned

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
        height, width = map(int, segmentation["size"])
        rows, columns = np.nonzero(_by_runs(segmentation, height, width))
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

    polygons = _near(_polygons(segmentation), height, width)
    # Its own decoder warns of a numpy that it does not know yet.
    merged = mask.merge(mask.frPyObjects(polygons, height, width))
    return _drawn(_runs(merged["counts"].decode()), height, width)


def check_outline(outline: str, height: int, width: int) -> None:
    """See whether an outline can be drawn in an image of this size.

    Raises:
        ValueError: if it cannot.
    """
    segmentation = json.loads(outline)
    if isinstance(segmentation, dict):
        _checked_runs(segmentation, height, width)
    else:
        _near(_polygons(segmentation), height, width)


def _near(polygons: list[list[float]], height: int, width: int) -> list[list[float]]:
    if any(abs(v) > 2 * max(height, width) for polygon in polygons for v in polygon):
        raise ValueError(f"a polygon lies far outside of the {width} x {height} pixels")
    return polygons


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
    return _drawn(_checked_runs(segmentation, height, width), height, width)


def _checked_runs(segmentation: dict[str, Any], height: int, width: int) -> list[int]:
    size, counts = list(segmentation["size"]), segmentation["counts"]
    if size != [height, width]:
        raise ValueError(
            f"a run-length mask {size[1]} wide and {size[0]} high, the image is {width} wide and "
            f"{height} high"
        )
    runs = _runs(counts) if isinstance(counts, str) else [int(n) for n in counts]
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"a run-length mask of {sum(runs)} pixels, the image has {height * width}")
    return runs


def _drawn(runs: Sequence[int], height: int, width: int) -> Region:
    """What run lengths mean: down the columns, outside and inside in turn."""
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


def runs_of(region: Region) -> dict[str, Any]:
    """The run lengths of a region [H, W], as a segmentation."""
    flat = np.concatenate([[False], region.T.reshape(-1)])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], ends, [region.size]]))
    return {"size": list(region.shape), "counts": counts.tolist()}


def is_outlined(sample: Sample) -> bool:
    """Whether each defect of an image has an outline: boxes alone do not say which pixels."""
    return bool(sample.marks) and all(mark.outline is not None for mark in sample.marks)


def lies(sample: Sample) -> bool:
    """Whether an image was labelled as its file holds it, while it is upright here: where the
    camera was held sideways the size that the labels are for tells.
    """
    header = sample.header
    if header is None or sample.labelled is None or header.turn not in SIDEWAYS:
        return False
    return sample.labelled == (header.height, header.width) != (header.width, header.height)


def upright_box(box: Box, header: Header) -> Box:
    """A box of an image as its file holds it, in the upright image."""
    x, y, width, height = box
    if header.turn in SIDEWAYS:
        x, y, width, height = y, x, height, width
    if header.turn in (3, 4, 7, 8):
        y = header.height - y - height
    if header.turn in (2, 3, 6, 7):
        x = header.width - x - width
    return x, y, width, height


def with_masks(samples: Sequence[Sample]) -> tuple[list[Sample], list[tuple[Path, str]]]:
    """The samples, those that are outlined with a mask of all their defects; and of each outline
    that is none the image and the reason: its box stays, and the image has no true mask.
    """

    def attempt(sample: Sample) -> tuple[Sample, list[str]]:
        if not any(mark.outline for mark in sample.marks) or sample.header is None:
            return sample, []
        height, width = sample.header.height, sample.header.width
        if lies(sample):
            height, width = width, height
        marks, bad = _sound(sample.marks, height, width)
        sample = replace(sample, marks=marks)
        if is_outlined(sample) and sample.mask is None:
            sample = replace(sample, mask=_mask_file(sample, height, width))
        return sample, bad

    with ThreadPoolExecutor(WRITERS) as pool:
        made = list(pool.map(attempt, samples))
    good = [sample for sample, _ in made]
    return good, [(sample.file, reason) for sample, bad in made for reason in bad]


def _sound(marks: Sequence[Mark], height: int, width: int) -> tuple[tuple[Mark, ...], list[str]]:
    """The marks, without the outlines that are none, and why they are none."""
    kept, bad = [], []
    for mark in marks:
        try:
            if mark.outline is not None:
                check_outline(mark.outline, height, width)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            what = mark.origin or "an annotation"
            bad.append(f"{what}: its outline is damaged: {error}; its box alone is used")
            mark = mark._replace(outline=None)
        kept.append(mark)
    return tuple(kept), bad


def _mask_file(sample: Sample, height: int, width: int) -> Path:
    """The mask of a sample's outlines together, drawn if it is not there."""
    assert sample.header is not None
    outlines = [str(mark.outline) for mark in sample.marks]
    turn = sample.header.turn if lies(sample) else 1
    # The names of what was kept before there were turned ones hold.
    key: list[Any] = [height, width, outlines] if turn == 1 else [height, width, outlines, turn]

    def drawn() -> Region:
        region = np.zeros((height, width), dtype=np.bool_)
        for outline in outlines:  # one at a time: large images may have hundreds
            region |= region_of(outline, height, width)
        return turned(region, turn)

    return kept_mask(digest(json.dumps(key).encode()), drawn, sample.file)
