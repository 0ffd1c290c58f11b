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
from defectgan.errors import DataError
from defectgan.images import Levels, as_channels, first_sound, read_picture, resize, to_signed

MIB = 2**20
BYTES = Levels(0, 255)


class Batch(NamedTuple):
    """Half normal, half defect images.

    ``normal`` and ``defect`` [B/2, C, H, W] in [-1, 1]; ``label`` [B/2, K] in {0, 1}, the classes
    of the defect images, and at once those that the normal images are to be turned into.
    """

    normal: Tensor
    defect: Tensor
    label: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, images in channels-last order."""
        normal, defect = (
            t.to(device, memory_format=torch.channels_last) for t in (self.normal, self.defect)
        )
        return Batch(normal, defect, self.label.to(device))


class ImageSet:
    """The images of an index at training size.

    They are decoded once and kept as uint8 as long as the cache has room; the others are decoded
    each time. What turns out to be damaged is noted in ``damaged``, with its reason.
    """

    def __init__(self, index: Index, config: DataConfig) -> None:
        self.index = index
        self.damaged: dict[Path, str] = {}
        self._size = config.image_size
        self._strict = config.strict
        self._room = config.cache_mib * MIB
        self._cache: dict[Path, NDArray[np.uint8]] = {}

    def image(self, path: Path) -> NDArray[np.uint8]:
        """The image of a file, [H, W, C].

        Raises:
            DataError: if the file is damaged.
        """
        cached = self._cache.get(path)
        if cached is not None:
            return cached
        picture = read_picture(path)
        pixels = as_channels(picture, self.index.channels)
        levels = self.index.levels or picture.full
        if levels != BYTES:
            pixels = (to_signed(pixels, levels) + 1) * np.float32(127.5)
        image = np.asarray(np.rint(resize(pixels, self._size, self._size)), dtype=np.uint8)
        if self._room >= image.nbytes:
            self._room -= image.nbytes
            self._cache[path] = image
        return image

    def sound(self, k: int, i: int) -> tuple[Sample, NDArray[np.uint8]]:
        """Sample i of class k and its image; in the place of a damaged one the next that is not, so
        that batches stay a function of the step.

        Raises:
            DataError: if all of the class are damaged, or the settings are strict.
        """
        members = self.index.members[k]
        if self._strict:
            return members[i], self.image(members[i].file)
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
        self, images: ImageSet, *, batch_size: int, augment: AugmentConfig, seed: int
    ) -> None:
        self.images = images
        self._half = batch_size // 2
        self._augment = Augment(augment)
        self._seed = seed

    def __call__(self, step: int, part: int) -> Batch:
        """The batch of a step; ``part`` tells the draws within a step apart (critic steps, then the
        generator's).
        """
        rng = np.random.default_rng([self._seed, step, part])
        chosen = [
            self.images.sound(k, int(rng.integers(len(self.images.index.members[k]))))
            for k in [0] * self._half + self._classes(rng)
        ]
        pixels = [unit(image) for _, image in chosen]
        images = to_tensor(self._augment(pixels, seed=int(rng.integers(2**31))))
        label = self._labels([sample for sample, _ in chosen[self._half :]])
        return Batch(images[: self._half], images[self._half :], label)

    def _labels(self, samples: Sequence[Sample]) -> Tensor:
        index = self.images.index
        label = torch.zeros(len(samples), len(index.classes))
        for row, sample in zip(label, samples, strict=True):
            row[index.numbers(sample)] = 1
        return label

    def fixed(self, k: int, count: int) -> Tensor:
        """Images of class k spread over its files, not augmented, [count, C, H, W]; a class with
        fewer images repeats them.
        """
        total = len(self.images.index.members[k])
        return to_tensor([unit(self.images.sound(k, i * total // count)[1]) for i in range(count)])

    def _classes(self, rng: np.random.Generator) -> list[int]:
        """Defect classes drawn evenly: every class once before any comes twice, in random order."""
        count = len(self.images.index.classes) - 1
        rounds = -(-self._half // count)
        drawn = np.concatenate([1 + rng.permutation(count) for _ in range(rounds)])
        return [int(k) for k in drawn[: self._half]]


def make_batches(config: Config, images: ImageSet) -> Batches:
    """The batches of a training with these settings."""
    training = config.training
    return Batches(
        images, batch_size=training.batch_size, augment=config.augment, seed=training.seed
    )
