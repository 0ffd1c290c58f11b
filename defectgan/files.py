"""Files that are written whole or not at all, and files that grow line by line."""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from defectgan.errors import DataError

# Letters of a name that leave room for what is put round it.
LONGEST = 60


@contextmanager
def atomic_path(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; synced and renamed to ``path`` when the block
    ends well. What can be made again need not be synced: a kill leaves it whole, a power cut may
    not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name may be as long as a file system takes.
    name = path.name
    if len(name) > LONGEST:
        name = f"{name[:LONGEST]}-{digest(os.fsencode(name))[:8]}"
    part = path.with_name(f".{name}.part")
    try:
        with _named(path):
            yield part
            if sync:
                with part.open("r+b") as file:
                    os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let an error of the system say which file it is about: a full disk says it of none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def new_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """The paths of files in a folder that holds none of them yet.

    Raises:
        DataError: if it holds one.
    """
    files = [folder / name for name in names]
    for path in files:
        if path.exists():
            raise DataError(f"{path} is there already: name another folder, nothing was written")
    return files


def write_atomically(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file whole or not at all; ``sync`` as of ``atomic_path``."""
    with atomic_path(path, sync=sync) as part:
        part.write_bytes(data)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON Lines file, none if there is no file; a last line that a kill cut
    short is left out.

    Raises:
        DataError: if another line is damaged; says which.
    """
    return list(each_json_line(path))


def each_json_line(path: Path) -> Iterator[dict[str, Any]]:
    """As ``read_json_lines``, one after the other."""
    for where, line in each_whole_line(path):
        yield parse_object(line, where)


def each_whole_line(path: Path) -> Iterator[tuple[str, bytes]]:
    """The whole lines of a file, each with where it stands; none if there is no file."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for n, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield f"line {n} of {path}", line


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        DataError: if it is damaged.
    """
    return parse_object(path.read_bytes(), str(path))


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """A JSON object; ``where`` says in messages which one.

    Raises:
        DataError: if it is none.
    """
    try:
        tree = json.loads(text.decode("utf-8"))
    except json.JSONDecodeError as error:  # whose own line number is that of the text alone
        raise DataError(
            f"{where} is damaged: {error.msg} at character {error.pos + 1}; expected a JSON "
            "object: mend or remove it"
        ) from error
    except ValueError as error:
        raise DataError(
            f"{where} is damaged: {error}; expected a JSON object: mend or remove it"
        ) from error
    if not isinstance(tree, dict):
        raise DataError(
            f"{where} is damaged: found {json.dumps(tree)[:40]}; expected a JSON object: mend or "
            "remove it"
        )
    return tree


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON Lines file whole or not at all; the rows may be read from that very file."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def sort_json_lines(path: Path, key: str) -> None:
    """Bring the lines of a JSON Lines file into the order of one of their values, if they are not;
    no more of it is in memory at once than a line and where the others begin.
    """
    order, start = [], 0
    with path.open("rb") as file:
        for line in file:
            order.append((json.loads(line)[key], start))
            start += len(line)
    if order == sorted(order):
        return
    with atomic_path(path) as part, part.open("wb") as new, path.open("rb") as file:
        for _, start in sorted(order):
            file.seek(start)
            new.write(file.readline())


def append_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows to a JSON Lines file; they are on the disk when this returns, and where they
    cannot be written the file stays as it was. A last line that was cut short makes room.
    """
    with _named(path), path.open("a+b", buffering=0) as file:
        before = _whole_lines(file)
        file.truncate(before)
        try:
            data = _json_lines(rows).encode()
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise


def _whole_lines(file: io.RawIOBase) -> int:
    """How many bytes of a file are whole lines."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            return file.readall().rfind(b"\n") + 1
    return end


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def sync_all() -> None:
    """Bring what was written, by anybody, onto the disk, where the system can."""
    if hasattr(os, "sync"):
        os.sync()


def cache_folder() -> Path:
    """Where things are kept that can be made again: ``DEFECTGAN_CACHE``, or the user's cache."""
    if named := os.environ.get("DEFECTGAN_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "defectgan"


def sha256(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(data: bytes) -> str:
    """The SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()
