"""Class folders: ROOT/normal/..., ROOT/<defect>/...

Also ROOT/train/... with val and test beside it, ROOT/images/<class>/... with masks beside it. True
masks lie in ROOT/masks/<class>/..., in a folder masks below a class, or beside their images.
"""

from collections.abc import Sequence
from pathlib import Path

from defectgan.data.facts import Facts
from defectgan.data.layouts.base import (
    Listing,
    find_normal,
    is_mask_folder,
    letters,
    may_be_normal,
    may_hold_masks,
    subfolders,
)
from defectgan.data.layouts.looks import advice
from defectgan.data.pairing import Masks, about_unmatched, apart, pair
from defectgan.data.samples import NORMAL_NAMES, SPLITS, TRAIN, Sample, split_name
from defectgan.data.truths import Look, looks_of
from defectgan.data.walk import Found, find_images, folders_in
from defectgan.errors import DataError
from defectgan.names import class_name, same_name
from defectgan.words import counted

# Folders of these names hold masks whatever is in them.
NEVER_CLASSES = ("masks", "groundtruth")
IMAGE_FOLDERS = ("images", "imgs", "img", "image")
# Files of a folder by which it is told whether it holds masks.
LOOKED_AT = 12


def read(root: Path, normal: str | None) -> Listing:
    """The listing of class folders."""
    if not root.is_dir():
        raise DataError(
            f"the data folder {root}: found a file; expected a folder with one folder a class, a "
            "table or a COCO file"
        )
    facts = Facts()
    parts = _parts(root, normal)
    base = parts[TRAIN]
    folders, masks_at, notes = _class_folders(base, facts)
    name = find_normal(base, list(folders), normal, hint=advice(root, folders))
    samples: list[Sample] = []
    found = Found([], [], folders_in(base)[1])
    for path in subfolders(base).values():
        if path not in (*folders.values(), *masks_at):  # all in it is aside
            found.aside.extend(find_images(path).aside)
    for split, part in parts.items():
        classes, masks, told = (
            (folders, masks_at, notes) if part == base else _class_folders(part, facts)
        )
        made, seen, about = read_classes(part, classes, masks, name, split, facts)
        samples += [s for s in made if set(s.labels) <= set(folders)]
        found += seen
        notes = notes if part == base else [*notes, *told]
        notes += about
    if base != root:
        rest = ", ".join(p.name for p in parts.values() if p != base)
        beside = f", {rest} beside it is held out" if rest else ""
        notes = [f"{base.name}/ is learned from{beside}", *notes]
    defects = tuple(f for f in folders if f != name)
    return Listing(
        base,
        "folders",
        name,
        defects,
        tuple(samples),
        tuple(notes),
        tuple(found.skipped),
        tuple(found.aside),
    )


def _parts(root: Path, normal: str | None) -> dict[str, Path]:
    """The folders that hold class folders: ROOT itself, ROOT/images, or ROOT/train with val and
    test beside.
    """
    folders = subfolders(root)

    def holds_normal(names: Sequence[str]) -> bool:
        return any(may_be_normal(n) or same_name(n, normal or "") for n in names)

    if holds_normal(list(folders)):
        return {TRAIN: root}
    by_split: dict[str, Path] = {}
    for name, path in folders.items():
        if (split := split_name(name)) is not None:
            by_split.setdefault(split, path)
    if TRAIN in by_split and holds_normal(list(subfolders(by_split[TRAIN]))):
        return {split: by_split[split] for split in SPLITS if split in by_split}
    images = [p for name, p in folders.items() if letters(name) in IMAGE_FOLDERS]
    if len(images) == 1 and all(is_mask_folder(n) for n in folders if n != images[0].name):
        below = _parts(images[0], normal)
        if holds_normal(list(subfolders(below[TRAIN]))):
            return below
    return {TRAIN: root}


def _class_folders(base: Path, facts: Facts) -> tuple[dict[str, Path], list[Path], list[str]]:
    """The folders of classes, the folders of masks in and beside them, and what was guessed."""
    classes: dict[str, Path] = {}
    masks: list[Path] = []
    notes: list[str] = []
    for name, path in subfolders(base).items():
        if letters(name) in NEVER_CLASSES:
            masks.append(path)
        elif may_hold_masks(name):
            images = find_images(path).images
            if holds_masks(images, facts):
                masks.append(path)
                if images:
                    notes.append(f"{path} holds masks, no class")
            else:
                classes[name] = path
                notes.append(f"{path} is taken for a class: its images are no masks")
        elif not _is_empty_by_us(path):
            classes[name] = path
    if letters(base.name) in IMAGE_FOLDERS:
        masks += [p for name, p in subfolders(base.parent).items() if is_mask_folder(name)]
    if not classes:
        raise DataError(
            f"no class folders in {base}: expected a folder called {NORMAL_NAMES[0]} with good "
            f"images and one folder for each defect{advice(base, classes)}"
        )
    for name in classes:
        class_name(name, f"a folder in {base}")
    return classes, masks, notes


def _is_empty_by_us(folder: Path) -> bool:
    """Whether all that a folder holds was made by this product or is nobody's."""
    found = find_images(folder)
    return not found.images and not found.skipped and bool(found.aside)


def holds_masks(images: Sequence[Path], facts: Facts) -> bool:
    """Whether some images, spread evenly, look like masks; none do, too."""
    some = images[:: max(1, len(images) // LOOKED_AT)]
    return all(isinstance(one, Look) and one.mask for one in looks_of(some, facts).values())


def read_classes(
    root: Path,
    folders: dict[str, Path],
    masks_at: Sequence[Path],
    normal: str,
    split: str,
    facts: Facts,
) -> tuple[list[Sample], Found, list[str]]:
    """The samples of class folders with their masks, what was left out, and what a person should
    know of masks.

    Args:
        root: what holds the class folders.
        folders: the folder of each class.
        masks_at: folders of masks, each with the folders of the classes, or for all of them.
        normal: the name of the normal class.
        split: the split of all of them.
        facts: what is known of files.
    """
    samples: list[Sample] = []
    images: list[Path] = []
    whole, beside = Found([], [], []), 0
    masks: Masks = {}
    for name, folder in folders.items():
        found = find_images(folder)
        shown, inner, loose = _without_masks(found.images, folder, facts)
        beside += sum(map(len, inner.values()))
        masks |= inner
        whole += Found([], found.skipped, found.aside)
        whole.images.extend(loose)
        images += shown
        labels = () if name == normal else (name,)
        samples += [Sample(file, labels, split=split) for file in shown]
    notes = []
    unmatched = list(whole.images)
    for place in masks_at:
        found = find_images(place)
        paired = pair(images, root, found.images, place)
        masks |= {image: (*masks.get(image, ()), *files) for image, files in paired.masks.items()}
        unmatched += paired.unmatched
        whole += Found([], found.skipped, found.aside)
    if beside:
        notes.append(f"{counted(beside, 'file')} beside images are their masks, no images")
    notes += about_unmatched(unmatched, images)
    if masks_at or masks:
        notes += about_unmasked(samples, masks)
    made = [_masked(sample, masks) for sample in samples]
    return made, Found([], whole.skipped, whole.aside), notes


def _masked(sample: Sample, masks: Masks) -> Sample:
    return Sample(sample.file, sample.labels, split=sample.split, truths=masks.get(sample.file, ()))


def _without_masks(
    images: Sequence[Path], folder: Path, facts: Facts
) -> tuple[list[Path], Masks, list[Path]]:
    """The images of a class, the masks of them that lie among them, and masks of none of them."""
    inside: dict[Path, list[Path]] = {}
    for image in images:
        between = image.relative_to(folder).parents
        for part in reversed(list(between)[:-1]):
            if may_hold_masks(part.name):
                inside.setdefault(folder / part, []).append(image)
                break
    places = {place: files for place, files in inside.items() if holds_masks(files, facts)}
    gone = {file for files in places.values() for file in files}
    shown, masks = apart([image for image in images if image not in gone], facts)
    loose: list[Path] = []
    for place, files in places.items():
        near = [image for image in shown if image.is_relative_to(place.parent)]
        root = next((i.parent for i in near if letters(i.parent.name) in IMAGE_FOLDERS), None)
        paired = (
            pair(near, root or place.parent, files, place)
            if not root or all(image.is_relative_to(root) for image in near)
            else pair(near, place.parent, files, place)
        )
        masks |= {i: (*masks.get(i, ()), *found) for i, found in paired.masks.items()}
        loose += paired.unmatched
    return shown, masks, loose


def about_unmasked(samples: Sequence[Sample], masks: Masks) -> list[str]:
    """What a person should know of images of defects without a mask, where others have one."""
    without = [s.file for s in samples if s.labels and s.file not in masks]
    count = sum(bool(s.labels) for s in samples)
    if not without:
        return []
    return [
        f"{len(without)} of {counted(count, 'image')} of defects have no true mask, the first: "
        f"{without[0]}"
    ]
