"""Text files as other programs write them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from defectgan.data.walk import is_aside
from defectgan.errors import DataError

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UTF32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")


def read_text(path: Path) -> tuple[str, list[str]]:
    """The text of a file, and what was guessed of its encoding.

    Raises:
        DataError: if it cannot be read, or is in an encoding that nobody can guess.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    try:
        if data.startswith(_UTF32):
            return data.decode("utf-32"), []
        if data.startswith(_UTF16):
            return data.decode("utf-16"), []
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            raise DataError(
                f"cannot read {path}: it is not UTF-8 ({error.reason} at byte {error.start}); save "
                "it as UTF-8"
            ) from error
        return text, [
            f"{path} is not UTF-8: read as Windows-1252; save it as UTF-8 if names are wrong"
        ]
    if text.count("\0") > len(text) / 4:
        raise DataError(f"cannot read {path}: it seems to be UTF-16; save it as UTF-8")
    return text, []


def read_tree(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: if it is damaged.
    """
    text, _ = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}; expected JSON: write it anew") from error


def files_ending(root: Path, suffix: str | tuple[str, ...], *, depth: int = 6) -> Iterator[Path]:
    """The files of an ending, or one of some, at most so deep below a folder, sorted within each
    folder.
    """
    if not root.is_dir():
        return
    for parent, folders, files in os.walk(root):
        here = Path(parent)
        level = len(here.relative_to(root).parts)
        folders[:] = sorted(folders) if level < depth else []
        for name in sorted(files):
            if name.lower().endswith(suffix) and not is_aside(here / name, root):
                yield here / name
