"""Samples to tensors: which images stand in a batch, decoded, cached and augmented."""

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectgan.config import AugmentConfig, Config, DataConfig
from defectgan.data.augment import Augment
from defectgan.data.index import Index
from defectgan.data.samples import Sample
from defectgan.data.store import Shape, Store
from defectgan.errors import DataError
from defectgan.images import Levels, as_channels, first_sound, read_picture, to_signed
from defectgan.views import Viewer

BYTES = Levels(0, 255)


class Batch(NamedTuple):
    """Half normal, half defect images.

    ``normal`` and ``defect`` [B/2, C, H, W] in [-1, 1]; ``label`` [B/2, K] in {0, 1}, the classes
    of the defect images, and at once those that the normal images are to be turned into.
    """

    normal: Tensor
    defect: Tensor
    label: Tensor

    def first(self, half: int) -> "Batch":
        """The first ``half`` images of each half."""
        return Batch(self.normal[:half], self.defect[:half], self.label[:half])

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, images in channels-last order."""
        normal, defect = (
            t.to(device, memory_format=torch.channels_last) for t in (self.normal, self.defect)
        )
        return Batch(normal, defect, self.label.to(device))


class ImageSet:
    """The images of an index as the networks see them.

    They are decoded once and kept as uint8 as far as the store has room: as frames where an image
    has one view, else whole, for a window of it to be cut out each time. What turns out to be
    damaged is noted in ``damaged``, with its reason.
    """

    def __init__(self, index: Index, config: DataConfig, *, folder: Path | None = None) -> None:
        """Args: the images, how they are seen and kept, and where on the disk, if anywhere."""
        self.index = index
        self.damaged: dict[Path, str] = {}
        self._viewer = Viewer(config)
        self._strict = config.strict
        # Classes are drawn evenly: images of the scarce ones come most often.
        scarce = sorted(index.members, key=len)
        files = {s.file: s for members in scarce for s in members}
        self._number = {file: i for i, file in enumerate(files)}
        self.store = Store([self._shape(s) for s in files.values()], config, folder)

    def _shape(self, sample: Sample) -> Shape:
        """Of the image as it is kept."""
        if not self._viewer.whole and sample.header is not None:
            return sample.header.height, sample.header.width, self.index.channels
        return *self._viewer.frame, self.index.channels

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width that the networks see."""
        return self._viewer.frame

    def image(self, sample: Sample) -> NDArray[np.uint8]:
        """The image of a sample as it is kept, [H, W, C].

        Raises:
            DataError: if the file is damaged, or no longer what it was.
        """
        number = self._number[sample.file]
        kept = self.store.get(number)
        if kept is not None:
            return kept
        picture = read_picture(sample.file)
        pixels = as_channels(picture, self.index.channels)
        if self._viewer.whole:
            pixels = self._viewer(picture.size).see(pixels)
        if pixels.shape != self._shape(sample):
            raise DataError(
                f"{sample.file} has changed: it is {pixels.shape[1]} x {pixels.shape[0]} now; "
                "leave images alone while they are learned from"
            )
        levels = self.index.levels or picture.full
        if levels != BYTES:
            pixels = np.rint((to_signed(pixels, levels) + 1) * np.float32(127.5))
        image = np.asarray(pixels, dtype=np.uint8)
        self.store.put(number, image)
        return image

    def view(
        self,
        sample: Sample,
        image: NDArray[np.uint8],
        k: int,
        *,
        rng: np.random.Generator | None = None,
    ) -> tuple[NDArray[np.uint8], list[int]]:
        """What the networks see of a sample that was drawn for class k, and the classes in it.

        A window lies round a defect of class k where that is known, and anywhere else at random;
        without ``rng`` it lies in the middle of where it may.
        """
        if self._viewer.whole:
            return image, self.index.numbers(sample.labels)
        name = self.index.classes[k]
        marks = [mark for mark in sample.marks if mark.label in (None, name)] if k else []
        chosen = marks[0 if rng is None else int(rng.integers(len(marks)))] if marks else None
        view = self._viewer(image.shape[:2], rng=rng, around=chosen and chosen.box)
        seen = view.see(image)
        if chosen is None or chosen.label is None:
            return seen, self.index.numbers(sample.labels)
        shown = {str(mark.label) for mark in sample.marks if view.window.holds_centre(mark.box)}
        return seen, self.index.numbers(sorted(shown | {name}))

    def sound(self, k: int, i: int) -> tuple[Sample, NDArray[np.uint8]]:
        """Sample i of class k and its image; in the place of a damaged one the next that is not, so
        that batches stay a function of the step.

        Raises:
            DataError: if all of the class are damaged, or the settings are strict.
        """
        members = self.index.members[k]
        if self._strict:
            return members[i], self.image(members[i])
        found = first_sound(members, i, attrgetter("file"), self.image, self.damaged)
        if found is not None:
            return found
        raise DataError(
            f"all images of class {self.index.classes[k]} are damaged, the last: "
            f"{self.damaged[members[i].file]}"
        )


def unit(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Values in [0, 1] from 0..255."""
    return image * np.float32(1 / 255)


def to_tensor(images: Sequence[NDArray[np.float32]]) -> Tensor:
    """[B, C, H, W] in [-1, 1] from images [H, W, C] in [0, 1]."""
    stacked = np.stack(images).transpose(0, 3, 1, 2) * 2 - 1
    return torch.from_numpy(np.ascontiguousarray(stacked))


class Batches:
    """Batches as a function of the step: what is drawn depends on (seed, step, part) alone, never
    on state.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        batch_size: int,
        augment: AugmentConfig,
        seed: int,
        rows: slice = slice(None),
    ) -> None:
        """Args: the images, the settings, and which rows of each half of a batch are made."""
        self.images = images
        self._half = batch_size // 2
        self._rows = rows
        height, width = images.frame
        self._augment = Augment(augment, square=height == width)
        self._seed = seed

    def __call__(self, step: int, part: int) -> Batch:
        """The batch of a step; ``part`` tells the draws within a step apart (critic steps, then the
        generator's).
        """
        rng = np.random.default_rng([self._seed, step, part])
        classes = [0] * self._half + self._classes(rng)
        members = self.images.index.members
        # Drawn for the whole batch, of which a process makes its own rows.
        drawn = [(k, int(rng.integers(len(members[k]))), int(rng.integers(2**31))) for k in classes]
        normal, defects = (
            [self._example(*one) for one in half[self._rows]]
            for half in (drawn[: self._half], drawn[self._half :])
        )
        return Batch(
            to_tensor([image for image, _ in normal]),
            to_tensor([image for image, _ in defects]),
            self._labels([numbers for _, numbers in defects]),
        )

    def _example(self, k: int, i: int, seed: int) -> tuple[NDArray[np.float32], list[int]]:
        """Image i of class k as the networks see it, augmented, and the classes in it."""
        rng = np.random.default_rng(seed)
        image, numbers = self.images.view(*self.images.sound(k, i), k, rng=rng)
        return self._augment(unit(image), seed=seed), numbers

    def _labels(self, rows: Sequence[Sequence[int]]) -> Tensor:
        label = torch.zeros(len(rows), len(self.images.index.classes))
        for row, numbers in zip(label, rows, strict=True):
            row[numbers] = 1
        return label

    def fixed(self, k: int, count: int) -> Tensor:
        """Images of class k spread over its files, not augmented, [count, C, H, W]; a class with
        fewer images repeats them.
        """
        total = len(self.images.index.members[k])
        drawn = [self.images.sound(k, i * total // count) for i in range(count)]
        return to_tensor([unit(self.images.view(*one, k)[0]) for one in drawn])

    def _classes(self, rng: np.random.Generator) -> list[int]:
        """Defect classes drawn evenly: every class once before any comes twice, in random order."""
        count = len(self.images.index.classes) - 1
        rounds = -(-self._half // count)
        drawn = np.concatenate([1 + rng.permutation(count) for _ in range(rounds)])
        return [int(k) for k in drawn[: self._half]]


def make_batches(config: Config, images: ImageSet, *, rows: slice = slice(None)) -> Batches:
    """The batches of a training with these settings; of each half only some rows where told."""
    training = config.training
    return Batches(
        images,
        batch_size=training.batch_size,
        augment=config.augment,
        seed=training.seed,
        rows=rows,
    )
