"""Names that people give and that become names of files: which ones a class may have, and how a
file or folder is called after them.
"""

import os
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from defectgan.errors import DataError

# Bytes of a name. File systems take 143 to 255, and a number or an extension may stand behind it.
LONGEST = 100
# What some systems take for a device, also with an extension behind it.
_PORTS = (f"{port}{n}" for port in ("com", "lpt") for n in "0123456789\u00b9\u00b2\u00b3")
DEVICES = frozenset(("con", "prn", "aux", "nul", "conin$", "conout$", *_PORTS))
SEPARATORS = re.compile(r"[\\/]")
_ABSOLUTE = re.compile(r"[\\/]|[A-Za-z]:[\\/]")
_FORBIDDEN = frozenset('<>:"/\\|?*')


def name_fault(name: Any) -> str | None:
    """Why nothing can be a class of this name; None where it can.

    A name that would be awkward as a folder's is no fault: see ``safe_name``.
    """
    if not isinstance(name, str):
        return f"{name!r} is not a text"
    if not name.strip():
        return f"{name!r} is empty"
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        return f"{name!r} holds a control character or bytes that are not UTF-8"
    if _ABSOLUTE.match(name) or any(p in (".", "..") for p in SEPARATORS.split(name)):
        return f"{name!r} is a path, not the name of a class"
    return None


def class_name(name: Any, where: str) -> str:
    """The name of a class that was found somewhere.

    Raises:
        DataError: if nothing can be called so; says where it was found.
    """
    if (fault := name_fault(name)) is not None:
        raise DataError(f"{where} names a class that cannot be: {fault}; give it another name")
    return str(name)


def same_name(one: str, other: str) -> bool:
    """Whether two names differ at most in how their letters are composed, as keyboards and disks
    have them.
    """
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def safe_name(name: str, *, empty: str = "class") -> str:
    """The name as every file system takes it for one file or folder of its own: most names as they
    are, in others a dash in the place of what cannot stand there.

    It is never empty, hidden, a path, or longer than LONGEST bytes.

    Args:
        name: any text.
        empty: for a name of which nothing would be left.
    """
    text = "".join(
        "-" if c in _FORBIDDEN or not c.isprintable() else c
        for c in unicodedata.normalize("NFC", name)
    )
    text = clipped(text.strip(" .-")).rstrip(" .-") or empty
    return f"_{text}" if text.partition(".")[0].strip().casefold() in DEVICES else text


def plain_name(name: str) -> str:
    """A safe name for what a person types: letters, digits, dots and underscores, everything else
    turned into dashes.
    """
    return safe_name(re.sub(r"[^\w.-]+", "-", name), empty="run")


def readable_name(name: str) -> str:
    """The name of a file, with dashes in the place of bytes that are no text."""
    data = os.fsencode(name)
    text = data.decode("utf-8", "replace").replace("\N{REPLACEMENT CHARACTER}", "-")
    return name if text.encode() == data else os.fsdecode(text.encode())


def clipped(name: str) -> str:
    """The name, or of a longer one the first LONGEST bytes."""
    data = os.fsencode(name)
    if len(data) <= LONGEST:
        return name
    return os.fsdecode(data[:LONGEST].decode(errors="ignore").encode())


def safe_folders(names: Iterable[str]) -> dict[str, str]:
    """The folder of each class: its safe name, with a number behind it where an earlier class has
    that one already, as some file systems tell names apart that differ in case or in how an accent
    is written, and others do not.
    """
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        stem = safe_name(name)
        folder, count = stem, 1
        while _folded(folder) in taken:
            count += 1
            folder = f"{stem}-{count}"
        taken.add(_folded(folder))
        folders[name] = folder
    return folders


def _folded(name: str) -> str:
    """The same text for names that any file system may take for the same."""
    for _ in range(2):  # folding may leave what is not normalized, and the other way round
        name = unicodedata.normalize("NFKC", name).casefold()
    return name
