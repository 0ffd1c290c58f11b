"""A file of jobs: a row says what is painted on which images, how often and from which seed."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from defectgan.data.layouts.table_rows import LABEL_SEPARATOR
from defectgan.data.layouts.texts import read_text
from defectgan.errors import DataError, SettingError
from defectgan.files import digest, parse_object
from defectgan.generation.plan import Sources, Wanted, find_sources, row_seed, wanted_images
from defectgan.generation.where import BoxArea, read_box
from defectgan.generation.wishes import STRONGEST, Wishes
from defectgan.words import found

COLUMNS = ("source", "classes", "count", "seed", "region", "strength")
# What people call a column of one class.
_ALSO = {"class": "classes"}


@dataclass(frozen=True)
class Task:
    """A row: ``count`` images of the ``classes`` in turn on the ``sources`` in turn; all draws come
    from ``seed``. What its ``region`` and ``strength`` leave open is as the whole job wishes.
    """

    sources: Sources
    classes: tuple[str, ...]
    count: int
    seed: int
    region: BoxArea | None = None
    strength: float | None = None

    def wishes(self, of_job: Wishes) -> Wishes:
        """How its images shall be painted."""
        where = of_job.where if self.region is None else self.region
        strength = of_job.strength if self.strength is None else self.strength
        return replace(of_job, where=where, strength=strength)


def read_tasks(file: Path, classes: Sequence[str], *, seed: int) -> tuple[Task, ...]:
    """The rows of a JSON Lines or CSV file.

    Args:
        file: with the columns ``COLUMNS``, of which ``source`` alone is needed: a folder, a file or
            a pattern of good images, relative to the file. ``classes`` separated by ``|`` in CSV,
            or a list; all by default. ``count`` is 1 by default, ``region``
            a box ``x,y,w,h`` as of ``read_box``.
        classes: those that the model knows.
        seed: what the rows without a seed are drawn from, each apart.

    Raises:
        DataError: if a row cannot be read, or names what is not there; says which.
    """
    tasks, known = [], {}
    for i, (where, row) in enumerate(_rows(file)):
        source = str(file.parent / _text(row, "source", where))
        if source not in known:
            known[source] = _sources(source, where)
        named = _classes(row.get("classes"), classes, where)
        own = _whole(row, "seed", where, least=0)
        count = _whole(row, "count", where, least=1)
        drawn = row_seed(seed, i) if own is None else own
        many = 1 if count is None else count
        region, strength = _region(row.get("region"), where), _strength(row.get("strength"), where)
        tasks.append(Task(known[source], named, many, drawn, region, strength))
    if not tasks:
        raise DataError(f"{file} has no rows: expected some with the columns {', '.join(COLUMNS)}")
    return tuple(tasks)


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows that say something, each with where it stands, its columns checked."""
    if not file.is_file():
        raise DataError(f"no file of jobs at {file}: expected a .jsonl or .csv file")
    text, _ = read_text(file)
    if file.suffix.lower() == ".jsonl":
        lines = [
            (f"line {n} of {file}", t) for n, t in enumerate(text.splitlines(), 1) if t.strip()
        ]
        rows = ((where, parse_object(line.encode(), where)) for where, line in lines)
    else:
        table = csv.DictReader(io.StringIO(text, newline=""))
        rows = ((f"line {table.line_num} of {file}", dict(row)) for row in table)
    for where, row in rows:
        renamed = {_ALSO.get(str(name), str(name)): value for name, value in row.items()}
        for name in renamed:
            if name not in COLUMNS:
                raise DataError(f"{where} has a column {name}{found(COLUMNS, name)}")
        yield where, renamed


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where} has {value!r} as its {name}: expected good images to paint on")
    return value.strip()


def _whole(row: Mapping[str, Any], name: str, where: str, *, least: int) -> int | None:
    """A whole number; None where the row says nothing."""
    value = row.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise DataError(f"{where} has {value!r} as its {name}: expected a number from {least} on")
    return value


def _region(value: Any, where: str) -> BoxArea | None:
    """A box, as a text or as a list of its four numbers."""
    if value is None or value == "":
        return None
    text = ",".join(map(str, value)) if isinstance(value, list) else value
    try:
        if isinstance(text, str):
            return read_box(text)
    except SettingError as error:
        raise DataError(f"{where}: region: {error}") from error
    raise DataError(f"{where} has {value!r} as its region: expected a box x,y,w,h")


def _strength(value: Any, where: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        strength = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        strength = float("nan")
    if not 0 <= strength <= STRONGEST:
        raise DataError(f"{where} has {value!r} as its strength: expected 0 to {STRONGEST:g}")
    return strength


def _classes(value: Any, classes: Sequence[str], where: str) -> tuple[str, ...]:
    if value is None or value in ("", []):
        return tuple(classes)
    names = value.split(LABEL_SEPARATOR) if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{where} has {value!r} as its classes: expected names")
    for name in names:
        if name not in classes:
            raise DataError(f"{where} names a class {name}{found(classes, name)}")
    return tuple(names)


def _sources(source: str, where: str) -> Sources:
    try:
        return find_sources(source)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def sources_of(tasks: Sequence[Task]) -> Sources:
    """All good images of some rows, each once."""
    files = dict.fromkeys(file for task in tasks for file in task.sources.files)
    rejected = dict.fromkeys(one for task in tasks for one in task.sources.rejected)
    return Sources(tuple(files), tuple(rejected))


def digest_of(tasks: Sequence[Task]) -> str:
    """What tells some rows from others."""
    told = [
        [
            *([str(f) for f in task.sources.files], task.classes, task.count, task.seed),
            *(task.region and task.region.record(), task.strength),
        ]
        for task in tasks
    ]
    return digest(json.dumps(told).encode())


def images_of(
    tasks: Sequence[Task], wishes: Wishes, *, wanted: Callable[[int], bool]
) -> Iterator[Wanted]:
    """Those images that are ``wanted``, row by row; see ``wanted_images``."""
    first = 0
    for task in tasks:
        images = wanted_images(
            task.sources.files,
            task.classes,
            n=task.count,
            seed=task.seed,
            wishes=task.wishes(wishes),
            wanted=lambda number: wanted(first + number),  # noqa: B023
        )
        for image in images:
            yield replace(image, first=replace(image.first, number=first + image.number))
        first += task.count
