"""Files that are written whole or not at all, and files that grow line by line."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from defectgan.errors import DataError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; synced and renamed to ``path`` when the block
    ends well.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with atomic_path(path) as part:
        part.write_bytes(data)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON Lines file, none if there is no file; a last line that a kill cut
    short is left out.

    Raises:
        DataError: if another line is damaged; says which.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    return [parse_object(line, f"line {n} of {path}") for n, line in enumerate(lines[:-1], start=1)]


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
    except ValueError as error:
        raise DataError(
            f"{where} is damaged: {error}; expected a JSON object: mend or remove it"
        ) from error
    if not isinstance(tree, dict):
        raise DataError(
            f"{where} is damaged: found a {type(tree).__name__}; expected a JSON object: mend or "
            "remove it"
        )
    return tree


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON Lines file whole or not at all."""
    write_atomically(path, _json_lines(rows).encode())


def append_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows to a JSON Lines file; they are on the disk when this returns, and where they
    cannot be written the file stays as it was.
    """
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            data = _json_lines(rows).encode()
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def cache_folder() -> Path:
    """Where things are kept that can be made again: ``DEFECTGAN_CACHE``, or the user's cache."""
    if named := os.environ.get("DEFECTGAN_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "defectgan"


def sha256(path: Path) -> str:
    """The digest of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
