"""Which mask belongs to which image: by the name of its file, whatever its ending and case, with or
without a word such as _mask behind it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from defectgan.data.facts import Facts
from defectgan.data.places import same_letters
from defectgan.data.truths import Look, looks_of
from defectgan.errors import DataError
from defectgan.words import counted

_BEHIND = re.compile(
    r"(?:[ _.-]+|(?<=\d))"
    r"(?:masks?|labels?|gt|ground[ _-]?truth|seg|segmentation|anno(?:tation)?s?)[ _-]?\d*$"
)
_BEFORE = re.compile(
    r"^(?:masks?|labels?|gt|ground[ _-]?truth|seg|segmentation|anno(?:tation)?s?)[ _.-]+"
)
_SHOWN = re.compile(r"[ _.-]+(?:images?|img|rgb|photo|input|orig(?:inal)?)$")
# Masks are one file a mask or, in a folder called as the image, several.
Masks = dict[Path, tuple[Path, ...]]


class Paired(NamedTuple):
    """The masks of each image that has any, and the masks that belong to none."""

    masks: Masks
    unmatched: list[Path]


def stem_of(file: Path) -> str:
    """The name without its ending, for comparing."""
    return same_letters(file.stem)


def bare(stem: str) -> str:
    """A name without the word that says that it is a mask's; the name itself without such a one."""
    behind = _BEHIND.sub("", stem)
    return (behind if behind != stem else _BEFORE.sub("", stem)) or stem


def common(stem: str) -> str:
    """What an image's name and its mask's have in common."""
    return bare(stem) if bare(stem) != stem else _SHOWN.sub("", stem) or stem


def pair(
    images: Sequence[Path], image_root: Path, masks: Sequence[Path], mask_root: Path
) -> Paired:
    """The masks of images, by where they lie below two folders and what they are called; by their
    name alone where that is one image's.

    Raises:
        DataError: if two images would share one mask.
    """
    by_place: dict[tuple[str, ...], list[Path]] = {}
    by_stem: dict[str, list[Path]] = {}
    for image in images:
        by_place.setdefault(_place(image, image_root, stem_of(image)), []).append(image)
        by_stem.setdefault(stem_of(image), []).append(image)
    for image in images:
        shared = common(stem_of(image))
        by_place.setdefault(_place(image, image_root, shared), [image])
        by_stem.setdefault(shared, [image])
    found: dict[Path, list[Path]] = {}
    unmatched = []
    for mask in masks:
        stem = stem_of(mask)
        places = [_place(mask, mask_root, name) for name in dict.fromkeys((stem, bare(stem)))]
        folder = tuple(same_letters(part) for part in mask.relative_to(mask_root).parts[:-1])
        owners = next((by_place[p] for p in (*places, folder) if p in by_place), None)
        if owners is None:
            names = dict.fromkeys((stem, bare(stem), *folder[-1:]))
            alone = [by_stem[name] for name in names if len(by_stem.get(name, ())) == 1]
            owners = alone[0] if alone else None
        if owners is None:
            unmatched.append(mask)
            continue
        if len(owners) > 1:
            raise DataError(
                f"the mask {mask} belongs to {owners[0].name} and to {owners[1].name}: rename one "
                "of the images and give each a mask of its own"
            )
        found.setdefault(owners[0], []).append(mask)
    return Paired({image: tuple(files) for image, files in found.items()}, unmatched)


def _place(file: Path, root: Path, stem: str) -> tuple[str, ...]:
    return *(same_letters(part) for part in file.relative_to(root).parts[:-1]), stem


def apart(images: Sequence[Path], facts: Facts) -> tuple[list[Path], Masks]:
    """The images without the masks that lie beside them, and those masks: of files of one name the
    ones that look like masks where another does not, or that are called like masks of it.
    """
    beside: dict[tuple[Path, str], list[Path]] = {}
    for image in images:
        beside.setdefault((image.parent, common(stem_of(image))), []).append(image)
    groups = [files for files in beside.values() if len(files) > 1]
    looks = looks_of([file for files in groups for file in files], facts)
    masks: Masks = {}
    for files in groups:
        masks |= _apart(files, [_as_mask(looks[file]) for file in files])
    gone = {file for files in masks.values() for file in files}
    return [image for image in images if image not in gone], masks


def _as_mask(look: Look | DataError) -> bool:
    return isinstance(look, Look) and look.mask


def _apart(files: Sequence[Path], masklike: Sequence[bool]) -> Masks:
    """Which of some files of one name are masks of the only other one."""
    called = [bare(stem_of(file)) != stem_of(file) for file in files]
    plain = [file for file, by_name in zip(files, called, strict=True) if not by_name]
    if len(plain) > 1:  # of one name, without a word behind it
        looks = dict(zip(files, masklike, strict=True))
        plain = [file for file in plain if not looks[file]]
    if len(plain) != 1:
        return {}
    others = [f for f, like in zip(files, masklike, strict=True) if like and f != plain[0]]
    return {plain[0]: tuple(others)} if others else {}


def about_unmatched(unmatched: Sequence[Path], images: Sequence[Path]) -> list[str]:
    """What a person must know of masks that belong to no image."""
    if not unmatched:
        return []
    example = f", the images are called like {images[0].name}" if images else ""
    return [
        f"{counted(len(unmatched), 'file')} in folders of masks match no image: such as "
        f"{unmatched[0]}{example}; a mask is called like its image"
    ]
