"""COCO: annotations.json and the images beside it or in images/; polygons and run lengths are true
masks, boxes alone are boxes.

As others write it: Roboflow's train, valid and test with an _annotations.coco.json each, CVAT's
annotations/instances_*.json with images/ beside, Label Studio's result.json, labelme2coco.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from defectgan.data.layouts.base import Listing, annotated, named, subfolders, unlisted
from defectgan.data.layouts.texts import read_tree
from defectgan.data.outlines import box_of, outline_of
from defectgan.data.places import Places
from defectgan.data.samples import TRAIN, Box, Mark, Sample, split_name
from defectgan.data.walk import LeftOut
from defectgan.errors import DataError
from defectgan.names import class_name

COCO_FILE = "annotations.json"
_ANNOTATIONS = "annotations"


def files_in(root: Path) -> list[Path]:
    """The COCO files of a folder, or the file itself."""
    if root.is_file():
        return [root] if root.suffix.lower() == ".json" else []
    if not root.is_dir():
        return []
    if (path := named(root, [COCO_FILE])) is not None:
        return [path]
    folders = subfolders(root)
    places = [root, *(p for n, p in folders.items() if n.lower() == _ANNOTATIONS)]
    places += [p for n, p in folders.items() if split_name(n) is not None]
    found = [p for place in places for p in sorted(place.glob("*.json")) if p.is_file()]
    return [p for p in found if p.name[0] != "." and _is_coco(p)]


def _is_coco(path: Path) -> bool:
    """Whether a file seems to list instances, rather than captions or something else."""
    data = path.read_bytes().replace(b"\0", b"")
    return all(key in data for key in (b'"images"', b'"categories"', b'"annotations"'))


def recognises(root: Path) -> bool:
    return bool(files_in(root))


@dataclass
class _Read:
    """What the files have given so far: images, their marks, all classes, what is to be said."""

    samples: dict[Path, Sample] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: list[LeftOut] = field(default_factory=list)


def read(root: Path, normal: str | None) -> Listing:
    """The listing of one or several COCO files."""
    files = files_in(root)
    if not files:
        raise DataError(f"no {COCO_FILE} in {root}")
    folder = root if root.is_dir() else root.parent
    made, places = _Read(), Places(folder)
    if folder.name.lower() == _ANNOTATIONS and root.is_file():
        places = Places(folder.parent)
    for path in files:
        _read_file(path, made, places, _split(path, folder) if len(files) > 1 else TRAIN)
    notes = [*made.notes, *unlisted(places.found.images, made.samples, files[0].name)]
    return annotated(
        folder,
        "coco",
        normal,
        list(made.samples.values()),
        names=made.names,
        notes=notes,
        skipped=made.skipped,
        aside=places.found.aside,
    )


def _split(path: Path, root: Path) -> str:
    """The split of a file, by its folder or by a word of its name; to learn from without one."""
    between = path.relative_to(root).parts[:-1]
    words = re.split(r"[^A-Za-z]+", path.stem)
    return next((s for word in (*between, *words) if (s := split_name(word))), TRAIN)


def _folders(path: Path) -> list[Path]:
    """Where the names in a file begin, the likeliest first."""
    here = path.parent
    above = here.parent if here.name.lower() == _ANNOTATIONS else None
    words = [word for word in re.split(r"[_.\s]+", path.stem) if word]
    places = [here / "images", here]
    if above is not None:
        inner = [above / "images" / word for word in words] + [above / word for word in words]
        places = [*inner, above / "images", above, *places]
    return [place for place in places if place.is_dir()]


def _read_file(path: Path, made: _Read, places: Places, split: str) -> None:
    tree = read_tree(path)
    try:
        names = {
            str(c["id"]): class_name(c["name"], f"category {c['id']} of {path}")
            for c in tree["categories"]
        }
        images = {str(i["id"]): i for i in tree["images"]}
        annotations = list(tree["annotations"])
        folders = _folders(path)
        files = {key: places(str(image["file_name"]), folders) for key, image in images.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not a COCO file: {type(error).__name__} {error}; expected images, "
            "annotations with bbox, polygon or run lengths, and categories"
        ) from error
    made.names += names.values()
    shown = _Shown(path, names, {key: [] for key in images}, {key: [] for key in images})
    for n, one in enumerate(annotations, start=1):
        if (problem := shown.add(one, n)) is not None:
            made.notes.append(problem)
    for key, image in images.items():
        if key in shown.unclear and not shown.labels[key]:
            reason = f"{files[key]}: nobody can tell what is in it, its annotations are left out"
            made.skipped.append((files[key], reason))
        else:
            labels = tuple(shown.labels[key])
            _take(made, files[key], labels, shown.marks_of(key), _size(image), split)


@dataclass
class _Shown:
    """What the annotations of a file show in each image: labels and marks; images of which one has
    no known class are ``unclear``, those of which one has no place are not all marked.
    """

    path: Path
    names: Mapping[str, str]
    marks: dict[str, list[Mark]]
    labels: dict[str, list[str]]
    unclear: set[str] = field(default_factory=set)
    unmarked: set[str] = field(default_factory=set)

    def add(self, one: Any, number: int) -> str | None:
        """Add an annotation to its image; one that is bad is left out, and why is returned."""
        if not isinstance(one, dict):
            return f"annotation number {number} of {self.path} is left out: it is no object"
        origin = f"annotation {one.get('id', f'number {number}')} of {self.path}"
        key = str(one.get("image_id"))
        if key not in self.marks:
            return f"{origin} is left out: it is of no image of the file"
        label = self.names.get(str(one.get("category_id")))
        if label is None:
            self.unclear.add(key)
            return f"{origin} is left out: it is of no category of the file"
        self.labels[key].append(label)
        shape = one.get("segmentation")
        box = _box(one.get("bbox")) or _box_round(shape)
        if box is None:
            self.unmarked.add(key)
            found = one.get("bbox") or "none"
            return (
                f"{origin} has no place: its box is {found}, and no outline of it tells another; "
                f"its image is {label} all the same"
            )
        self.marks[key].append(Mark(box, label, outline_of(shape), origin))
        return None

    def marks_of(self, key: str) -> tuple[Mark, ...]:
        """Those of an image; where not all that is there is marked they are no true mask."""
        if key in self.unclear | self.unmarked:
            return tuple(mark._replace(outline=None) for mark in self.marks[key])
        return tuple(self.marks[key])


def _take(
    made: _Read,
    file: Path,
    labels: tuple[str, ...],
    marks: tuple[Mark, ...],
    size: tuple[int, int] | None,
    split: str,
) -> None:
    """Add an image, or what another file says of one that is there."""
    before = made.samples.get(file)
    if before is None:
        sample = Sample(file, labels, marks=marks, labelled=size, split=split)
    else:
        sample = replace(before, labels=before.labels + labels, marks=before.marks + marks)
    made.samples[file] = sample


def _box_round(shape: Any) -> Box | None:
    try:
        return _box(box_of(shape))
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return None


def _box(values: Any) -> Box | None:
    """Left, top, width, height; None where that is none."""
    try:
        x, y, width, height = (float(v) for v in values)
    except (TypeError, ValueError):
        return None
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        return None
    return x, y, width, height


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height of the image that was labelled, where it is said."""
    try:
        width, height = int(image["width"]), int(image["height"])
    except (KeyError, TypeError, ValueError):
        return None
    return (width, height) if width > 0 and height > 0 else None
