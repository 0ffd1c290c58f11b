"""Where the images are that annotations name: with folders, backslashes, the drive of another
computer, an address on the web, or letters that are composed otherwise than on the disk.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from defectgan.data.walk import Found, find_images

# What Label Studio puts before the name of a file that was brought to it.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")


def spelled(name: str) -> str:
    """A name as the system's calls take it, also where its encoding is not UTF-8; a zero byte,
    which no name has, is a mark of what is no text.
    """
    text = name.replace("\0", "\N{REPLACEMENT CHARACTER}")
    try:
        return os.fsdecode(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # half a character, as JSON can write it
        return os.fsdecode(text.encode("utf-8", "replace"))


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; a name that no folder can have is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def same_letters(name: str) -> str:
    """One text for names that differ in case or in how their letters are composed alone."""
    text = os.fsencode(name).decode("utf-8", "surrogateescape")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


class Places:
    """Finds files below a folder by what annotations call them."""

    def __init__(self, root: Path, *, only: Iterable[Path] | None = None) -> None:
        """Args: where to look; the files to find, by default all images."""
        self.root = root
        self._only = only
        self._found: Found | None = None
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}

    @property
    def found(self) -> Found:
        """All images below the folder."""
        if self._found is None:
            self._found = find_images(self.root)
            for file in self._found.images if self._only is None else self._only:
                self._by_name.setdefault(same_letters(file.name), []).append(file)
                self._by_stem.setdefault(same_letters(file.stem), []).append(file)
        return self._found

    def __call__(self, name: str, folders: Sequence[Path] = ()) -> Path:
        """The file that a name means; where there is none, where it was expected.

        Args:
            name: as it is written.
            folders: where names begin, the likeliest first; the root itself is the last.
        """
        bases = [*folders, self.root]
        parts, *decoded = _readings(name)
        for base in bases:
            for path in (base / spelled(name), base.joinpath(*parts)):
                if parts and is_file(path):
                    return path
        for one in (parts, *decoded):
            if (file := self._by_last_parts(one, bases)) is not None:
                return file
        return bases[0].joinpath(*parts or [spelled(name)])

    def _by_last_parts(self, parts: Sequence[str], bases: Sequence[Path]) -> Path | None:
        if not parts:
            return None
        self.found  # noqa: B018 - fills what is looked up
        last = parts[-1]
        for key in dict.fromkeys([last, _UPLOADED.sub("", last)]):
            here = self._by_name.get(same_letters(key)) or self._by_stem.get(same_letters(key))
            stem = self._by_stem.get(same_letters(Path(key).stem))
            for candidates in (here, stem):
                if candidates and (best := _nearest(candidates, parts, bases)) is not None:
                    return best
        return None


def _readings(name: str) -> list[list[str]]:
    """The parts of a path as somebody else's system writes it; where it may be that of an address,
    also as that means it: a name may hold a percent sign of its own.
    """
    plain, decoded = _parts(name), _parts(unquote(name))
    return [plain] if plain == decoded else [plain, decoded]


def _parts(name: str) -> list[str]:
    """The parts of a path as it is written, the last ones of which matter."""
    text = name.strip()
    if "://" in text or text.startswith("/data/"):
        split = urlsplit(text)
        text = unquote(next(iter(parse_qs(split.query).get("d", [])), split.path))
    text = re.sub(r"^[A-Za-z]:", "", text.replace("\\", "/"))
    return [spelled(part) for part in text.split("/") if part not in ("", ".", "..")]


def _nearest(
    candidates: Sequence[Path], parts: Sequence[str], bases: Sequence[Path]
) -> Path | None:
    """The candidate that shares most of the last parts, and lies below the first of the folders;
    None where several are as near.
    """

    def score(file: Path) -> tuple[int, int]:
        mine = [same_letters(part) for part in file.parts[:-1]]
        shared = 0
        for a, b in zip(
            reversed(mine), reversed([same_letters(p) for p in parts[:-1]]), strict=False
        ):
            if a != b:
                break
            shared += 1
        below = next((i for i, base in enumerate(bases) if file.is_relative_to(base)), len(bases))
        return shared, -below

    ranked = sorted(candidates, key=score, reverse=True)
    if len(ranked) > 1 and score(ranked[0]) == score(ranked[1]):
        return None
    return ranked[0]
