"""Severstal's steel: train.csv with run lengths of the defects of each class, and train_images/;
images that the table does not name are good. Run lengths go down the columns; pixels are counted
from 1.
"""

import csv
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

from defectgan.data.facts import Facts
from defectgan.data.layouts.base import Listing, annotated
from defectgan.data.layouts.texts import read_text
from defectgan.data.outlines import box_of, outline_of
from defectgan.data.places import Places
from defectgan.data.samples import Mark, Sample
from defectgan.data.walk import LeftOut
from defectgan.errors import DataError
from defectgan.heads import probe
from defectgan.names import class_name

RUNS = "EncodedPixels"
# A field of a CSV file holds no more by default, and large defects have many runs.
LONGEST = 2**24
_IMAGES = ("train_images", "images", "train", "train_imgs")
ONLY = "defect"


def _table(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() == ".csv" and _has_runs(root) else None
    if not root.is_dir():
        return None
    tables = sorted(root.glob("*.csv"), key=lambda p: (p.name != "train.csv", p.name))
    return next((path for path in tables if path.name[0] != "." and _has_runs(path)), None)


def _has_runs(path: Path) -> bool:
    with path.open("rb") as file:
        return RUNS.encode() in file.readline().replace(b"\0", b"")


def recognises(root: Path) -> bool:
    return _table(root) is not None


def read(root: Path, normal: str | None) -> Listing:
    """The listing of the table and all images beside it."""
    table = _table(root)
    if table is None:
        raise DataError(f"no table of run lengths in {root}: expected a column {RUNS}")
    folder = table.parent
    images = next((folder / name for name in _IMAGES if (folder / name).is_dir()), folder)
    places = Places(images)
    skipped: list[LeftOut] = list(places.found.skipped)
    runs: dict[Path, list[tuple[str, str, str]]] = {}
    text, notes = read_text(table)
    csv.field_size_limit(LONGEST)
    for n, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), start=1):
        where = f"row {n} of {table}"
        name, label = _key(row)
        if not name:
            skipped.append((table, f"{where} names no image"))
        elif row.get(RUNS) and row[RUNS].strip():
            file = places(name)
            runs.setdefault(file, []).append((class_name(label, where), row[RUNS], where))
    heads = Facts().of("header", list(runs), probe)
    samples = [Sample(file, ()) for file in places.found.images if file not in runs]
    for file, shown in runs.items():
        head = heads[file]
        size = (0, 0) if isinstance(head, DataError) else (head[0], head[1])
        marks, bad = [], []
        for label, text, where in shown:
            try:
                shape = _runs(text, *size)
                marks.append(Mark(box_of(shape), label, outline_of(shape), where))
            except ValueError as error:
                bad.append(f"{where} has run lengths that are none: {error}")
        if bad and not isinstance(head, DataError):
            notes += bad
            marks = [mark._replace(outline=None) for mark in marks]
        labels = tuple(label for label, _, _ in shown)
        samples.append(Sample(file, labels, marks=tuple(marks)))
    aside = places.found.aside
    return annotated(
        folder, "severstal", normal, samples, notes=notes, skipped=skipped, aside=aside
    )


def _key(row: dict[str, Any]) -> tuple[str, str]:
    """The image and the class of a row; in older tables both stand in one column."""
    both = row.get("ImageId_ClassId")
    if both:
        name, _, label = both.rpartition("_")
        return name, label
    return row.get("ImageId") or "", row.get("ClassId") or ONLY


def _runs(text: str, width: int, height: int) -> dict[str, Any]:
    """The run lengths of COCO of pairs of a start, counted from 1, and a length."""
    numbers = [int(word) for word in text.split()]
    if len(numbers) % 2 or not numbers:
        raise ValueError(f"{len(numbers)} numbers, expected pairs of a start and a length")
    spans = [(start - 1, start - 1 + length) for start, length in zip(*[iter(numbers)] * 2)]  # noqa: B905
    end = width * height
    if spans[0][0] < 0 or spans[-1][1] > end or any(a[1] > b[0] for a, b in pairwise(spans)):
        raise ValueError(f"they leave the {width} x {height} pixels, or go back")
    edges = [edge for span in spans for edge in span]
    counts = [b - a for a, b in pairwise([0, *edges, end])]
    return {"size": [height, width], "counts": counts}
