"""The folder of a test that may take hours: what it is a test of, and its results line by line, so
that it goes on where it was cut short.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file, save
from torch import Tensor

from defectgan.data.facts import digests, mask_digests
from defectgan.errors import DataError
from defectgan.evaluation.real import RealSplit, as_table, has_our_columns, same_table
from defectgan.files import (
    append_json_lines,
    read_json_lines,
    write_atomically,
    write_json_lines,
)

TABLE = "labels.csv"
JOB, RESULTS = "job.json", "results.jsonl"
# What a result means: raise it with every change by which the same record would give other results,
# or rows that cannot be compared. Folders of another one are not gone on with.
FORMAT = 2
# What stands for the split of real images that are not learned from but by the arm that may.
LEFT_OUT = "left out"
ResultRow = dict[str, Any]
# The entry of a row that names the file with what its network says of each image.
SAYS = "predictions"


class ResultKey(NamedTuple):
    """What tells one training from another: the ``arm``, how many images are added for a real one,
    the ``seed`` of the network and its name, and where the added images are a generator's, the
    ``generator`` (the start of its weights' digest) and of how many ``candidates`` each is.
    """

    arm: str
    ratio: float
    seed: int
    net: str = ""
    generator: str = ""
    candidates: int = 0

    @classmethod
    def of(cls, row: ResultRow) -> "ResultKey":
        """That of a result."""
        return cls(**{name: row[name] for name in cls._fields})

    @property
    def name(self) -> str:
        """A file name of its own."""
        painted = f"-{self.generator}-{self.candidates}" if self.generator else ""
        return f"{self.net}-{self.arm}-{self.ratio:g}x{painted}-{self.seed}"


def claim(out: Path, real: RealSplit) -> None:
    """Write down the split in the folder of a test, which is new or holds the same one.

    Raises:
        DataError: if it holds anything else.
    """
    table, text = out / TABLE, as_table(real.index)
    if table.is_file():
        before = table.read_text(encoding="utf-8")
        if not has_our_columns(before):
            raise _of_another_version(out, TABLE)
        if not same_table(before, text):
            raise DataError(
                f"{out} holds a test of other images or splits (see {TABLE}): name another "
                "folder, nothing was written"
            )
        if before == text:
            return
    elif out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty: name another folder, nothing was written")
    write_atomically(table, text.encode())


def _of_another_version(folder: Path, name: str) -> DataError:
    return DataError(
        f"{folder} holds the results of another version of this test (see {name}), which may mean "
        "something else: start anew in another folder, nothing was written",
        mend=("out", "FOLDER"),
    )


def material(real: RealSplit) -> dict[str, Any]:
    """What every result depends on: the images by their content, those included that further arms
    learn from, their masks by the pixels that they mean, and what is black and white in them.

    Raises:
        DataError: if an image cannot be read.
    """
    samples = (*real.index.all_samples, *(replace(s, split=LEFT_OUT) for s in real.left_out))
    content = digests(s.file for s in samples)
    regions = mask_digests(s.mask for s in samples if s.mask is not None)
    rows = [(content[s.file], s.mask and regions[s.mask], s.labels, s.split) for s in samples]
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
        DataError: if the folder holds the results of another test, or of another format.
    """
    path, text = folder / JOB, json.dumps({"format": FORMAT, **record}, indent=1)
    if not path.is_file():
        write_atomically(path, text.encode())
        return
    before = path.read_text(encoding="utf-8")
    if _format(before) != FORMAT:
        raise _of_another_version(folder, JOB)
    if before != text:
        raise DataError(
            f"{folder} holds the results of another test (see {JOB}): name another folder, "
            "nothing was written"
        )


def _format(record: str) -> Any:
    """The format that a record names; None where it names none, or is none."""
    try:
        found = json.loads(record)
    except ValueError:
        return None
    return found.get("format") if isinstance(found, dict) else None


def keep_said(folder: Path, key: ResultKey, said: Mapping[str, Tensor]) -> ResultRow:
    """Write down what the network of a key says of images, by split; returns the entry of its row
    that names the file.
    """
    name = f"predictions/{key.name}.safetensors"
    write_atomically(folder / name, save(dict(said)))
    return {SAYS: name}


def said_by(folder: Path, row: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the network of a row said of images, by split."""
    return load_file(folder / row[SAYS])


def by_key(rows: Sequence[ResultRow]) -> dict[ResultKey, ResultRow]:
    """Results by what tells them apart."""
    return {ResultKey.of(row): row for row in rows}


def go_through(
    folder: Path,
    record: dict[str, Any],
    keys: Sequence[ResultKey],
    *,
    begin: Callable[[], Callable[[ResultKey], ResultRow]],
    known: Callable[[Sequence[ResultKey]], None],
) -> list[ResultRow]:
    """Make the results that are not there yet, each written down at once.

    Args:
        folder: where ``job.json`` and ``results.jsonl`` are.
        record: all that every result depends on besides its key.
        keys: the results that are wanted.
        begin: makes ready, where any is to be made, and returns what makes the one of a key.
        known: called with those that are there already.

    Returns:
        A row a key, in their order.

    Raises:
        DataError: if the folder holds the results of another test.
    """
    open_test(folder, record)
    rows = read_json_lines(folder / RESULTS)
    write_json_lines(folder / RESULTS, rows)  # without what a kill cut short
    whole = [row for row in rows if SAYS not in row or (folder / row[SAYS]).is_file()]
    finished = by_key(whole)
    waiting = [key for key in keys if key not in finished]
    known([key for key in keys if key in finished])
    if waiting:
        make = begin()
        for key in waiting:
            finished[key] = key._asdict() | make(key)
            append_json_lines(folder / RESULTS, [finished[key]])
    return [finished[key] for key in keys]
