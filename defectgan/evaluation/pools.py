"""Real and generated images, decoded once, all seen in the same way."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from defectgan.data.dataset import ImageSet, Seen, to_tensor
from defectgan.data.index import Index
from defectgan.data.samples import Mark, Sample
from defectgan.devices import upload
from defectgan.errors import DataError
from defectgan.heads import probe
from defectgan.images import unit
from defectgan.manifest import MANIFEST, ManifestRow, present_rows
from defectgan.model.info import MASK_THRESHOLD
from defectgan.settings.data import DataConfig

# [H, W, C], black and white at the ends of the range of their type.
Pixels = NDArray[Any]
Thing = TypeVar("Thing")
# The images [H, W, C] of each class, normal ones first.
Pools = Sequence[Sequence[Pixels]]


def generated_rows(folder: Path) -> tuple[list[ManifestRow], tuple[str, ...]]:
    """The rows of a generated set's manifest whose files are there, and a note on the others.

    Raises:
        DataError: if there are none.
    """
    rows, notes = present_rows(folder)
    if not rows:
        raise DataError(
            f"no images named by {folder / MANIFEST}: expected a folder that generate has filled"
        )
    return rows, notes


def generated_index(folder: Path, like: Index) -> Index:
    """A generated set as an index with the classes, channels and levels of real images; its masks
    are those that were painted, and it has no normal images.

    Raises:
        DataError: if it is empty, damaged, or shows a class that the real images have not.
    """
    rows, _ = generated_rows(folder)
    if strange := {name for row in rows for name in row.labels} - {*like.classes[1:]}:
        raise DataError(
            f"{folder} shows {', '.join(sorted(strange))}, of which {like.root} has no images: "
            f"expected {', '.join(like.classes[1:])}"
        )
    samples = tuple(_generated_sample(folder, row) for row in rows)
    return replace(like, root=folder, layout="generated", samples=samples, held_out=())


def _generated_sample(folder: Path, row: ManifestRow) -> Sample:
    return Sample(
        file=folder / row.output,
        labels=row.labels,
        mask=folder / row.mask,
        marks=tuple(Mark(box, defect) for defect, box in row.boxes),
        header=probe(folder / row.output),
        threshold=row.threshold_or(MASK_THRESHOLD),
    )


def see(index: Index, config: DataConfig, *, truths: bool = False) -> list[list[Seen]]:
    """What a network sees of each image of each class, those of one class in the index's order;
    windows lie round the defect, else in the middle.

    Args:
        index: the images.
        config: the size, and how images are fitted to it.
        truths: whether to read their masks too.

    Raises:
        DataError: if an image is damaged: figures of other images than those named are no use.
    """
    images = ImageSet(index, config, truths=truths)
    return [
        [images.view(sample, images.image(sample), k) for sample in members]
        for k, members in enumerate(index.members)
    ]


def views(images: ImageSet, k: int) -> Iterator[Pixels]:
    """The images of class k as ``see`` gives them, one after the other: a set need not fit into
    memory.

    Raises:
        DataError: as ``see``.
    """
    for sample in images.index.members[k]:
        yield images.view(sample, images.image(sample), k).image


def batches(things: Iterable[Thing], *, size: int) -> Iterator[list[Thing]]:
    """Images or what stands for them, so many at a time."""
    waiting = iter(things)
    while part := list(islice(waiting, size)):
        yield part


def uploaded(images: Sequence[Pixels], device: torch.device) -> Tensor:
    """Images of one size as a network takes them, [B, C, H, W] in [-1, 1]."""
    return upload(to_tensor([unit(image) for image in images]), device)


def pixels(classes: Sequence[Sequence[Seen]]) -> list[list[Pixels]]:
    """The images alone."""
    return [[seen.image for seen in members] for members in classes]
