"""Facts about files, kept between runs: a file that has not changed is not read again."""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from defectgan.data.masks import region_digest
from defectgan.errors import DataError
from defectgan.files import cache_folder, sha256
from defectgan.heads import probe

T = TypeVar("T")
# Size in bytes and time of change in nanoseconds; None for a file that is not there.
Stamp = tuple[int, int] | None

# Another number whenever a fact says something else than before.
FILE = "files-3.sqlite"
# Reading heads waits for the disk, not for the processor.
READERS = 16
# Files that are looked at before what was found is written down.
CHUNK = 5000
# A file that changed so recently, in seconds, may change again without its time of change telling.
RACY = 2.0

_TABLE = """create table if not exists facts (
    path blob, kind text, size integer, mtime_ns integer, fact text, primary key (path, kind)
) without rowid"""


class Facts:
    """What was found in files, by path, size and time of change, in one database a user.

    ``problem`` says why nothing could be kept, where that is so: a training goes on without.
    """

    def __init__(self) -> None:
        self.path = cache_folder() / FILE
        self.problem: str | None = None

    def of(
        self, kind: str, files: Iterable[Path], look: Callable[[Path], T]
    ) -> dict[Path, T | DataError]:
        """What ``look`` finds in each file, or why it cannot.

        Args:
            kind: tells facts of different sorts apart.
            files: where to look, in parallel.
            look: gives something that JSON can hold; a DataError is kept for this time only.
        """
        facts: dict[Path, T | DataError] = {}
        waiting = list(dict.fromkeys(files))
        for start in range(0, len(waiting), CHUNK):
            facts |= self._chunk(kind, waiting[start : start + CHUNK], look)
        return facts

    def _chunk(
        self, kind: str, files: Sequence[Path], look: Callable[[Path], T]
    ) -> dict[Path, T | DataError]:
        def attempt(file: Path) -> T | DataError:
            try:
                return look(file)
            except DataError as error:
                return error

        settled = time.time_ns() - RACY * 1e9
        with ThreadPoolExecutor(READERS) as pool:
            stamps = dict(zip(files, pool.map(_stamp, files), strict=True))
            known = self._recall(kind, stamps)
            unknown = [file for file in files if file not in known]
            found = dict(zip(unknown, pool.map(attempt, unknown), strict=True))
        steady = {f: stamp for f, stamp in stamps.items() if stamp and stamp[1] < settled}
        self._keep(kind, steady, found)
        return {file: found[file] if file in found else known[file] for file in files}

    def _recall(self, kind: str, stamps: Mapping[Path, Stamp]) -> dict[Path, Any]:
        known = {}
        try:
            with closing(self._database()) as database:
                for file, stamp in stamps.items():
                    row = database.execute(
                        "select size, mtime_ns, fact from facts where path = ? and kind = ?",
                        (_key(file), kind),
                    ).fetchone()
                    if row is not None and row[:2] == stamp:
                        known[file] = json.loads(row[2])
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)
            return {}
        return known

    def _keep(
        self,
        kind: str,
        stamps: Mapping[Path, tuple[int, int]],
        found: Mapping[Path, T | DataError],
    ) -> None:
        rows = [
            (_key(file), kind, *stamps[file], json.dumps(fact))
            for file, fact in found.items()
            if file in stamps and not isinstance(fact, DataError)
        ]
        try:
            with closing(self._database()) as database, database:
                database.executemany("insert or replace into facts values (?, ?, ?, ?, ?)", rows)
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def _database(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path)
        database.execute(_TABLE)
        return database

    def _give_up(self, error: Exception) -> None:
        self.problem = f"what is found in the images cannot be kept in {self.path}: {error}"


def _key(file: Path) -> bytes:
    # A name need not be text in any encoding.
    return os.fsencode(file.absolute())


def _stamp(file: Path) -> Stamp:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def digests(files: Iterable[Path]) -> dict[Path, str]:
    """The SHA-256 of the content of each file.

    Raises:
        DataError: if one cannot be read.
    """
    return _all("sha256", files, sha256)


def mask_digests(files: Iterable[Path]) -> dict[Path, str]:
    """The SHA-256 of the pixels of each true mask.

    Raises:
        DataError: if one cannot be read.
    """
    return _all("region_sha256", files, region_digest)


def _all(kind: str, files: Iterable[Path], look: Callable[[Path], str]) -> dict[Path, str]:
    found = Facts().of(kind, files, look)
    for digest in found.values():
        if isinstance(digest, DataError):
            raise digest
    return {file: str(digest) for file, digest in found.items()}


def readable(files: Sequence[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The images of these files whose head can be read, and the others, each with its reason."""
    heads = Facts().of("header", files, probe)
    good = [file for file in files if not isinstance(heads[file], DataError)]
    return good, [(file, str(e)) for file, e in heads.items() if isinstance(e, DataError)]
