"""Samples to tensors: which images stand in a batch, decoded, cached and augmented."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectgan.config import AugmentConfig, DataConfig
from defectgan.control import one_hot
from defectgan.data.augment import Augment
from defectgan.data.index import Index
from defectgan.images import as_channels, read_picture, resize

MIB = 2**20


class Batch(NamedTuple):
    """Half normal, half defect images.

    ``normal`` and ``defect`` [B/2, C, H, W] in [-1, 1]; ``label`` [B/2, K], one-hot, of the defect
    images, and at once the classes that the normal images are to be turned into.
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
    each time.
    """

    def __init__(self, index: Index, config: DataConfig) -> None:
        self.index = index
        self._size = config.image_size
        self._room = config.cache_mib * MIB
        self._cache: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def image(self, k: int, i: int) -> NDArray[np.uint8]:
        """Image i of class k, [H, W, C]."""
        cached = self._cache.get((k, i))
        if cached is not None:
            return cached
        picture = read_picture(self.index.files[k][i])
        pixels = as_channels(picture, self.index.channels)
        if picture.white > 255:
            pixels = pixels.astype(np.float32) * (255 / picture.white)
        image = np.asarray(np.rint(resize(pixels, self._size, self._size)), dtype=np.uint8)
        if self._room >= image.nbytes:
            self._room -= image.nbytes
            self._cache[k, i] = image
        return image


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
        files = self.images.index.files
        normals = [(0, int(rng.integers(len(files[0])))) for _ in range(self._half)]
        defects = [(k, int(rng.integers(len(files[k])))) for k in self._classes(rng)]
        pixels = [unit(self.images.image(k, i)) for k, i in normals + defects]
        images = to_tensor(self._augment(pixels, seed=int(rng.integers(2**31))))
        label = one_hot([k for k, _ in defects], len(files))
        return Batch(images[: self._half], images[self._half :], label)

    def fixed(self, k: int, count: int) -> Tensor:
        """Images of class k spread over its files, not augmented, [count, C, H, W]; a class with
        fewer images repeats them.
        """
        chosen = self.images.index.spread(k, count)
        images = [unit(self.images.image(k, chosen[i % len(chosen)])) for i in range(count)]
        return to_tensor(images)

    def _classes(self, rng: np.random.Generator) -> list[int]:
        """Defect classes drawn evenly: every class once before any comes twice, in random order."""
        count = len(self.images.index.files) - 1
        rounds = -(-self._half // count)
        drawn = np.concatenate([1 + rng.permutation(count) for _ in range(rounds)])
        return [int(k) for k in drawn[: self._half]]
