"""Images without folders of classes whose masks lie beside them, and say which of them are good:
those whose mask is empty, or that have none.

kolektor   KolektorSDD: kos*/Part*.jpg with _label.bmp, a folder a piece; KolektorSDD2: train/ and
           test/ with <n>.png and <n>_GT.png
dagm       DAGM: Class*/Train and Test with Label/<n>_label.PNG; before, Class*/ of good images and
           Class*_def/ with labels.txt, in which ellipses are boxes
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from defectgan.data.facts import Facts
from defectgan.data.layouts.base import (
    Listing,
    annotated,
    is_mask_folder,
    split_of,
    subfolders,
)
from defectgan.data.layouts.texts import read_text
from defectgan.data.pairing import Masks, apart, bare, pair, stem_of
from defectgan.data.samples import TRAIN, Box, Mark, Sample
from defectgan.data.truths import looks_of
from defectgan.data.walk import Found, find_images
from defectgan.errors import DataError
from defectgan.words import counted

DEFECT = "defect"
_PIECE = re.compile(r"kos\d+", re.IGNORECASE)
_SURFACE = re.compile(r"class\s?_?(\d+)(_def)?", re.IGNORECASE)
ELLIPSES = "labels.txt"


def is_kolektor(root: Path) -> bool:
    """Whether each image has a mask beside it, and no folder is one of good images."""
    if not root.is_dir():
        return False
    folders = subfolders(root)
    if any(map(_PIECE.fullmatch, folders)):
        return True
    places = [p for p in folders.values() if split_of(p / "x", root)] or [root]
    images = [image for p in places for image in find_images(p, nested=False).images]
    stems = {(image.parent, stem_of(image)) for image in images}
    return any((folder, bare(stem)) in stems and bare(stem) != stem for folder, stem in stems)


def read_kolektor(root: Path, normal: str | None) -> Listing:
    """The listing of images with masks beside them."""
    facts = Facts()
    found = find_images(root)
    shown, masks = apart(found.images, facts)
    pieces = any(map(_PIECE.fullmatch, subfolders(root)))
    samples = by_masks(shown, masks, root, facts)
    if pieces:
        samples = [_of_piece(sample) for sample in samples]
    masked = sum(image in masks for image in shown)
    return masks_listing(root, "kolektor", normal, samples, found, masked)


def _of_piece(sample: Sample) -> Sample:
    return Sample(
        sample.file,
        sample.labels,
        truths=sample.truths,
        group=sample.file.parent.name,
        split=sample.split,
    )


def by_masks(images: Sequence[Path], masks: Masks, root: Path, facts: Facts) -> list[Sample]:
    """The samples of images, good where no mask of theirs has a defect."""
    looks = looks_of([file for files in masks.values() for file in files], facts)
    samples = []
    for image in images:
        seen = [looks[file] for file in masks.get(image, ())]
        shows = [isinstance(one, DataError) or one.values > 1 or one.covered > 0 for one in seen]
        samples.append(
            Sample(
                image,
                (DEFECT,) if any(shows) else (),
                truths=masks.get(image, ()) if any(shows) else (),
                split=split_of(image, root) or TRAIN,
            )
        )
    return samples


def masks_listing(
    root: Path,
    layout: str,
    normal: str | None,
    samples: Sequence[Sample],
    found: Found,
    masked: int,
) -> Listing:
    """The listing of images that ``by_masks`` has told apart, ``masked`` of which have a mask."""
    defects = sum(bool(sample.labels) for sample in samples)
    note = (
        f"masks lie beside {masked} of {counted(len(samples), 'image')}: the {defects} with a "
        f"defect in them are the class {DEFECT}, all others are good"
    )
    return annotated(
        root, layout, normal, samples, notes=[note], skipped=found.skipped, aside=found.aside
    )


def is_dagm(root: Path) -> bool:
    """Whether it is one surface of DAGM, or several."""
    return bool(_surfaces(root)) or _is_surface(root)


def _is_surface(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    labels = [
        p / name for p in subfolders(folder).values() for name in subfolders(p) if _is_label(name)
    ]
    return any(next(place.glob("[Ll]abels.txt"), None) is not None for place in labels)


def _is_label(name: str) -> bool:
    return name.lower() in ("label", "labels")


def _surfaces(root: Path) -> dict[str, list[Path]]:
    """The folders of each surface."""
    if not root.is_dir():
        return {}
    surfaces: dict[str, list[Path]] = {}
    for name, path in subfolders(root).items():
        match = _SURFACE.fullmatch(name)
        if match and (_is_surface(path) or match[2] or f"{name}_def" in subfolders(root)):
            surfaces.setdefault(f"Class{match[1]}", []).append(path)
    if _SURFACE.fullmatch(root.name) and root.with_name(f"{root.name}_def").is_dir():
        surfaces.setdefault(root.name, []).extend([root, root.with_name(f"{root.name}_def")])
    return surfaces


def read_dagm(root: Path, normal: str | None) -> Listing:
    """The listing of one surface of DAGM."""
    surfaces = _surfaces(root) or {root.name: [root]}
    if len(surfaces) > 1:
        raise DataError(
            f"{root} holds several surfaces of DAGM ({', '.join(surfaces)}), each with good images "
            "of its own: name the folder of one, or bring it into a folder of its own"
        )
    (folders,) = surfaces.values()
    samples: list[Sample] = []
    found, masked, facts = Found([], [], []), 0, Facts()
    for folder in folders:
        seen = find_images(folder)
        found += seen
        if folder.name.lower().endswith("_def"):
            samples += _with_ellipses(folder, seen.images)
            continue
        labels = [f for f in seen.images if any(map(is_mask_folder, f.relative_to(folder).parts))]
        images = [f for f in seen.images if f not in set(labels)]
        masks: Masks = {}
        for place in {mask.parent for mask in labels}:
            mine = [image for image in images if image.is_relative_to(place.parent)]
            theirs = [mask for mask in labels if mask.parent == place]
            masks |= pair(mine, place.parent, theirs, place).masks
        masked += len(masks)
        samples += by_masks(images, masks, folder, facts)
    return masks_listing(root, "dagm", normal, samples, found, masked)


def _with_ellipses(folder: Path, images: Sequence[Path]) -> list[Sample]:
    """Images of defects with the boxes round their ellipses."""
    path = folder / ELLIPSES
    boxes: dict[str, Box] = {}
    if path.is_file():
        for line in read_text(path)[0].splitlines():
            words = line.split()
            if len(words) >= 6:
                boxes[words[0].partition(".")[0]] = _round(*map(float, words[1:6]))
    return [
        Sample(
            image,
            (DEFECT,),
            marks=(Mark(boxes[image.stem], DEFECT),) if image.stem in boxes else (),
        )
        for image in images
    ]


def _round(major: float, minor: float, angle: float, x: float, y: float) -> Box:
    """The box round an ellipse of these half axes, turned by an angle in radians."""
    wide = math.hypot(major * math.cos(angle), minor * math.sin(angle))
    high = math.hypot(major * math.sin(angle), minor * math.cos(angle))
    return x - wide, y - high, 2 * wide, 2 * high
