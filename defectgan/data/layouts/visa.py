"""VisA: ROOT/<object>/image_anno.csv with image,label,mask and the images in Data/; read for one
object. An image may show several defects, their names separated by commas.
"""

import csv
import io
from pathlib import Path

from defectgan.data.layouts.base import Listing, annotated, subfolders, unlisted
from defectgan.data.layouts.texts import read_text
from defectgan.data.places import Places, is_file
from defectgan.data.samples import Sample
from defectgan.data.walk import LeftOut
from defectgan.errors import DataError
from defectgan.names import class_name

TABLE = "image_anno.csv"
COLUMNS = ("image", "label", "mask")


def recognises(root: Path) -> bool:
    return (root / TABLE).is_file() or bool(_objects(root))


def _objects(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return [path for path in subfolders(root).values() if (path / TABLE).is_file()]


def read(root: Path, normal: str | None) -> Listing:
    """The listing of the images of one object."""
    if not (root / TABLE).is_file():
        objects = _objects(root)
        if len(objects) != 1:
            raise DataError(
                f"{root} holds the images of several objects of VisA "
                f"({', '.join(p.name for p in objects)}): name one of their folders"
            )
        root = objects[0]
    table, places = root / TABLE, Places(root)
    text, notes = read_text(table)
    samples: list[Sample] = []
    skipped: list[LeftOut] = list(places.found.skipped)
    for n, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), start=1):
        where = f"row {n} of {table}"
        if any(not isinstance(row.get(name), str) for name in COLUMNS):
            skipped.append((table, f"{where} has not the columns {', '.join(COLUMNS)}"))
            continue
        file = places(row["image"], [root.parent])
        labels = [label.strip() for label in row["label"].split(",")]
        named = tuple(class_name(label, where) for label in labels if label)
        mask = places(row["mask"], [root.parent]) if row["mask"].strip() else None
        if mask is not None and not is_file(mask):
            skipped.append((file, f"{where} names the mask {row['mask']}: there is no such file"))
            continue
        samples.append(Sample(file, named, truths=(mask,) if mask else ()))
    known = [file for s in samples for file in (s.file, *s.truths)]
    notes += unlisted(places.found.images, known, TABLE)
    aside = places.found.aside
    return annotated(root, "visa", normal, samples, notes=notes, skipped=skipped, aside=aside)
