"""Where generated images go."""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectgan.errors import DataError
from defectgan.files import digest, read_json, write_atomically
from defectgan.generation.plan import PlanRow
from defectgan.generation.shards import WHOLE, Shard, forget_parts, parts_of
from defectgan.images import Picture, encode, read_picture, suffix_of
from defectgan.manifest import (
    AND,
    JOB,
    GivenUp,
    ManifestRow,
    NumberedRow,
    append_given_up,
    append_rows,
    each_row,
    given_up,
    sort_rows,
    sound_rows,
    write_given_up,
    write_rows,
)
from defectgan.model.file import MODEL, Model
from defectgan.ours import KEPT, mark_own

# Images that are looked at before those that are whole are written down.
CHUNK = 256
READERS = 4


def recorded_job(out: Path, model: Model) -> dict[str, Any] | None:
    """What the job in a folder depends on, the model called as it is today; None if there is none.

    Raises:
        DataError: if its record is none of a job, or its images are of an older version that made
            further ones in another way.
    """
    path = out / JOB
    if not path.is_file():
        return None
    job = model.recognised(read_json(path))
    if "thresholds" in job:
        return job
    # The form of 0.1.0, which counted the images.
    if not job.keys() >= {"n", "binary_masks", "defects"}:
        raise DataError(
            f"{path} is not the record of a job: name another folder, nothing was written"
        )
    del job["n"]
    job.setdefault("candidates", 1)
    if job["binary_masks"] or job["candidates"] > 1:
        what = "made binary masks" if job["binary_masks"] else "chose among candidates"
        raise DataError(
            f"{out} holds images of an older version, which {what} in another way: name another "
            "folder, nothing was written"
        )
    first = next(each_row(out), None)
    if first is not None and first.threshold is not None:
        job["thresholds"] = dict.fromkeys(job["defects"], first.threshold)
    return job


def has_strange_files(out: Path) -> bool:
    """Whether a folder is there and holds anything that was not put there for a job that begins."""
    return out.exists() and any(path.name not in KEPT for path in out.iterdir())


@dataclass(frozen=True)
class FolderWriter:
    """``images/<class>/``, ``masks/<class>/`` and ``manifest.jsonl`` below one folder; ``binary``
    masks are white where there is defect, instead of soft; ``model`` makes all of it, or one
    ``shard`` of it, whose rows come into a manifest of its own.

    A folder has the class's name as far as a folder can be called so; the manifest has the name
    itself.

    A manifest row is written after its two files are, so a kill at any moment leaves whole what it
    names. The files are not synced one by one: where power failed, ``open`` finds what is torn.
    """

    out: Path
    binary: bool
    model: Model
    shard: Shard = WHOLE

    @property
    def home(self) -> Path:
        """Where the manifest is that is written to."""
        return self.shard.folder(self.out)

    def begin(self, job: dict[str, Any]) -> None:
        """Record a job; of shards that begin at the same time the record of the first holds."""
        mark_own(self.out, "a generated set")
        write_atomically(self.home / JOB, json.dumps(job, indent=1).encode())
        if not self.shard.whole:
            self.shard.publish(self.home / JOB, self.out)

    def open(self, say: Callable[[str], None]) -> set[int]:
        """Begin or go on with the manifest; returns the numbers of the rows whose files are there
        and whole. Lines that are damaged, as by two jobs at once, are left out and said.

        What shards have made is joined by the whole job, and found by other shards.
        """
        numbers: set[int] = set()

        def whole(manifests: Iterable[Path]) -> Iterator[ManifestRow]:
            rows = chain.from_iterable(sound_rows(folder, say) for folder in manifests)
            for row in self._whole_rows(row for row in rows if self.shard.has(row.number)):
                if row.number not in numbers:  # two jobs may have been at work here
                    numbers.add(row.number)
                    yield self._recognised(row)

        for _ in whole(self.shard.other_manifests(self.out)):
            pass
        parts = parts_of(self.out) if self.shard.whole else []
        write_rows(self.home, whole([self.home, *parts]))
        if parts:
            lost = _by_number(one for place in [self.home, *parts] for one in given_up(place))
            if lost:
                write_given_up(self.home, lost.values())
            self.put_in_order()
            forget_parts(self.out)
        return numbers

    def _recognised(self, row: ManifestRow) -> ManifestRow:
        """The row with the identity that the model has today."""
        today = self.model.recognised({MODEL: row.model_sha256})[MODEL]
        same = today == row.model_sha256
        return row if same else row.model_copy(update={"model_sha256": today})

    def _whole_rows(self, rows: Iterator[NumberedRow]) -> Iterator[NumberedRow]:
        with ThreadPoolExecutor(READERS) as pool:
            while chunk := list(islice(rows, CHUNK)):
                whole = pool.map(self._is_whole, chunk)
                yield from (row for row, ok in zip(chunk, whole, strict=True) if ok)

    def _is_whole(self, row: ManifestRow) -> bool:
        """Whether the files of a row are as they were written, or can be read at least: a person
        may have edited them.
        """
        for name, written in ((row.output, row.output_sha256), (row.mask, row.mask_sha256)):
            try:
                data = (self.out / name).read_bytes()
                if digest(data) != written:
                    read_picture(self.out / name, data)
            except (OSError, DataError):
                return False
        return True

    def write(
        self,
        row: PlanRow,
        picture: Picture,
        mask: NDArray[np.uint8],
        found: NDArray[np.bool_],
        *,
        classes: Iterable[str],
    ) -> dict[str, Any]:
        """Write an image of some classes and its mask [H, W], by which ``found`` is defect; returns
        their paths and digests for the manifest, and whether the mask is binary.
        """
        if self.binary:
            mask = np.uint8(255) * found
        files: dict[str, Any] = {"binary": self.binary}
        home = AND.join(self.model.info.folders[one] for one in classes)
        for kind, content in (("output", picture), ("mask", Picture(mask[..., None]))):
            folder = "images" if kind == "output" else "masks"
            name = f"{row.name}{suffix_of(content)}"
            path = Path(folder) / home / name
            data = encode(content)
            write_atomically(self.out / path, data, sync=False)
            files |= {kind: path.as_posix(), f"{kind}_sha256": digest(data)}
        return files

    def record(self, rows: list[ManifestRow]) -> None:
        """Append finished rows to the manifest."""
        append_rows(self.home, rows)

    def give_up(self, images: list[GivenUp]) -> None:
        """Write down images that are not made."""
        append_given_up(self.home, images)

    def given_up(self) -> dict[int, GivenUp]:
        """Images that were given up before, by their numbers: they would be again."""
        places = [self.home, *self.shard.other_manifests(self.out)]
        lost = _by_number(one for place in places for one in given_up(place))
        return {number: one for number, one in lost.items() if self.shard.has(number)}

    def put_in_order(self) -> None:
        """Sort the manifest and what was given up by number: what was taken away or rejected and
        made again stands further down.
        """
        sort_rows(self.home)


def _by_number(images: Iterable[GivenUp]) -> dict[int, GivenUp]:
    return {one.number: one for one in images}
