"""Pairs: each image of a defect and its twin, the same without the defect, or whatever else it is
to be made from, such as its mask. The twins are then the good images.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from defectgan.data.pairing import pair
from defectgan.data.samples import Sample
from defectgan.data.walk import find_images
from defectgan.errors import DataError
from defectgan.heads import EXPECTED
from defectgan.words import counted

Skipped = list[tuple[Path, str]]


def with_twins(
    samples: Sequence[Sample], root: Path, folder: Path
) -> tuple[list[Sample], Skipped, list[str]]:
    """The images of defects that have a twin in another folder, and those twins in the place of
    the good images; the images that have none; and what a person must know.

    Args:
        samples: those of the data.
        root: the folder of the data.
        folder: that of the twins: each lies there as its image does in the data and is called like
            it, or is the only one of that name.

    Raises:
        DataError: if there are none, or it cannot be told whose one is.
    """
    found = find_images(folder) if folder.is_dir() else None
    if found is None or not found.images:
        raise DataError(f"no images in {folder}: expected {EXPECTED} files, one for each defect's")
    defects = [sample for sample in samples if sample.labels]
    files = [sample.file for sample in defects]
    # Images that are held out may lie beside the folder of the others.
    above = Path(os.path.commonpath([root, *(file.parent for file in files)]))
    matched, unmatched = pair(files, above, found.images, folder)
    if not matched:
        raise DataError(
            f"no image in {folder} is called like one of a defect in {root}: the first there is "
            f"{found.images[0].name}, and the first defect's {defects[0].file.name}"
        )
    made: list[Sample] = []
    skipped: Skipped = []
    for sample in defects:
        twins = matched.get(sample.file, ())
        if len(twins) > 1:
            raise DataError(
                f"{sample.file} has several twins, {twins[0]} and {twins[1]}: leave one of them"
            )
        if not twins:
            skipped.append((sample.file, f"{sample.file} has no twin in {folder}"))
            continue
        made += [replace(sample, twin=twins[0]), Sample(twins[0], (), split=sample.split)]
    notes = [f"{counted(len(matched), 'pair')}: the good images are those of {folder}"]
    if good := len(samples) - len(defects):
        notes.append(f"the {counted(good, 'good image')} of {root} have no part in that")
    if unmatched:
        notes.append(
            f"{counted(len(unmatched), 'image')} of {folder} match no defect that is learned, the "
            f"first: {unmatched[0]}"
        )
    return made, [*skipped, *found.skipped], notes


def held_together(samples: Sequence[Sample]) -> list[Sample]:
    """The samples, each pair one piece that no split tears apart."""
    group = {sample.twin: sample.piece for sample in samples if sample.twin is not None}
    return [replace(s, group=group.get(s.file, s.piece)) for s in samples]


def whole_pairs(samples: Sequence[Sample]) -> tuple[list[Sample], Skipped]:
    """The pairs of which both images are left and of one size, and the others with the reason."""
    there = {sample.file: sample for sample in samples}
    whole: set[Path] = set()
    skipped: Skipped = []
    for sample in samples:
        if sample.twin is None:
            continue
        twin = there.get(sample.twin)
        if twin is None:
            skipped.append((sample.file, f"the twin of {sample.file}, {sample.twin}, is left out"))
        elif _size(sample) != _size(twin):
            sizes = [" x ".join(map(str, _size(one))) for one in (sample, twin)]
            reason = f"{sample.file} is {sizes[0]} and its twin {twin.file} {sizes[1]}"
            skipped.append((sample.file, reason))
        else:
            whole |= {sample.file, twin.file}
    return [sample for sample in samples if sample.file in whole], skipped


def _size(sample: Sample) -> tuple[int, int]:
    """Width and height."""
    assert sample.header is not None
    return sample.header.width, sample.header.height
