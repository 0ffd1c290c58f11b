"""A generated set in the formats of others, made from its manifest: also while it grows, after it
was gone on with, and whatever number of shards made it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from defectgan.errors import DataError, SettingError
from defectgan.generation.formats.base import Shown, Writer, facts_of, look
from defectgan.generation.formats.coco import Coco
from defectgan.generation.formats.mvtec import Mvtec
from defectgan.generation.formats.table import Table
from defectgan.generation.formats.voc import Voc
from defectgan.generation.formats.yolo import Yolo
from defectgan.manifest import ManifestRow, each_row
from defectgan.words import counted, found

WRITERS: Mapping[str, type[Writer[Any]]] = {
    "mvtec": Mvtec,
    "coco": Coco,
    "yolo": Yolo,
    "voc": Voc,
    "table": Table,
}
# What the set itself is.
FOLDER = "folder"
FORMATS = (FOLDER, *WRITERS)
THREADS = 4
# Images that are looked at together.
CHUNK = 64


def check_formats(formats: Iterable[str]) -> None:
    """Make sure that there are such formats.

    Raises:
        SettingError: if there is none of a name.
    """
    for name in formats:
        if name not in FORMATS:
            raise SettingError(f"no format {name}{found(FORMATS, name)}")


def export_set(
    out: Path,
    formats: Sequence[str],
    *,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Path]:
    """Write a set in further formats beside what it holds; what an earlier call wrote is brought up
    to date. Returns for each format the file or folder to begin with.

    Args:
        out: the set.
        formats: of ``FORMATS``; ``folder`` is the set itself.
        say: told of images that are left out.

    Raises:
        SettingError: if there is no such format.
        DataError: if there is no set, or a format cannot hold its images.
    """
    check_formats(formats)
    made = {name: out for name in formats if name == FOLDER}
    if not (names := [name for name in dict.fromkeys(formats) if name != FOLDER]):
        return made
    with ExitStack() as stack, ThreadPoolExecutor(THREADS) as pool:
        facts = facts_of(out)
        writers = {name: WRITERS[name](facts, stack) for name in names}
        work = partial(_work, out, list(writers.values()))
        left_out: list[str] = []
        for result in _in_chunks(each_row(out), lambda rows: pool.map(work, rows)):
            if isinstance(result, str):
                left_out.append(result)
                continue
            shown, parts = result
            for writer, part in zip(writers.values(), parts, strict=True):
                writer.add(shown, part)
        for reason in left_out[:1]:
            say(f"{counted(len(left_out), 'image')} left out of {', '.join(names)}: {reason}")
        return made | {name: writer.finish() for name, writer in writers.items()}


def _in_chunks(
    rows: Iterator[ManifestRow], work: Callable[[list[ManifestRow]], Iterator[Any]]
) -> Iterator[Any]:
    while chunk := list(islice(rows, CHUNK)):
        yield from work(chunk)


def _work(
    out: Path, writers: Sequence[Writer[Any]], row: ManifestRow
) -> tuple[Shown, list[Any]] | str:
    """What the writers make of an image, or why it is left out."""
    try:
        shown = look(out, row)
    except DataError as error:
        return str(error)
    return shown, [writer.work(shown) for writer in writers]
