"""What all layouts share: the listing that they are read into, and the normal class in it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from defectgan.data.samples import NORMAL_NAMES, TRAIN, Mark, Sample, is_normal_name, split_name
from defectgan.data.walk import LeftOut, folders_in
from defectgan.errors import DataError
from defectgan.names import same_name
from defectgan.words import counted, found

# Folders that hold masks or labels instead of images, letters alone, in lower case.
MASK_FOLDERS = frozenset(
    (
        *("mask", "masks", "groundtruth", "groundtruths", "gt", "gts", "label", "labels"),
        *("annotation", "annotations", "segmentation", "segmentations", "seg", "truth", "truths"),
        *("maskimages", "labelimages", "pixelmasks", "segmentationclass", "segmentationobject"),
    )
)


# Words of the names of such folders.
_MASK_WORDS = frozenset(("mask", "masks", "gt", "groundtruth", "segmentation", "segmentations"))
_WORD = re.compile(r"[^\W\d_a-z]+(?![a-z])|[^\W\d_]?[^\W\d_A-Z]+|\d+")
# Words that a name may have besides, and those that turn its sense.
_IMAGE_WORDS = frozenset(("images", "image", "imgs", "img", "samples", "parts", "data", "set"))
_NOT = frozenset(("not", "no", "non", "un", "n"))
# Names that no class has.
_NO_CLASSES = frozenset(
    (
        *("images", "imgs", "image", "img", "data", "dataset", "datasets", "jpegimages", "raw"),
        *("trainimages", "testimages", "trainimg", "imagesets", "xml", "json", "txt", "csv"),
    )
)


@dataclass(frozen=True)
class Listing:
    """What a layout holds: the samples, the name of the normal class, all defect classes in the
    layout's order, and what a person should know about it: ``skipped`` files and rows that cannot
    be used and those that are ``aside``, each with the reason.
    """

    root: Path
    layout: str
    normal: str
    defects: tuple[str, ...]
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()
    skipped: tuple[LeftOut, ...] = ()
    aside: tuple[LeftOut, ...] = ()

    def with_notes(self, *notes: str) -> "Listing":
        """The listing, with these said first."""
        return replace(self, notes=(*notes, *self.notes))


class Layout(NamedTuple):
    """One way of keeping images: whether a folder or file is kept so, and how it is read."""

    recognises: Callable[[Path], bool]
    read: Callable[[Path, str | None], Listing]


def letters(name: str) -> str:
    """The letters of a name, in lower case."""
    return "".join(c for c in name.lower() if c.isalnum())


def words_in(name: str) -> list[str]:
    """The words of a name in lower case, also of one such as SegmentationClass."""
    return [w.lower() for w in _WORD.findall(name)]


def is_mask_folder(name: str) -> bool:
    """Whether a folder of this name holds masks instead of images in all layouts."""
    return letters(name) in MASK_FOLDERS


def may_hold_masks(name: str) -> bool:
    """Whether a folder of this name holds masks if its images look like masks."""
    return is_mask_folder(name) or not _MASK_WORDS.isdisjoint(words_in(name))


def subfolders(folder: Path) -> dict[str, Path]:
    """The folders in one that may hold the person's images, by name."""
    return {name: folder / name for name in folders_in(folder)[0]}


def is_no_class(name: str) -> bool:
    """Whether a folder of this name is part of a layout rather than a class."""
    return split_name(name) is not None or is_mask_folder(name) or letters(name) in _NO_CLASSES


def has_class_folders(root: Path) -> bool:
    """Whether a folder, or one of its splits, holds a folder of good images and one of defects."""
    folders = subfolders(root)
    below = [p for n, p in folders.items() if split_name(n) is not None or letters(n) == "images"]
    return any(
        any(map(may_be_normal, names))
        and any(not may_be_normal(name) and not is_no_class(name) for name in names)
        for names in (folders, *map(subfolders, below))
    )


def named(root: Path, names: Iterable[str]) -> Path | None:
    """The file itself, or the first of these names in the folder."""
    if root.is_file():
        return root
    return next((root / name for name in names if (root / name).is_file()), None)


def split_of(file: Path, root: Path) -> str | None:
    """The split that a folder between the root and a file is called after, also as CVAT calls it:
    obj_train_data.
    """
    for part in file.relative_to(root).parts[:-1] if file.is_relative_to(root) else ():
        inner = re.fullmatch(r"obj_(\w+)_data", part)
        if (split := split_name(inner[1] if inner else part)) is not None:
            return split
    return None


def find_normal(root: Path, names: Sequence[str], wanted: str | None, *, hint: str = "") -> str:
    """The name of the normal class among the names of classes.

    Raises:
        DataError: if there is none, or several.
    """
    if wanted is not None:
        if called := [name for name in names if same_name(name, wanted)]:
            return wanted if wanted in called else called[0]
        raise DataError(f"no folder {wanted} for the normal class in {root}{found(names, wanted)}")
    matches = [n for n in names if is_normal_name(n)] or [n for n in names if may_be_normal(n)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise DataError(
            f"{root} has several folders for the normal class ({', '.join(matches)}): say which "
            "one it is",
            mend=("normal_class", matches[0]),
        )
    text = f"no normal class in {root}: found {', '.join(names)}"
    if hint:
        raise DataError(text + hint)
    raise DataError(
        f"{text}; expected {', '.join(NORMAL_NAMES)}, or the name of the one with good images",
        mend=("normal_class", "NAME"),
    )


def may_be_normal(name: str) -> bool:
    """Whether a folder of this name holds good images where none is called so plainly: its first or
    last word is that of good images, as in MT_Free, ok_front or NODefect_images, and none says not.
    """
    words = [word for word in words_in(name) if word not in _IMAGE_WORDS]
    if not words or (_NOT & set(words[:-1]) and not is_normal_name("".join(words))):
        return False
    return any(map(is_normal_name, ("".join(words), words[0], words[-1])))


def annotated(
    root: Path,
    layout: str,
    normal: str | None,
    samples: Sequence[Sample],
    *,
    names: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    skipped: Sequence[LeftOut] = (),
    aside: Sequence[LeftOut] = (),
) -> Listing:
    """The listing of images whose labels say what is in them: those with no label, or with that of
    good images alone, are normal.

    Args:
        root: the folder.
        layout: its name.
        normal: the name of the normal class, None for the usual one.
        samples: the images, with all labels and marks that are written down.
        names: all classes in the layout's order; those that no image has are said and left out.
        notes: what else a person should know.
        skipped: what cannot be used.
        aside: what is not looked at.
    """

    def good(label: str) -> bool:
        return same_name(label, normal) if normal else is_normal_name(label)

    def shown(mark: Mark) -> bool:
        return mark.label is None or not good(mark.label)

    used = {label for sample in samples for label in sample.labels}
    order = list(dict.fromkeys(names)) if names is not None else sorted(used)
    defects = tuple(name for name in order if name in used and not good(name))
    unused = [name for name in order if name not in used]
    called = next((name for name in order if good(name)), normal or NORMAL_NAMES[0])
    told = list(notes)
    if unused:
        told.append(f"no image shows {', '.join(unused)}: left out of the classes")
    made = [
        replace(
            sample,
            labels=tuple(dict.fromkeys(label for label in sample.labels if not good(label))),
            marks=tuple(mark for mark in sample.marks if shown(mark)),
        )
        for sample in samples
    ]
    return Listing(
        root, layout, called, defects, tuple(made), tuple(told), tuple(skipped), tuple(aside)
    )


def without_file(
    images: Iterable[Path],
    samples: Mapping[Path, Sample],
    root: Path,
    *,
    good: Callable[[str], bool],
    expected: str,
) -> tuple[list[Sample], list[LeftOut]]:
    """Of images without an annotation file of their own, those that are good, and the others, which
    say nothing.

    Args:
        images: all images.
        samples: those that have a file.
        root: the folder.
        good: whether a folder of this name holds good images.
        expected: what a person can do for the others.
    """
    normal: list[Sample] = []
    silent: list[LeftOut] = []
    for file in images:
        if file in samples:
            continue
        if any(map(good, file.relative_to(root).parts[:-1])):
            normal.append(Sample(file, (), split=split_of(file, root) or TRAIN))
        else:
            silent.append((file, f"{file} has no {expected}"))
    return normal, silent


def unlisted(images: Iterable[Path], listed: Iterable[Path], where: str) -> list[str]:
    """What a person should know of images that an annotation file does not name."""
    known = set(listed)
    others = [file for file in images if file not in known]
    if not others:
        return []
    return [
        f"{counted(len(others), 'image')} that {where} does not name: not used, the first: "
        f"{others[0]}"
    ]
