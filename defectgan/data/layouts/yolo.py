"""YOLO: data.yaml, or classes.txt, with the names of the classes, images/ and labels/ with a text
file for each image; a line has a class and a box, or a polygon, which is a true mask. An image
without a text file, or with an empty one, is good, as YOLO takes it.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from defectgan.data.facts import Facts
from defectgan.data.layouts.base import Listing, annotated, letters
from defectgan.data.layouts.texts import files_ending, read_text
from defectgan.data.outlines import box_of, outline_of
from defectgan.data.samples import TRAIN, Mark, Sample, split_name
from defectgan.data.walk import Found, find_images
from defectgan.errors import DataError
from defectgan.heads import probe
from defectgan.names import class_name
from defectgan.words import counted

LISTS = ("classes.txt", "obj.names", "class.names", "predefined_classes.txt")
LABELS, IMAGES = ("labels", "Labels", "labelTxt"), ("images", "jpegimages", "imgs", "img")


def _settings(root: Path) -> Path | None:
    """The YAML file of a set, or its list of classes."""
    if root.is_file():
        return root if root.suffix.lower() in (".yaml", ".yml") else None
    if not root.is_dir():
        return None
    for path in sorted(root.glob("*.y*ml"), key=lambda p: (p.stem != "data", p.name)):
        if path.is_file() and path.name[0] != "." and _holds_names(path):
            return path
    lists = [root / name for name in LISTS] + [root / "labels" / name for name in LISTS]
    return next((path for path in lists if path.is_file() and _has_labels(root)), None)


def _holds_names(path: Path) -> bool:
    try:
        tree = yaml.safe_load(read_text(path)[0])
    except (DataError, yaml.YAMLError):
        return False
    splits = isinstance(tree, dict) and any(split_name(str(key)) for key in tree)
    return splits and isinstance(tree.get("names"), list | dict)


def _has_labels(root: Path) -> bool:
    return any(p.name not in LISTS for p in files_ending(root, ".txt"))


def recognises(root: Path) -> bool:
    return _settings(root) is not None


def read(root: Path, normal: str | None) -> Listing:
    """The listing of images and their text files."""
    path = _settings(root)
    if path is None:
        raise DataError(
            f"no data.yaml in {root}: expected one with names and train, or classes.txt beside "
            "images/ and labels/"
        )
    folder = path.parent if root.is_file() else root
    names, places = _read_settings(path, folder)
    reader = _Reader(names)
    for split, images in places.items():
        reader.take(images, split)
    return annotated(
        folder,
        "yolo",
        normal,
        list(reader.samples.values()),
        names=names,
        notes=reader.notes_of(),
        skipped=reader.found.skipped,
        aside=reader.found.aside,
    )


def _read_settings(path: Path, root: Path) -> tuple[list[str], dict[str, Found]]:
    """The names of the classes in order, and the images of each split."""
    text, _ = read_text(path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        names = [class_name(n.strip(), str(path)) for n in text.splitlines() if n.strip()]
        return names, _by_folder(root)
    try:
        tree = yaml.safe_load(text)
        listed = tree["names"]
        ordered = [listed[k] for k in sorted(listed)] if isinstance(listed, dict) else listed
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no settings of YOLO: {error}; expected names and train"
        ) from error
    names = [class_name(str(name), str(path)) for name in ordered]
    places: dict[str, Found] = {}
    for key, value in tree.items():
        if (split := split_name(str(key))) is not None and value:
            for one in value if isinstance(value, list) else [value]:
                place = _place(str(one), str(tree.get("path") or ""), root)
                seen = _images(place, root)
                places[split] = places.get(split, Found([], [], [])) + seen
    if not places:
        return names, _by_folder(root)
    return names, places


def _by_folder(root: Path) -> dict[str, Found]:
    """All images below a folder, by the split that a folder of theirs is called after."""
    found = find_images(root)
    places = {TRAIN: Found([], found.skipped, found.aside)}
    for image in found.images:
        words = [split_name(part) for part in image.relative_to(root).parts[:-1]]
        split = next((word for word in words if word), TRAIN)
        places.setdefault(split, Found([], [], [])).images.append(image)
    return places


def _place(value: str, base: str, root: Path) -> Path:
    """What an entry means, whatever computer and folder it was written on: by its last parts."""
    parts = [p for p in value.replace("\\", "/").split("/") if p not in ("", ".", "..")]
    for start in (Path(base, value), root / base / value, root / value):
        if start.exists() and (start.is_file() or start.resolve() != root.resolve().parent):
            return start
    for k in range(len(parts)):
        if (there := root.joinpath(*parts[k:])).exists():
            return there
    raise DataError(
        f"the images {value} that the settings of YOLO name are not in {root}: expected a folder "
        f"or a list such as {'/'.join(parts[-2:])}"
    )


def _images(place: Path, root: Path) -> Found:
    """The images of a folder, or of a list of files."""
    if place.is_dir():
        return find_images(place)
    lines = [line.strip() for line in read_text(place)[0].splitlines() if line.strip()]
    return Found([_place(line, "", root) for line in lines], [], [])


class _Reader:
    """Reads the text file of each image."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.samples: dict[Path, Sample] = {}
        self.found = Found([], [], [])
        self._notes: list[str] = []
        self._bare = 0

    def notes_of(self) -> list[str]:
        """What a person should know."""
        if self._bare:
            return [
                f"{counted(self._bare, 'image')} without a text file: good, as YOLO takes it",
                *self._notes,
            ]
        return self._notes

    def take(self, found: Found, split: str) -> None:
        """The images of a split."""
        self.found += Found([], found.skipped, found.aside)
        labels = {image: _label_file(image) for image in found.images}
        there = [image for image, path in labels.items() if path is not None]
        heads = Facts().of("header", there, probe)
        for image, path in labels.items():
            head = heads.get(image)
            if path is None or head is None or isinstance(head, DataError):
                self._bare += path is None
                self.samples[image] = Sample(image, (), split=split)
                continue
            try:
                self._one(image, path, (head[0], head[1]), split)
            except DataError as error:
                self.found.skipped.append((image, str(error)))

    def _one(self, image: Path, path: Path, size: tuple[int, int], split: str) -> None:
        marks, labels, bad = [], [], []
        for n, line in enumerate(read_text(path)[0].splitlines(), start=1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            origin = f"line {n} of {path}"
            try:
                label = self.names[_number(words[0], len(self.names))]
                labels.append(label)
                marks.append(_mark(words[1:], size, label, origin))
            except ValueError as error:
                bad.append(f"{origin} is left out: {error}")
        if bad and not labels:
            raise DataError(f"{image}: nobody can tell what is in it: {bad[0]}")
        if bad:
            marks = [mark._replace(outline=None) for mark in marks]
        self._notes += bad
        self.samples[image] = Sample(image, tuple(labels), marks=tuple(marks), split=split)


def _number(word: str, count: int) -> int:
    try:
        number = int(float(word))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"its class is {word}, expected a number") from error
    if not 0 <= number < count:
        raise ValueError(f"its class is {word}, the settings name {count}")
    return number


def _mark(words: Sequence[str], size: tuple[int, int], label: str, origin: str) -> Mark:
    """A box, by its middle and size, or a polygon, in shares of the image's sides."""
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise ValueError(f"found {' '.join(words)[:60]}, expected numbers") from error
    if len(values) < 4 or not all(math.isfinite(v) and -1 <= v <= 2 for v in values):
        raise ValueError(
            f"found {' '.join(words)[:60]}, expected x, y, width, height or a polygon, in "
            "shares of the image"
        )
    width, height = size
    if len(values) <= 5:  # the fifth is how sure a detector was
        x, y, w, h = values[:4]
        if w <= 0 or h <= 0:
            raise ValueError(f"a box of the size {w:g} x {h:g}")
        box = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
        return Mark(box, label, origin=origin)
    scaled = [v * (width, height)[i % 2] for i, v in enumerate(values)]
    polygon: list[Any] = [scaled]
    return Mark(box_of(polygon), label, outline_of(polygon), origin)


def _label_file(image: Path) -> Path | None:
    """The text file of an image: beside it, or where labels/ stands in the place of images/."""
    name, parts = f"{image.stem}.txt", image.parts
    places = [image.parent]
    for i in range(len(parts) - 2, -1, -1):
        if letters(parts[i]) in IMAGES:
            base, below = Path(*parts[:i]), parts[i + 1 : -1]
            places += [base.joinpath(label, *below) for label in LABELS]
            break
    for base in (image.parent, image.parent.parent):
        places += [base / label for label in LABELS]
    return next((path for place in places if (path := place / name).is_file()), None)
