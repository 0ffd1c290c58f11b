"""The folder of a test that may take hours: what it is a test of, and its results line by line, so
that it goes on where it was cut short.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from defectgan.data.facts import digests
from defectgan.errors import DataError
from defectgan.evaluation.real import RealSplit, as_table
from defectgan.files import (
    append_json_lines,
    read_json_lines,
    write_atomically,
    write_json_lines,
)
from defectgan.training.checkpoint import Model

TABLE = "labels.csv"
JOB, RESULTS = "job.json", "results.jsonl"
Row = dict[str, Any]
# Arm, ratio and seed: what tells one training from another.
Key = tuple[str, float, int]


def claim(out: Path, real: RealSplit) -> None:
    """Write down the split in the folder of a test, which is new or holds the same one.

    Raises:
        DataError: if it holds anything else.
    """
    table, text = out / TABLE, as_table(real.index)
    if table.is_file():
        if table.read_text(encoding="utf-8") != text:
            raise DataError(
                f"{out} holds a test of other images or splits (see {TABLE}): name another "
                "folder, nothing was written"
            )
    elif out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty: name another folder, nothing was written")
    else:
        write_atomically(table, text.encode())


def material(real: RealSplit) -> dict[str, Any]:
    """What every result depends on: the images by their content, and what is black and white in
    them.

    Raises:
        DataError: if an image cannot be read.
    """
    samples = real.index.all_samples
    content = digests(file for s in samples for file in (s.file, s.mask) if file is not None)
    rows = [(content[s.file], s.mask and content[s.mask], s.labels, s.split) for s in samples]
    return {
        "classes": list(real.classes),
        "images": real.counts(),
        "images_sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        "channels": real.index.channels,
        "levels": real.index.levels,
    }


def open_test(folder: Path, record: dict[str, Any]) -> None:
    """Write down what a folder's results depend on, or make sure that it is the same.

    Raises:
        DataError: if the folder holds the results of another test.
    """
    path, text = folder / JOB, json.dumps(record, indent=1)
    if not path.is_file():
        write_atomically(path, text.encode())
    elif path.read_text(encoding="utf-8") != text:
        raise DataError(
            f"{folder} holds the results of another test (see {JOB}): name another folder, "
            "nothing was written"
        )


def by_key(rows: Sequence[Row]) -> dict[Key, Row]:
    """Results by what tells them apart."""
    return {(row["arm"], row["ratio"], row["seed"]): row for row in rows}


def go_through(
    folder: Path,
    record: dict[str, Any],
    keys: Sequence[Key],
    *,
    model: Model | None,
    origin: Callable[[Key], Row],
    begin: Callable[[], Callable[[Key], Row]],
    known: Callable[[int], None],
) -> list[Row]:
    """Make the results that are not there yet, each written down at once.

    Args:
        folder: where ``job.json`` and ``results.jsonl`` are.
        record: all that every result depends on.
        keys: the results that are wanted.
        model: the generator, if any result depends on one.
        origin: what the result of a key depends on besides; it is written down with it.
        begin: makes ready, where any is to be made, and returns what makes the one of a key.
        known: called with the number of those that are there already.

    Returns:
        A row a key, in their order.

    Raises:
        DataError: if the folder holds the results of another test, or of another generator.
    """
    open_test(folder, record)
    rows = read_json_lines(folder / RESULTS)
    rows = [model.recognised(row) for row in rows] if model else rows
    write_json_lines(folder / RESULTS, rows)  # without what a kill cut short
    finished = by_key(rows)
    for key in keys:
        if key in finished and not origin(key).items() <= finished[key].items():
            raise DataError(
                f"{folder} holds results of {key[0]} with another generator, or with other images "
                f"by it (see {RESULTS}): name another folder, nothing was written"
            )
    waiting = [key for key in keys if key not in finished]
    known(len(keys) - len(waiting))
    if waiting:
        make = begin()
        for key in waiting:
            finished[key] = make(key) | origin(key)
            append_json_lines(folder / RESULTS, [finished[key]])
    return [finished[key] for key in keys]
