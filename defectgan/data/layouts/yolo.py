"""YOLO: data.yaml, obj.data or classes.txt with the names of the classes, images/ and labels/ with
a text file for each image; a line has a class and a box, or a polygon, which is a true mask. An
image without a text file, or with an empty one, is good, as YOLO takes it.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from defectgan.data.facts import Facts
from defectgan.data.layouts.base import Listing, annotated, letters, unlisted
from defectgan.data.layouts.texts import files_ending, read_text
from defectgan.data.layouts.yolo_settings import (
    LISTS,
    YoloSet,
    by_folder,
    is_label_file,
    label_files,
    names_in,
    read_settings,
    settings_in,
)
from defectgan.data.outlines import box_of, outline_of
from defectgan.data.samples import Mark, Sample
from defectgan.data.walk import Found, find_images
from defectgan.errors import DataError
from defectgan.heads import probe
from defectgan.words import counted

LABELS, IMAGES = ("labels", "Labels", "labelTxt"), ("images", "jpegimages", "imgs", "img")


def is_named(root: Path) -> bool:
    """Whether a file names the classes."""
    return settings_in(root) is not None


def recognises(root: Path) -> bool:
    return is_named(root) or (root.is_dir() and any(p.stat().st_size for p in label_files(root)))


def read(root: Path, normal: str | None) -> Listing:
    """The listing of images and their text files."""
    path = settings_in(root)
    folder = path.parent if path is not None and root.is_file() else root
    if path is None:
        told = YoloSet(None, by_folder(root))
    elif path.suffix.lower() in (".yaml", ".yml", ".data"):
        told = read_settings(path, folder)
    else:
        told = YoloSet(names_in(path), by_folder(root))
    labels = {i: _label_file(i) for found in told.places.values() for i in found.images}
    if not any(labels.values()):
        raise DataError(
            f"no labels of YOLO in {root}: expected images/ and labels/ with a text file for each "
            "image, and data.yaml or classes.txt with the names of the classes"
        )
    if told.names is None:
        told.names, note = _numbered(labels, folder)
        told.notes.append(note)
    reader = _Reader(told.names)
    for split, images in told.places.items():
        reader.take(images, split, labels)
    everything = find_images(folder)
    notes = [*told.notes, *reader.notes_of(), *_alone(folder, labels)]
    if path is not None:
        notes += unlisted(everything.images, reader.samples | dict(reader.found.skipped), path.name)
    return annotated(
        folder,
        "yolo",
        normal,
        list(reader.samples.values()),
        names=told.names,
        notes=notes,
        skipped=list(dict.fromkeys([*reader.found.skipped, *everything.skipped])),
        aside=everything.aside,
    )


def _numbered(labels: Mapping[Path, Path | None], root: Path) -> tuple[list[str], str]:
    """Numbers as the names of the classes where nothing names them, and what a person should know
    of that.
    """
    lines = (line for path in labels.values() if path for line in read_text(path)[0].splitlines())
    words = {line.split()[0] for line in lines if line.strip()}
    count = max((int(word) for word in words if word.isdigit()), default=-1) + 1
    note = (
        f"no file in {root} names the classes: they are called by their numbers; classes.txt, a "
        "name a line, would name them"
    )
    return [str(number) for number in range(count)], note


def _alone(root: Path, labels: Mapping[Path, Path | None]) -> list[str]:
    """What a person should know of labels without an image."""
    used = set(labels.values())
    texts = (p for p in files_ending(root, ".txt") if p not in used and p.name not in LISTS)
    alone = [p for p in texts if p.stat().st_size and is_label_file(p)]
    if not alone:
        return []
    return [f"{counted(len(alone), 'text file')} of labels without an image, the first: {alone[0]}"]


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

    def take(self, found: Found, split: str, files: Mapping[Path, Path | None]) -> None:
        """The images of a split, each with its text file."""
        self.found += Found([], found.skipped, found.aside)
        labels = {image: files[image] for image in found.images}
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
