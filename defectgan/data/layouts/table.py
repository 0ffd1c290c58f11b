"""A table: labels.csv or labels.jsonl with the columns file,labels[,mask][,split][,group].

Other names of the columns, of the table, and one table for each split are taken too; an image may
stand in several rows, each with some of its labels.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from defectgan.data.layouts.base import Listing, annotated, named, subfolders, unlisted
from defectgan.data.layouts.table_rows import COLUMNS, LABEL_SEPARATOR, SIDES, read_rows
from defectgan.data.places import Places, is_file
from defectgan.data.samples import (
    TEST,
    TRAIN,
    VAL,
    Box,
    Mark,
    Sample,
    is_normal_name,
    split_name,
)
from defectgan.data.walk import LeftOut
from defectgan.errors import DataError
from defectgan.names import class_name, same_name
from defectgan.words import counted

TABLES = ("labels.csv", "labels.jsonl")
SUFFIXES = (".csv", ".tsv", ".jsonl")


@dataclass
class _Read:
    """What a table has given so far."""

    samples: dict[Path, Sample] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: list[LeftOut] = field(default_factory=list)
    several: int = 0


def tables_in(root: Path) -> dict[str, Path]:
    """The tables of a folder, or the file itself, by the split of their images."""
    if root.is_file():
        return {TRAIN: root} if root.suffix.lower() in SUFFIXES else {}
    if (path := named(root, TABLES)) is not None:
        return {TRAIN: path}
    if not root.is_dir():
        return {}
    if len(tables := _tables(root)) == 1:
        return {TRAIN: tables[0]}
    by_split = {split_name(p.stem): p for p in tables}
    if not tables:
        inner = [(split_name(n), _tables(p)) for n, p in subfolders(root).items() if split_name(n)]
        by_split = {split: found[0] for split, found in inner if len(found) == 1}
    if TRAIN not in by_split:
        return {}
    return {split: by_split[split] for split in (TRAIN, VAL, TEST) if split in by_split}


def _tables(folder: Path) -> list[Path]:
    """The files in a folder that have the columns of a table."""
    there = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != ".")
    return [p for p in there if p.is_file() and _has_columns(p)]


def recognises(root: Path) -> bool:
    return bool(tables_in(root))


def is_named(root: Path) -> bool:
    """Whether a table is named, or called as only such a one is."""
    return named(root, TABLES) is not None


def _has_columns(path: Path) -> bool:
    try:
        rows = read_rows(path)[0]
    except DataError:
        return False
    return bool(rows) and {"file", "labels"} <= rows[0][1].keys()


def read(root: Path, normal: str | None) -> Listing:
    """The listing of a table, or of one for each split."""
    tables = tables_in(root)
    if not tables:
        raise DataError(f"no table in {root}: expected {' or '.join(TABLES)}")
    folder = root if root.is_dir() else root.parent
    made, places = _Read(), Places(folder)
    for split, table in tables.items():
        rows, notes = read_rows(table)
        made.notes += notes
        for where, row in rows:
            try:
                _take(made, _row_sample(where, row, split, places, normal, table.parent))
            except _BadRow as bad:
                made.skipped.append((table, str(bad)))
    if made.several:
        made.notes.append(
            f"{counted(made.several, 'image')} in several rows: their labels are put together"
        )
    if not made.samples:
        reason = made.skipped[0][1] if made.skipped else "there is none"
        raise DataError(f"no row of {', '.join(map(str, tables.values()))} can be used: {reason}")
    samples = [s for s in made.samples.values() if not _is_both(s, made, normal)]
    labels = sorted({label for sample in samples for label in sample.labels})
    if (
        samples
        and not any(_is_good(label, normal) for label in labels)
        and all(sample.labels for sample in samples)
        and not any(sample.marks for sample in samples)
    ):
        raise DataError(
            f"no normal images in {folder}: found the labels {', '.join(labels[:12])}; expected "
            "none, normal, good, ok, free or defect-free, or the name of the one of good images",
            mend=("normal_class", "NAME") if len(labels) > 1 else None,
        )
    names = " and ".join(path.name for path in dict.fromkeys(tables.values()))
    known = [file for s in made.samples.values() for file in (s.file, *s.truths)]
    notes = [*made.notes, *_about_labels(labels), *unlisted(places.found.images, known, names)]
    skipped = [*made.skipped, *places.found.skipped]
    aside = places.found.aside
    return annotated(folder, "table", normal, samples, notes=notes, skipped=skipped, aside=aside)


def _about_labels(labels: Sequence[str]) -> list[str]:
    """What a person should know of labels that may be several."""
    return [
        f"the label {label} is one class: several labels are separated by {LABEL_SEPARATOR}"
        for label in labels
        if "," in label or ";" in label
    ]


class _BadRow(DataError):
    """A row that cannot be used; says which."""


def _take(made: _Read, sample: Sample) -> None:
    before = made.samples.get(sample.file)
    if before is None:
        made.samples[sample.file] = sample
        return
    made.several += 1
    labels = tuple(dict.fromkeys((*before.labels, *sample.labels)))
    truths = tuple(dict.fromkeys((*before.truths, *sample.truths)))
    marks = (*before.marks, *sample.marks)
    made.samples[sample.file] = replace(before, labels=labels, truths=truths, marks=marks)


def _is_good(label: str, normal: str | None) -> bool:
    return same_name(label, normal) if normal else is_normal_name(label)


def _is_both(sample: Sample, made: _Read, normal: str | None) -> bool:
    """Whether an image is called normal and defective; it is left out."""
    good = [label for label in sample.labels if _is_good(label, normal)]
    bad = [label for label in sample.labels if label not in good]
    if good and bad:
        made.skipped.append(
            (sample.file, f"several rows call {sample.file} {good[0]} and {', '.join(bad)}")
        )
    return bool(good and bad)


def _row_sample(
    where: str, row: dict[str, Any], split: str, places: Places, normal: str | None, base: Path
) -> Sample:
    if (told := row.get("")) is not None:
        raise _BadRow(told if told.startswith(where) else f"{where} {told}")
    if not row.get("file") or "labels" not in row:
        if not {"file", "labels"} <= row.keys():
            columns = ", ".join(map(str, row))
            raise DataError(f"{where} has {columns}; expected the columns {COLUMNS}")
        raise _BadRow(f"{where} names no file")
    for name in ("file", "mask"):
        if not isinstance(row.get(name) or "", str):
            raise _BadRow(f"{where} has the {name} {row[name]}: expected a path as text")
    listed = row["labels"]
    names = listed if isinstance(listed, list) else _labels(listed)
    labels = [class_name(n.strip(), where) for n in map(str, names) if n.strip()]
    good = [n for n in labels if _is_good(n, normal)]
    if good and len(good) < len(labels):
        bad = [n for n in labels if n not in good]
        raise _BadRow(f"{where} calls {row['file']} normal and {', '.join(bad)}: choose one")
    told = str(row.get("split") or split)
    if (named_split := split_name(told)) is None:
        raise _BadRow(f"{where} has the split {told}: expected {TRAIN}, {VAL} or {TEST}")
    mask = places(row["mask"], [base]) if (row.get("mask") or "").strip() else None
    if mask is not None and not is_file(mask):
        raise _BadRow(f"{where} names the mask {mask}: there is no such file")
    box = _box(row, where)
    return Sample(
        file=places(row["file"], [base]),
        labels=tuple(dict.fromkeys(labels)),
        marks=(Mark(box, labels[0], origin=where),) if box and len(labels) == 1 else (),
        truths=(mask,) if mask else (),
        group=str(row["group"]) if row.get("group") else None,
        split=named_split,
    )


def _box(row: dict[str, Any], where: str) -> Box | None:
    """Left, top, width, height of the defect of a row that says it."""
    sides = [row.get(side) for side in SIDES]
    if any(side is None or not str(side).strip() for side in sides):
        return None
    try:
        left, top, right, bottom = (float(str(side)) for side in sides)
    except ValueError as error:
        raise _BadRow(f"{where} has a box that is none: {error}") from error
    if not (left < right < math.inf and top < bottom < math.inf):
        raise _BadRow(f"{where} has a box from {left:g}, {top:g} to {right:g}, {bottom:g}")
    return left, top, right - left, bottom - top


def _labels(listed: Any) -> Iterable[str]:
    return str("" if listed is None else listed).split(LABEL_SEPARATOR)
