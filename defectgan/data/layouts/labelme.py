"""labelme: a JSON file beside each image, with polygons, rectangles, circles and masks. Polygons,
circles and masks are true masks; rectangles are boxes.

An image without a file says nothing, unless it lies in a folder of good images.
"""

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from defectgan.data.layouts.base import Listing, annotated, split_of, without_file
from defectgan.data.layouts.texts import files_ending, read_tree
from defectgan.data.outlines import box_of, outline_of, runs_of
from defectgan.data.places import Places, is_file
from defectgan.data.samples import TRAIN, Box, Mark, Sample, is_normal_name
from defectgan.data.walk import LeftOut
from defectgan.errors import DataError
from defectgan.images import read_picture
from defectgan.names import name_fault, same_name

LOOKED_AT = 5
# Corners of the polygon that stands for a circle.
CIRCLE = 64


def recognises(root: Path) -> bool:
    """Whether the first JSON files are annotations of this kind."""
    return any(_is_labelme(path) for path in islice(files_ending(root, ".json"), LOOKED_AT))


def _is_labelme(path: Path) -> bool:
    try:
        data = path.read_bytes().replace(b"\0", b"")
    except OSError:
        return False
    return b'"shapes"' in data and b'"imagePath"' in data


def read(root: Path, normal: str | None) -> Listing:
    """The listing of JSON files and the images that they are of."""
    places = Places(root)
    samples: dict[Path, Sample] = {}
    notes: list[str] = []
    skipped: list[LeftOut] = list(places.found.skipped)
    for path in files_ending(root, ".json"):
        if not _is_labelme(path):
            continue
        try:
            sample, bad = _read_file(path, places)
        except (DataError, ValueError, TypeError, KeyError) as error:
            damaged = f"{path} is damaged: {error}; label its image anew"
            skipped.append((path, str(error) if isinstance(error, DataError) else damaged))
            continue
        notes += bad
        samples[sample.file] = replace(sample, split=split_of(path, root) or TRAIN)
    normals, silent = without_file(
        places.found.images,
        samples,
        root,
        good=lambda folder: is_normal_name(folder) or same_name(folder, normal or ""),
        expected="JSON file that says what is in it: give it one, without shapes for a good image, "
        "or put good images into a folder called normal",
    )
    skipped += silent
    made, aside = [*samples.values(), *normals], places.found.aside
    return annotated(root, "labelme", normal, made, notes=notes, skipped=skipped, aside=aside)


def _read_file(path: Path, places: Places) -> tuple[Sample, list[str]]:
    """The image of a file, and which of its shapes are none."""
    tree = read_tree(path)
    file = places(str(tree.get("imagePath") or path.stem), [path.parent])
    if not is_file(file) and is_file(called := places(path.stem, [path.parent])):
        file = called
    if not is_file(file) and tree.get("imageData"):
        raise DataError(
            f"{path}: its image {file.name} is not there, only within the file (imageData): write "
            "it out beside the file"
        )
    width, height = int(tree.get("imageWidth") or 0), int(tree.get("imageHeight") or 0)
    marks: list[Mark] = []
    labels, bad, all_marked = [], [], True
    for n, shape in enumerate(tree["shapes"], start=1):
        label, origin = shape.get("label"), f"shape {n} of {path}"
        if (fault := name_fault(label)) is not None:
            raise ValueError(f"shape {n} names a class that cannot be: {fault}")
        labels.append(str(label))
        try:
            box, outline = _shape(shape, width, height)
            marks.append(Mark(box, str(label), outline, origin))
        except (ValueError, TypeError, KeyError, IndexError, OSError) as error:
            bad.append(f"{origin} is left out: {error}")
            all_marked = False
    if not all_marked:
        marks = [mark._replace(outline=None) for mark in marks]
    size = (width, height) if width and height else None
    return Sample(file, tuple(labels), marks=tuple(marks), labelled=size), bad


def _shape(shape: Any, width: int, height: int) -> tuple[Box, str | None]:
    """The box of a shape, and its outline where it is one."""
    kind = shape.get("shape_type") or "polygon"
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if not all(math.isfinite(v) for point in points for v in point):
        raise ValueError("a point that is no number")
    if kind == "mask":
        runs = _mask(shape["mask"], points, width, height)
        return box_of(runs), outline_of(runs)
    if kind == "circle":
        (x, y), (px, py) = points
        radius = math.hypot(px - x, py - y)
        turns = [2 * math.pi * k / CIRCLE for k in range(CIRCLE)]
        points = [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in turns]
    if kind in ("polygon", "circle"):
        polygon = [[v for point in points for v in point]]
        return box_of(polygon), outline_of(polygon)
    return _round(points), None


def _round(points: Sequence[tuple[float, float]]) -> Box:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _mask(
    text: str, points: Sequence[tuple[float, float]], width: int, height: int
) -> dict[str, Any]:
    """The run lengths of a mask that is kept as a picture of its box."""
    try:
        data = base64.b64decode(text, validate=True)
        part = read_picture(Path("its mask"), data).pixels.max(axis=2) > 0
    except (binascii.Error, DataError) as error:
        raise ValueError(f"its mask is no picture: {error}") from error
    left, top = round(points[0][0]), round(points[0][1])
    region = np.zeros((height, width), dtype=np.bool_)
    inside = region[max(0, top) : top + part.shape[0], max(0, left) : left + part.shape[1]]
    inside[:] = part[: inside.shape[0], : inside.shape[1]]
    return runs_of(region)
