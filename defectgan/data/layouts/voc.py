"""Pascal VOC: an XML file with boxes for each image, in a folder of its own or beside the images,
such as NEU-DET's and the PCB set of Peking University.

An image without a file says nothing, unless it lies in a folder of good images.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from defectgan.data.layouts.base import Listing, annotated, letters, split_of, without_file
from defectgan.data.layouts.texts import files_ending
from defectgan.data.places import Places, same_letters
from defectgan.data.samples import TRAIN, Mark, Sample, is_normal_name, split_name
from defectgan.data.walk import LeftOut
from defectgan.names import name_fault, same_name

# Files by which the layout is told.
LOOKED_AT = 5
# Folders that hold good images besides those that are called so: the boards without defects of the
# PCB set.
GOOD = ("pcbused",)


def recognises(root: Path) -> bool:
    """Whether the first XML files are annotations of this kind."""
    return any(_is_voc(path) for path in islice(files_ending(root, ".xml"), LOOKED_AT))


def _is_voc(path: Path) -> bool:
    try:
        begin = path.read_bytes()[:4096].replace(b"\0", b"")
    except OSError:
        return False
    return b"<annotation" in begin and b"<annotations" not in begin


def read(root: Path, normal: str | None) -> Listing:
    """The listing of XML files and the images that they are of."""
    places = Places(root)
    listed = _listed_splits(root)
    samples: dict[Path, Sample] = {}
    notes: list[str] = []
    skipped: list[LeftOut] = list(places.found.skipped)
    for path in files_ending(root, ".xml"):
        if not _is_voc(path):
            continue
        try:
            sample, bad = _read_file(path, places, root)
        except (ET.ParseError, ValueError, OSError) as error:
            skipped.append((path, f"{path} is damaged: {error}; label its image anew"))
            continue
        notes += bad
        split = listed.get(same_letters(path.stem)) or split_of(path, root) or TRAIN
        samples[sample.file] = replace(sample, split=split)
    normals, silent = without_file(
        places.found.images,
        samples,
        root,
        good=lambda folder: (
            is_normal_name(folder) or same_name(folder, normal or "") or letters(folder) in GOOD
        ),
        expected="XML file that says what is in it: give it one, or put good images into a folder "
        "called normal",
    )
    skipped += silent
    aside = places.found.aside
    made = [*samples.values(), *normals]
    return annotated(root, "voc", normal, made, notes=notes, skipped=skipped, aside=aside)


def _listed_splits(root: Path) -> Mapping[str, str]:
    """The split of each image by the lists of ImageSets/Main, by its stem."""
    splits: dict[str, str] = {}
    for path in sorted(root.glob("**/ImageSets/Main/*.txt")):
        if (split := split_name(path.stem)) is not None:
            words = (line.split() for line in path.read_text(errors="replace").splitlines())
            splits |= {same_letters(line[0]): split for line in words if line}
    return splits


def _read_file(path: Path, places: Places, root: Path) -> tuple[Sample, list[str]]:
    """The image of a file, and what is wrong with some of its objects."""
    tree = ET.parse(path).getroot()
    file = _image_of(tree, path, places, root)
    marks: list[Mark] = []
    labels: list[str] = []
    bad = []
    for n, thing in enumerate(tree.iter("object"), start=1):
        label = (thing.findtext("name") or "").strip()
        origin = f"object {n} of {path}"
        if (fault := name_fault(label)) is not None:
            raise ValueError(f"object {n} names a class that cannot be: {fault}")
        box = _box(thing)
        if box is None:
            bad.append(f"{origin} has no box: its image is {label} all the same")
            labels.append(label)
            continue
        labels.append(label)
        marks.append(Mark(box, label, origin=origin))
    size = tuple(int(float(tree.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    said = (size[0], size[1]) if all(side > 0 for side in size) else None
    return Sample(file, tuple(labels), marks=tuple(marks), labelled=said), bad


def _image_of(tree: ET.Element, path: Path, places: Places, root: Path) -> Path:
    """The image of a file: as it names it, or called as the file itself."""
    name = (tree.findtext("filename") or "").strip() or path.stem
    near = [path.parent, *(p for p in path.parents[1:] if p.is_relative_to(root))]
    for called in (f"{path.parent.name}/{path.stem}", name):
        file = places(called, near)
        if file.is_file():
            return file
    return near[0] / name


def _box(thing: ET.Element) -> tuple[float, float, float, float] | None:
    """Left, top, width, height of an object; None where it has no box."""
    try:
        left, top, right, bottom = (
            float(thing.findtext(f"bndbox/{name}") or "nan")
            for name in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError:
        return None
    if not (right > left and bottom > top):
        return None
    return left, top, right - left, bottom - top
