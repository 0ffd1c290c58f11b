"""The rows of tables as spreadsheets and other programs write them, their columns by our names."""

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from defectgan.data.layouts.texts import read_text
from defectgan.errors import DataError
from defectgan.files import parse_object
from defectgan.heads import is_image_name

LABEL_SEPARATOR = "|"
# What separates the columns of a CSV file; where the comma is decimal, spreadsheets take others.
DELIMITERS = ",;\t|"
# A cell that is longer makes a table damaged.
LONGEST = 2**24
# Columns that say where a defect lies, in pixels.
SIDES = ("xmin", "ymin", "xmax", "ymax")
COLUMNS = "file,labels[,mask][,split][,group]"
_CALLED = {
    "file": "file filename file_name image image_name imagename img image_path img_path path "
    "filepath file_path image_file datei dateiname bild",
    "labels": "labels label class classes class_name classname category defect defect_class "
    "defect_type target klasse fehler",
    "mask": "mask mask_path mask_file segmentation",
    "split": "split set subset partition",
    "group": "group piece part serial",
    **{side: side for side in SIDES},
}
# What names the image where no other column does.
_SPARE = ("id", "image_id", "img_id", "imageid")
_ALIASES = {alias: name for name, names in _CALLED.items() for alias in names.split()}
# What each column is where a table has no head, and where four of them are numbers.
_IN_ORDER = ("file", "labels", "mask", "split", "group")
_WITH_BOXES = ("file", *SIDES, "labels")
# What a column of a class of its own holds.
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "")


def read_rows(table: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """The rows of a table, each with where it stands, columns by our names; and what was guessed.

    Raises:
        DataError: if it cannot be read.
    """
    text, notes = read_text(table)
    if table.suffix.lower() == ".jsonl":
        lines = [(n, t) for n, t in enumerate(text.split("\n"), start=1) if t.strip()]
        return [_of_line(f"line {n} of {table}", t) for n, t in lines], notes
    csv.field_size_limit(LONGEST)
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
    columns = _columns(cells[0])
    if "file" not in columns and is_image_name(cells[0][0].strip()):
        with_boxes = len(cells[0]) == len(_WITH_BOXES) and all(map(_is_number, cells[0][1:5]))
        columns = list(_WITH_BOXES if with_boxes else _IN_ORDER[: len(cells[0])])
        notes = [*notes, f"{table} has no head: its columns are taken for {', '.join(columns)}"]
    elif {"file", "labels"} <= set(columns):
        cells = cells[1:]
    elif "file" in columns and (classes := _classes(columns, cells[1:])):
        notes = [*notes, f"{table} has a column for each of the classes {', '.join(classes)}"]
        cells = [[*row, _shown(columns, row, classes)] for row in cells[1:]]
        columns = [*columns, "labels"]
    else:
        found = ", ".join(cells[0])
        raise DataError(f"the head of {table} has {found}; expected the columns {COLUMNS}")
    return [
        (f"row {n} of {table}", _row(columns, row)) for n, row in enumerate(cells, start=1)
    ], notes


def _of_line(where: str, line: str) -> tuple[str, dict[str, Any]]:
    """The row of a line of JSON; what is wrong with it as that of no name."""
    try:
        return where, _renamed(parse_object(line.encode("utf-8", "surrogateescape"), where))
    except DataError as error:
        return where, {"": str(error)}


def _columns(head: Sequence[str]) -> list[str]:
    """The columns of a table by our names."""
    columns = [_ours(cell) for cell in head]
    spare = [cell.strip().lower() for cell in head]
    first = next((spare.index(name) for name in _SPARE if name in spare), None)
    if "file" not in columns and first is not None:
        columns[first] = "file"
    return columns


def _is_number(text: str) -> bool:
    try:
        return not text.strip() or math.isfinite(float(text))
    except ValueError:
        return False


def _classes(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The columns that say of a class each whether an image shows it; none where others are there
    that do not.
    """
    names = [name for name in columns if name not in _CALLED]
    cells = [c for row in rows for name, c in zip(columns, row, strict=False) if name in names]
    return names if all(cell.strip().lower() in (*_YES, *_NO) for cell in cells) else []


def _shown(columns: Sequence[str], row: Sequence[str], classes: Sequence[str]) -> str:
    cells = zip(columns, row, strict=False)
    return LABEL_SEPARATOR.join(n for n, c in cells if n in classes and c.strip().lower() in _YES)


def _without_comments(text: str) -> str:
    """The table without the comments before and between its rows."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").splitlines(keepends=True)
    if lines and re.fullmatch(r"sep=.\s*", lines[0]):  # for spreadsheets
        lines = lines[1:]
    return "".join(line for line in lines if not line.lstrip().startswith("#"))


def _ours(column: str) -> str:
    """Our name for a column, or its own."""
    plain = column.strip().strip('"').lower().replace(" ", "_").replace("-", "_")
    return _ALIASES.get(plain, column.strip())


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """The row by our names; a column that is called so already goes before another one."""
    made = dict(zip(_columns(list(row)), row.values(), strict=True))
    made |= {key: value for key, value in row.items() if key in _CALLED}
    return {key: value for key, value in made.items() if key}


def _row(columns: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column, cell in zip(columns, cells, strict=False):
        row.setdefault(column, cell)
    if any(map(str.strip, cells[len(columns) :])):
        row[""] = (
            f"has {len(cells)} cells, the head has {len(columns)}: a name with a comma stands "
        )
        row[""] += "in quotes"
    elif len(cells) <= columns.index("labels"):
        row[""] = f"has {len(cells)} of the head's {len(columns)} cells, and no label"
    return {**dict.fromkeys(columns), **row}
