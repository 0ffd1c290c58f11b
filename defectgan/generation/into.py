"""A generated set put among real images on purpose, and taken out again.

FOLDER/
    <class>/defectgan-<job>-*.png           links to the images of the set; of MVTec below test/
    masks/<class>/defectgan-<job>-*.png     masks of 0 and 255; of MVTec below ground_truth/
    .defectgan-added/<job>/                 the set itself, which can be gone on with
    .defectgan-added/added.jsonl            what was added: each file with its SHA-256
"""

import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from defectgan.data.layouts import read_layout
from defectgan.errors import DataError
from defectgan.files import append_json_lines, digest, each_json_line, sha256, write_atomically
from defectgan.generation.formats.base import SetFacts, facts_of, look, place_file
from defectgan.generation.request import GenerateJob, Order
from defectgan.images import Picture, encode
from defectgan.locks import held
from defectgan.manifest import ManifestRow, each_row
from defectgan.model.file import Model

ADDED, RECORD = ".defectgan-added", "added.jsonl"
# Rows that are recorded before their files are placed.
CHUNK = 64
KNOWN = ("folders", "mvtec")


def set_in(folder: Path, job: GenerateJob, model: Model) -> Path:
    """Where the set of a job lies that is put into a folder: the same job finds it again.

    Raises:
        DataError: if files say what is in the images of the folder: they would have to be changed.
    """
    listing = read_layout(folder)
    if listing.layout not in KNOWN or listing.root != folder:
        raise DataError(
            f"{folder} is of the layout {listing.layout}: only to class folders and MVTec's can be "
            "added without changing a file; name a new folder for the set and join them yourself"
        )
    told = Order(job, job.candidates or 0, None, job.checks).record(model)
    return folder / ADDED / digest(json.dumps(told, sort_keys=True).encode())[:8]


def add_to(folder: Path, out: Path) -> int:
    """Put the images and masks of a set that ``set_in`` named into its folder; returns how many
    images are there. Nothing is overwritten, and what was placed before stays.

    Raises:
        DataError: if a file of the same name is there that was not added, or a job is at work.
    """
    mvtec = read_layout(folder).layout == "mvtec"
    facts = facts_of(out)
    record, count = folder / ADDED / RECORD, 0
    with held(folder / ADDED):
        there = {row["file"] for row in each_json_line(record)}
        rows = each_row(out)
        while chunk := list(islice(rows, CHUNK)):
            files = [f for row in chunk for f in _files(facts, row, mvtec=mvtec)]
            new = [file for file in files if file.name not in there]
            for file in new:
                if (folder / file.name).exists():
                    raise DataError(
                        f"{folder / file.name} is there already: nothing is overwritten"
                    )
            append_json_lines(record, [{"file": f.name, "sha256": digest(f.data)} for f in new])
            for file in files:
                file.place(folder)
            count += len(chunk)
    return count


class _File(NamedTuple):
    """A file to add: its name below the folder, what it holds, and the file that it is linked to,
    None where it is written.
    """

    name: str
    data: bytes
    origin: Path | None

    def place(self, folder: Path) -> None:
        path = folder / self.name
        if path.exists():  # placed before, and perhaps edited since
            return
        if self.origin is None:
            write_atomically(path, self.data, sync=False)
        else:
            place_file(self.origin, path)


def _files(facts: SetFacts, row: ManifestRow, *, mvtec: bool) -> tuple[_File, _File]:
    """An image and its mask."""
    out, home = facts.out, facts.folder(row)
    image = out / row.output
    name = f"defectgan-{out.name}-{image.name}"
    stem = name.rpartition(".")[0]
    mask = encode(Picture(look(out, row).mask[..., None]))
    data = image.read_bytes()
    if mvtec:
        return (
            _File(f"test/{home}/{name}", data, image),
            _File(f"ground_truth/{home}/{stem}_mask.png", mask, None),
        )
    return _File(f"{home}/{name}", data, image), _File(f"masks/{home}/{stem}.png", mask, None)


def remove_from(folder: Path) -> tuple[int, list[Path]]:
    """Take out what ``add_to`` has added, and the sets that it came from; returns how many files
    that were, and those that were changed since, which stay.

    Raises:
        DataError: if nothing was added, or a job is at work.
    """
    record = folder / ADDED / RECORD
    if not record.is_file():
        raise DataError(f"nothing was added to {folder}: there is no {ADDED}/{RECORD}")
    removed, changed = 0, []
    with held(folder / ADDED):
        for row in each_json_line(record):
            path = _below(folder, row)
            if not path.is_file():
                continue
            if sha256(path) != row.get("sha256"):
                changed.append(path)
                continue
            path.unlink()
            removed += 1
            _forget_empty(path.parent, folder)
    shutil.rmtree(folder / ADDED)
    return removed, changed


def _below(folder: Path, row: dict[str, Any]) -> Path:
    """The file of a row, which has to lie in the folder: the record may have been edited."""
    path = folder / str(row.get("file"))
    if ".." in path.parts or not path.is_relative_to(folder):
        raise DataError(f"{folder / ADDED / RECORD} names {path}, which is not in {folder}")
    return path


def _forget_empty(place: Path, folder: Path) -> None:
    """Take away folders in which nothing is left, up to one that was there for more."""
    while place != folder and not any(place.iterdir()):
        place.rmdir()
        place = place.parent
