"""Where a YOLO set says what its classes are called and which images it has: data.yaml, Darknet's
obj.data, or a list of names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from defectgan.data.layouts.base import split_of, subfolders
from defectgan.data.layouts.texts import files_ending, read_text
from defectgan.data.pairing import stem_of
from defectgan.data.places import Places
from defectgan.data.samples import TRAIN, split_name
from defectgan.data.walk import Found, find_images
from defectgan.errors import DataError
from defectgan.names import class_name

# Lists of the names of classes: of Label Studio, Darknet, and Roboflow's form of that.
LISTS = ("classes.txt", "obj.names", "class.names", "predefined_classes.txt", "_darknet.labels")
# Text files by which the layout is told where nothing names the classes.
LOOKED_AT = 20


@dataclass
class YoloSet:
    """What the settings of a set say: the names of the classes in order, None where nothing names
    them; the images of each split; and what a person should know.
    """

    names: list[str] | None
    places: dict[str, Found] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, split: str, found: Found) -> None:
        self.places[split] = self.places.get(split, Found([], [], [])) + found


def settings_in(root: Path) -> Path | None:
    """The file that names the classes of a set: YAML, Darknet's obj.data, or a list."""
    if root.is_file():
        return root if root.suffix.lower() in (".yaml", ".yml", ".data") else None
    if not root.is_dir():
        return None
    for path in sorted(root.glob("*.y*ml"), key=lambda p: (p.stem != "data", p.name)):
        if path.is_file() and path.name[0] != "." and _holds_names(path):
            return path
    if (darknet := root / "obj.data").is_file() and "names" in _pairs(darknet):
        return darknet
    lists = [p for p in files_ending(root, LISTS, depth=3) if p.name in LISTS]
    return min(lists, key=lambda p: len(p.parts)) if lists and label_files(root) else None


def _holds_names(path: Path) -> bool:
    try:
        tree = yaml.safe_load(read_text(path)[0])
    except (DataError, yaml.YAMLError):
        return False
    splits = isinstance(tree, dict) and any(split_name(str(key)) for key in tree)
    return splits and isinstance(tree.get("names"), list | dict)


def _pairs(path: Path) -> dict[str, str]:
    """What Darknet's settings say, ``key = value`` a line."""
    lines = (line.partition("=") for line in read_text(path)[0].splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in lines}


def label_files(root: Path) -> list[Path]:
    """Some text files that are written as labels are, called like images; none where one called so
    is not.
    """
    texts = [p for p in files_ending(root, ".txt") if p.name not in LISTS]
    if not texts:
        return []
    stems = {stem_of(image) for image in find_images(root).images}
    some = list(islice((p for p in texts if stem_of(p) in stems), LOOKED_AT))
    return some if all(map(is_label_file, some)) else []


def is_label_file(path: Path) -> bool:
    """Whether each line of a text file is a class and at least four shares of an image's sides."""
    try:
        lines = [line.split() for line in read_text(path)[0].splitlines() if line.strip()]
        return all(
            len(words) >= 5 and words[0].isdigit() and all(-1 <= float(v) <= 2 for v in words[1:])
            for words in lines
        )
    except (DataError, ValueError):
        return False


def names_in(path: Path) -> list[str]:
    lines = read_text(path)[0].splitlines()
    return [class_name(line.strip(), str(path)) for line in lines if line.strip()]


def read_settings(path: Path, root: Path) -> YoloSet:
    """What YAML or Darknet's settings say."""
    try:
        if path.suffix.lower() == ".data":
            tree: dict[str, Any] = dict(_pairs(path))
            names = names_in(_place(tree["names"], "", root))
        else:
            tree = yaml.safe_load(read_text(path)[0])
            listed = tree["names"]
            ordered = [listed[k] for k in sorted(listed)] if isinstance(listed, dict) else listed
            names = [class_name(str(name), str(path)) for name in ordered]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no settings of YOLO: {error}; expected names and train"
        ) from error
    told = YoloSet(names)
    for key, value in tree.items():
        if (split := split_name(str(key))) is None or not value:
            continue
        for one in value if isinstance(value, list) else [value]:
            try:
                told.add(split, _images(_place(str(one), str(tree.get("path") or ""), root), root))
            except DataError as error:
                if split == TRAIN:
                    raise
                told.notes.append(f"{error}; it goes on without")
    if not told.places:
        told.places = by_folder(root)
    return told


def by_folder(root: Path) -> dict[str, Found]:
    """All images below a folder, by the split that a folder of theirs is called after."""
    found = find_images(root)
    places = {TRAIN: Found([], found.skipped, found.aside)}
    for image in found.images:
        split = split_of(image, root) or TRAIN
        places.setdefault(split, Found([], [], [])).images.append(image)
    return places


def _place(value: str, base: str, root: Path) -> Path:
    """What an entry means, whatever computer and folder it was written on: by its last parts, in
    any of the ways in which a split is called.
    """
    parts = [p for p in value.replace("\\", "/").split("/") if p not in ("", ".", "..")]
    for start in (Path(base, value), root / base / value, root / value):
        if start.exists() and (start.is_file() or start.resolve() != root.resolve().parent):
            return start
    for k in range(len(parts)):
        if (there := _followed(root, parts[k:])) is not None:
            return there
    raise DataError(
        f"the images {value} that the settings of YOLO name are not in {root}: expected a folder "
        f"or a list such as {'/'.join(parts[-2:])}"
    )


def _followed(root: Path, parts: Sequence[str]) -> Path | None:
    """The file or folder of these parts below a folder; None where there is none."""
    for part in parts:
        split = split_name(part)
        names = subfolders(root) if root.is_dir() else {}
        called = [p for name, p in names.items() if split and split_name(name) == split]
        root = root / part if (root / part).exists() or not called else called[0]
    return root if root.exists() else None


def _images(place: Path, root: Path) -> Found:
    """The images of a folder, or of a list of files."""
    if place.is_dir():
        return find_images(place)
    lines = [line.strip() for line in read_text(place)[0].splitlines() if line.strip()]
    places = Places(root)
    return Found([places(line, [root]) for line in lines], [], [])
