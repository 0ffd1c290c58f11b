"""Images and masks in folders of their own, as sets for segmentation have them: images/ and masks/,
in or beside the folders of splits. Images whose mask is empty, or that have none, are good.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from defectgan.data.facts import Facts
from defectgan.data.layouts.base import Listing, words_in
from defectgan.data.layouts.folders import holds_masks
from defectgan.data.layouts.pairs import by_masks, masks_listing
from defectgan.data.pairing import Masks, about_unmatched, common, stem_of
from defectgan.data.samples import TRAIN, split_name
from defectgan.data.walk import find_images
from defectgan.errors import DataError

# Words of the names of folders of images, and of masks.
_IMAGES = frozenset(("img", "imgs", "image", "images", "jpeg", "photos", "input", "data"))
_MASKS = frozenset(
    (
        *("mask", "masks", "gt", "lab", "label", "labels", "segmentation", "segmentations", "seg"),
        *("ground", "truth", "groundtruth", "annotation", "annotations", "class", "object"),
    )
)


def recognises(root: Path) -> bool:
    """Whether images lie in one folder, or one a split, and what matches them in folders of masks
    looks like masks.
    """
    if not root.is_dir():
        return False
    images, masks = _divided(root)
    if not masks or any(split_name(part) is None for i in images for part in _key(i, root)[:-1]):
        return False
    some = [file for files in _matched(images, masks, root).values() for file in files]
    return 2 * len(some) >= len(masks) and holds_masks(some, Facts())


def read(root: Path, normal: str | None) -> Listing:
    """The listing of images with folders of masks."""
    images, masks = _divided(root)
    matched = _matched(images, masks, root)
    if not matched:
        raise DataError(f"no masks of images in {root}: expected images/ and masks/, of one name")
    samples = [
        replace(sample, split=_split_of(sample.file, root))
        for sample in by_masks(images, matched, root, Facts())
    ]
    used = {file for files in matched.values() for file in files}
    alone = about_unmatched([mask for mask in masks if mask not in used], images)
    found = find_images(root)
    return masks_listing(root, "masks", normal, samples, found, len(matched)).with_notes(*alone)


def _divided(root: Path) -> tuple[list[Path], list[Path]]:
    """The images below a folder, and those of them in folders of masks."""
    images: list[Path] = []
    masks: list[Path] = []
    for file in find_images(root).images:
        words = {w for part in file.relative_to(root).parts[:-1] for w in words_in(part)}
        (images if words.isdisjoint(_MASKS) else masks).append(file)
    return images, masks


def _key(file: Path, root: Path) -> tuple[str, ...]:
    """What an image and its masks have in common: where they lie but for words such as images and
    masks, and what they are called.
    """
    parts = [
        " ".join(w for w in words_in(part) if w not in _MASKS | _IMAGES)
        for part in file.relative_to(root).parts[:-1]
    ]
    return *filter(None, parts), common(stem_of(file))


def _matched(images: Sequence[Path], masks: Sequence[Path], root: Path) -> Masks:
    by_key = {_key(image, root): image for image in images}
    matched: Masks = {}
    for mask in masks:
        if (image := by_key.get(_key(mask, root))) is not None:
            matched[image] = (*matched.get(image, ()), mask)
    return matched


def _split_of(image: Path, root: Path) -> str:
    return next((split for part in _key(image, root)[:-1] if (split := split_name(part))), TRAIN)
