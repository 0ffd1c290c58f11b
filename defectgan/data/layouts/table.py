"""A table: labels.csv or labels.jsonl with the columns file,labels[,mask][,split][,group].

Other names of the columns, of the table, and one table for each split are taken too; an image may
stand in several rows, each with some of its labels.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from defectgan.data.layouts.base import Listing, annotated, named
from defectgan.data.layouts.texts import read_text
from defectgan.data.places import Places, is_file
from defectgan.data.samples import TEST, TRAIN, VAL, Sample, is_normal_name, split_name
from defectgan.data.walk import LeftOut
from defectgan.errors import DataError
from defectgan.files import parse_object
from defectgan.heads import is_image_name
from defectgan.names import class_name
from defectgan.words import counted

TABLES = ("labels.csv", "labels.jsonl")
SUFFIXES = (".csv", ".tsv", ".jsonl")
LABEL_SEPARATOR = "|"
# What separates the columns of a CSV file; where the comma is decimal, spreadsheets take others.
DELIMITERS = ",;\t"
COLUMNS = "file,labels[,mask][,split][,group]"
_CALLED = {
    "file": "file filename file_name image image_name imagename img image_path img_path path "
    "filepath file_path image_file",
    "labels": "labels label class classes class_name classname category defect defect_class "
    "defect_type target",
    "mask": "mask mask_path mask_file segmentation",
    "split": "split set subset partition",
    "group": "group piece part serial",
}
_ALIASES = {alias: name for name, names in _CALLED.items() for alias in names.split()}
# What each column is where a table has no head.
_IN_ORDER = ("file", "labels", "mask", "split", "group")


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
    there = sorted(p for p in root.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != ".")
    tables = [p for p in there if p.is_file() and _has_columns(p)]
    if len(tables) == 1:
        return {TRAIN: tables[0]}
    by_split = {split_name(p.stem): p for p in tables}
    if TRAIN not in by_split:
        return {}
    return {split: by_split[split] for split in (TRAIN, VAL, TEST) if split in by_split}


def recognises(root: Path) -> bool:
    return bool(tables_in(root))


def is_named(root: Path) -> bool:
    """Whether a table is named, or called as only such a one is."""
    return named(root, TABLES) is not None


def _has_columns(path: Path) -> bool:
    try:
        rows = _rows(path)[0]
    except DataError:
        return False
    return bool(rows) and {"file", "labels"} <= rows[0][1].keys()


def read(root: Path, normal: str | None) -> Listing:
    """The listing of a table, or of one for each split."""
    tables = tables_in(root)
    if not tables:
        raise DataError(f"no table in {root}: expected {' or '.join(TABLES)}")
    folder = next(iter(tables.values())).parent
    made, places = _Read(), Places(folder)
    for split, table in tables.items():
        rows, notes = _rows(table)
        made.notes += notes
        for where, row in rows:
            try:
                _take(made, _row_sample(where, row, split, places, normal))
            except _BadRow as bad:
                made.skipped.append((table, str(bad)))
    if made.several:
        made.notes.append(
            f"{counted(made.several, 'image')} in several rows: their labels are put together"
        )
    if not made.samples and made.skipped:
        raise DataError(f"no row of {folder} can be used: {made.skipped[0][1]}")
    samples = [s for s in made.samples.values() if not _is_both(s, made, normal)]
    labels = sorted({label for sample in samples for label in sample.labels})
    if (
        samples
        and not any(_is_good(label, normal) for label in labels)
        and all(sample.labels for sample in samples)
    ):
        raise DataError(
            f"no normal images in {folder}: found the labels {', '.join(labels[:12])}; expected "
            "none, normal, good, ok, free or defect-free, or the name of the one of good images",
            mend=("normal_class", "NAME"),
        )
    return annotated(folder, "table", normal, samples, notes=made.notes, skipped=made.skipped)


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
    made.samples[sample.file] = replace(before, labels=labels, truths=truths)


def _is_good(label: str, normal: str | None) -> bool:
    return label == normal if normal else is_normal_name(label)


def _is_both(sample: Sample, made: _Read, normal: str | None) -> bool:
    """Whether an image is called normal and defective; it is left out."""
    good = [label for label in sample.labels if _is_good(label, normal)]
    bad = [label for label in sample.labels if label not in good]
    if good and bad:
        made.skipped.append(
            (sample.file, f"several rows call {sample.file} {good[0]} and {', '.join(bad)}")
        )
    return bool(good and bad)


def _rows(table: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """The rows of a table, each with where it stands, columns by our names; and what was guessed.

    Raises:
        DataError: if it cannot be read.
    """
    text, notes = read_text(table)
    if table.suffix.lower() == ".jsonl":
        lines = [(n, t) for n, t in enumerate(text.split("\n"), start=1) if t.strip()]
        trees = [(f"line {n} of {table}", t) for n, t in lines]
        return [
            (f"row {i} of {table}", _renamed(parse_object(t.encode(), where)))
            for i, (where, t) in enumerate(trees, start=1)
        ], notes
    try:
        lines_left = _without_comments(text)
        head = next(iter(lines_left.splitlines()), "")
        delimiter = max(DELIMITERS, key=head.count)
        cells = [
            row
            for row in csv.reader(io.StringIO(lines_left, newline=""), delimiter=delimiter)
            if any(map(str.strip, row))
        ]
    except csv.Error as error:
        raise DataError(f"cannot read the table {table}: {error}") from error
    if not cells:
        raise DataError(f"the table {table} is empty; expected the columns {COLUMNS}")
    columns = [_ours(cell) for cell in cells[0]]
    if "file" not in columns and is_image_name(cells[0][0].strip()):
        columns = list(_IN_ORDER[: len(cells[0])])
        notes = [*notes, f"{table} has no head: its columns are taken for {', '.join(columns)}"]
    elif {"file", "labels"} <= set(columns):
        cells = cells[1:]
    else:
        found = ", ".join(cells[0])
        raise DataError(f"the head of {table} has {found}; expected the columns {COLUMNS}")
    return [
        (f"row {n} of {table}", _row(columns, row)) for n, row in enumerate(cells, start=1)
    ], notes


def _without_comments(text: str) -> str:
    """The table without the comments before and between its rows."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").splitlines(keepends=True)
    return "".join(line for line in lines if not line.lstrip().startswith("#"))


def _ours(column: str) -> str:
    """Our name for a column, or its own."""
    plain = column.strip().strip('"').lower().replace(" ", "_").replace("-", "_")
    return _ALIASES.get(plain, column.strip())


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """The row by our names; a column that is called so already goes before another one."""
    made = {_ours(key): value for key, value in row.items()}
    return {**made, **{key: value for key, value in row.items() if key in _CALLED}}


def _row(columns: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column, cell in zip(columns, cells, strict=False):
        row.setdefault(column, cell)
    if any(map(str.strip, cells[len(columns) :])):
        row[""] = len(cells)
    return {**dict.fromkeys(columns), **row}


def _row_sample(
    where: str, row: dict[str, Any], split: str, places: Places, normal: str | None
) -> Sample:
    if "" in row and isinstance(row[""], int):
        raise _BadRow(
            f"{where} has {row['']} cells, the head has {len(row) - 1}: a name with a comma stands "
            "in quotes"
        )
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
    mask = places(row["mask"]) if (row.get("mask") or "").strip() else None
    if mask is not None and not is_file(mask):
        raise _BadRow(f"{where} names the mask {mask}: there is no such file")
    return Sample(
        file=places(row["file"]),
        labels=tuple(dict.fromkeys(labels)),
        truths=(mask,) if mask else (),
        group=str(row["group"]) if row.get("group") else None,
        split=named_split,
    )


def _labels(listed: Any) -> Iterable[str]:
    return str("" if listed is None else listed).split(LABEL_SEPARATOR)
