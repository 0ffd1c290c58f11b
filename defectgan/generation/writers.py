"""Where generated images go."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectgan.errors import DataError
from defectgan.files import (
    append_json_lines,
    read_json,
    read_json_lines,
    sha256,
    write_atomically,
    write_json_lines,
)
from defectgan.generation.plan import Row
from defectgan.images import Picture, suffix_of, write_mask, write_picture
from defectgan.training.checkpoint import Model
from defectgan.words import counted

MANIFEST = "manifest.jsonl"
JOB = "job.json"


@dataclass(frozen=True)
class FolderWriter:
    """``images/<class>/``, ``masks/<class>/`` and ``manifest.jsonl`` below one folder, of what
    ``model`` makes.

    A folder has the class's name as far as a folder can be called so; the manifest has the name
    itself. A manifest row is written after its two files are: what the manifest names is there.
    """

    out: Path
    binary_masks: bool
    model: Model

    def open(self, job: dict[str, Any]) -> set[int]:
        """Begin, or go on with the same job; returns the numbers of the rows whose files are
        already there.

        Raises:
            DataError: if the folder holds anything else.
        """
        rows = self.look(job)
        write_atomically(self.out / JOB, _text(job).encode())
        write_json_lines(self.out / MANIFEST, rows)
        return {row["number"] for row in rows}

    def look(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows of the same job whose files are already there; nothing is written.

        Raises:
            DataError: if the folder holds anything else.
        """
        path = self.out / JOB
        if path.is_file():
            if self.model.recognised(read_json(path)) != job:
                raise DataError(
                    f"{self.out} holds the images of another job (see {JOB}): name another "
                    "folder, nothing was written"
                )
            return [self.model.recognised(row) for row in present_rows(self.out)[0]]
        if self.out.exists() and any(self.out.iterdir()):
            raise DataError(f"{self.out} is not empty: name another folder, nothing was written")
        return []

    def write(self, row: Row, picture: Picture, mask: NDArray[np.uint8]) -> dict[str, str]:
        """Write an image and its mask; returns their paths and digest for the manifest."""
        folder = self.model.info.folders[row.defect]
        image_path = Path("images") / folder / f"{row.name}{suffix_of(picture)}"
        mask_path = Path("masks") / folder / f"{row.name}.png"
        if self.binary_masks:
            mask = np.where(mask > 0, 255, 0).astype(np.uint8)
        write_picture(self.out / image_path, picture)
        write_mask(self.out / mask_path, mask)
        return {
            "output": image_path.as_posix(),
            "mask": mask_path.as_posix(),
            "output_sha256": sha256(self.out / image_path),
        }

    def record(self, rows: list[dict[str, Any]]) -> None:
        """Append finished rows to the manifest."""
        append_json_lines(self.out / MANIFEST, rows)

    def put_in_order(self) -> None:
        """Sort the manifest by number: what was taken away and made again stands at its end."""
        rows = sorted(read_manifest(self.out), key=lambda row: row["number"])
        write_json_lines(self.out / MANIFEST, rows)


def _text(job: dict[str, Any]) -> str:
    return json.dumps(job, indent=1)


def read_manifest(out: Path) -> list[dict[str, Any]]:
    """The rows of a generated set; a last line that a kill cut short is left out."""
    return read_json_lines(out / MANIFEST)


def present_rows(out: Path) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The rows of a generated set whose image and mask are both there, and what a person should
    know of the others: people take bad pictures out.
    """
    rows = read_manifest(out)
    present = [r for r in rows if all((out / r[key]).is_file() for key in ("output", "mask"))]
    missing = len(rows) - len(present)
    note = f"{missing} of the {counted(len(rows), 'image')} that {out / MANIFEST} names"
    verb = "is missing or has" if missing == 1 else "are missing or have"
    return present, (f"{note} {verb} no mask: left out",) if missing else ()
