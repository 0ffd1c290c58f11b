"""The index: which classes a data folder has, and which files belong to them.

ROOT/normal/...            the good images; also called good, ok, free or defect-free
ROOT/<defect>/...          one folder a class of defects, images at any depth
ROOT/masks/<defect>/...    optional true masks for measuring, <path below the class>.png
"""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from defectgan.errors import DataError
from defectgan.files import write_atomically
from defectgan.images import EXPECTED, channels_of, find_images

NORMAL_NAMES = ("normal", "good", "ok", "free", "defect-free")
NEVER_CLASSES = ("masks", "ground_truth")


@dataclass(frozen=True)
class Index:
    """The files of a data folder.

    ``classes`` names the K classes, the normal one first; ``files[k]`` holds the images of class k,
    sorted; ``channels`` is 1 where every image is gray; ``skipped`` lists files that could not be
    used, each with its reason.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[Path, ...], ...]
    channels: int
    skipped: tuple[tuple[Path, str], ...] = field(default=())

    def mask_of(self, path: Path) -> Path | None:
        """The true mask of an image, or None where there is none."""
        mask = (self.root / "masks" / path.relative_to(self.root)).with_suffix(".png")
        return mask if mask.is_file() else None

    def spread(self, k: int, count: int) -> list[int]:
        """Numbers of ``count`` images of class k, spread evenly over its files."""
        total = len(self.files[k])
        return [i * total // min(count, total) for i in range(min(count, total))]

    def counts(self) -> dict[str, int]:
        """How many images each class has."""
        return {c: len(f) for c, f in zip(self.classes, self.files, strict=True)}


def index_folder(
    root: Path, *, classes: Sequence[str] | None = None, normal_class: str | None = None
) -> Index:
    """Read a folder that holds one folder a class.

    Args:
        root: the data folder.
        classes: the defect classes, in the order that the model will have; None takes all, sorted
            by name.
        normal_class: the folder of good images; None finds it by its name.

    Raises:
        DataError: if there is no such folder, no normal class, an unknown or an empty class; says
            what was found.
    """
    folders = _class_folders(root)
    normal = _find_normal(root, folders, normal_class)
    names = [n for n in folders if n != normal] if classes is None else list(classes)
    if not names:
        raise DataError(
            f"no defect classes in {root}: found only the folder {normal}; expected one more "
            "folder for each defect"
        )
    for name in names:
        _check_class(root, name, folders, normal)
    if len(set(names)) < len(names):
        raise DataError(f"the classes {', '.join(names)} name one twice: name each class once")
    skipped: list[tuple[Path, str]] = []
    ordered = (normal, *names)
    channels = 1
    files = []
    for name in ordered:
        kept = []
        for path in find_images(folders[name]):
            try:
                channels = max(channels, channels_of(path))
                kept.append(path)
            except DataError as error:
                skipped.append((path, str(error)))
        if not kept:
            raise DataError(_empty_class(folders[name], skipped))
        files.append(tuple(kept))
    return Index(root, ordered, tuple(files), channels, tuple(skipped))


def write_split(path: Path, index: Index) -> None:
    """Record which files a training learns from, relative to the data folder."""
    record = {
        "root": str(index.root.resolve()),
        "channels": index.channels,
        "train": {
            name: [str(f.relative_to(index.root)) for f in files]
            for name, files in zip(index.classes, index.files, strict=True)
        },
    }
    write_atomically(path, json.dumps(record, indent=1).encode())


def read_split(path: Path, *, root: Path | None = None) -> Index:
    """The index that ``write_split`` recorded, below another root if the data has moved.

    Raises:
        DataError: if the record or one of its files is gone.
    """
    if not path.is_file():
        raise DataError(
            f"no {path.name} in {path.parent}: it is not a run folder, or a damaged one"
        )
    record = json.loads(path.read_text(encoding="utf-8"))
    root = root or Path(record["root"])
    files = tuple(tuple(root / f for f in names) for names in record["train"].values())
    if gone := [f for names in files for f in names if not f.is_file()]:
        raise DataError(
            f"{len(gone)} of the images of this run are gone, the first: {gone[0]}; bring them "
            "back, or say where the data is now"
        )
    return Index(root, tuple(record["train"]), files, record["channels"])


def _class_folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise DataError(
            f"the data folder {root}: found {found}; expected a folder with one folder a class"
        )
    folders = {
        p.name: p
        for p in sorted(root.iterdir())
        if p.is_dir() and p.name.lower() not in NEVER_CLASSES and not p.name.startswith((".", "__"))
    }
    if not folders:
        raise DataError(
            f"no class folders in {root}: expected a folder called {NORMAL_NAMES[0]} with good "
            "images and one folder "
            "for each defect"
        )
    return folders


def _find_normal(root: Path, folders: dict[str, Path], wanted: str | None) -> str:
    if wanted is not None:
        if wanted in folders:
            return wanted
        raise DataError(
            f"no folder {wanted} for the normal class in {root}{_found(folders, wanted)}"
        )
    matches = [n for n in folders if n.lower() in NORMAL_NAMES]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise DataError(
            f"{root} has several folders for the normal class ({', '.join(matches)}): say which "
            "one it is"
        )
    below = [
        n for n, p in folders.items() if any(q.name.lower() in NORMAL_NAMES for q in p.iterdir())
    ]
    if below:
        hint = f"; {' and '.join(str(root / n) for n in below)} would do: name one of them"
    else:
        hint = f"; expected {', '.join(NORMAL_NAMES)}, or the name of the one with good images"
    raise DataError(f"no normal class in {root}: found {', '.join(folders)}{hint}")


def _check_class(root: Path, name: str, folders: dict[str, Path], normal: str) -> None:
    if name == normal:
        raise DataError(
            f"{name} is the normal class: it is always used, leave it out of the defect classes"
        )
    if name not in folders:
        raise DataError(f"no class {name} in {root}{_found(folders, name)}")


def _found(folders: dict[str, Path], wanted: str) -> str:
    near = difflib.get_close_matches(wanted.lower(), [n.lower() for n in folders], n=1)
    meant = next((n for n in folders if near and n.lower() == near[0]), None)
    suggestion = f"; did you mean {meant}?" if meant else ""
    return f": found {', '.join(folders)}{suggestion}"


def _empty_class(folder: Path, skipped: list[tuple[Path, str]]) -> str:
    damaged = [reason for path, reason in skipped if path.is_relative_to(folder)]
    if damaged:
        return (
            f"no usable images in {folder}: {len(damaged)} could not be read, the first: "
            f"{damaged[0]}"
        )
    return f"no images in {folder}: expected {EXPECTED} files"
