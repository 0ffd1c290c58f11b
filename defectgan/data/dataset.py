"""Samples to tensors: which images stand in a batch, decoded, cached and augmented."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectgan.batch import Batch
from defectgan.data.augment import Augment
from defectgan.data.drawn import draw_pair
from defectgan.data.index import Index
from defectgan.data.masks import read_region
from defectgan.data.samples import Mark, Sample
from defectgan.data.store import BYTE, Kept, Shape, Store
from defectgan.errors import DataError
from defectgan.images import DEPTHS, Picture, as_channels, between, first_sound, read_picture, unit
from defectgan.settings.data import AugmentConfig, DataConfig
from defectgan.views import Viewer


class Seen(NamedTuple):
    """What the networks see of a sample: ``image`` [H, W, C], the numbers of the ``classes`` in it,
    and its true mask ``truth`` [H, W, 1] in 0..255, None where it is unknown or nobody asks. The
    whole range of the image's type, which is that of its file, lies between black and white.
    ``twin`` [H, W, C] is the same part of its twin, where it has one.
    """

    image: Kept
    classes: list[int]
    truth: NDArray[np.uint8] | None = None
    twin: Kept | None = None


class ImageSet:
    """The images of an index as the networks see them.

    They are decoded once and kept as far as the store has room, in the depth of their file: as
    frames where an image has one view, else whole, for a window of it to be cut out each time. What
    turns out to be damaged is noted in ``damaged``, with its reason.
    """

    def __init__(
        self,
        index: Index,
        config: DataConfig,
        *,
        folder: Path | None = None,
        truths: bool = False,
    ) -> None:
        """Make room.

        Args:
            index: the images.
            config: how they are seen and kept.
            folder: where on the disk they may be kept, if anywhere.
            truths: whether their true masks are seen too.
        """
        self.index = index
        self.damaged: dict[Path, str] = {}
        self._viewer = Viewer(config)
        self._strict = config.strict
        # Classes are drawn evenly: images of the scarce ones come most often.
        scarce = sorted(index.members, key=len)
        samples = [sample for members in scarce for sample in members]
        slots = {s.file: (self._shape(s, index.channels), _depth(s)) for s in samples}
        if truths:
            slots |= {s.mask: (self._shape(s, 1), BYTE) for s in samples if s.mask is not None}
        self.truths = truths
        self._good = {sample.file: sample for sample in index.members[0]}
        self._number = {file: i for i, file in enumerate(slots)}
        shapes, depths = [s for s, _ in slots.values()], [d for _, d in slots.values()]
        self.store = Store(shapes, config, folder, depths)

    def _shape(self, sample: Sample, channels: int) -> Shape:
        """Of the image or its mask as it is kept."""
        if not self._viewer.whole and sample.header is not None:
            return sample.header.height, sample.header.width, channels
        return *self._viewer.frame, channels

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width that the networks see."""
        return self._viewer.frame

    def image(self, sample: Sample) -> Kept:
        """The image of a sample as it is kept, [H, W, C].

        Raises:
            DataError: if the file is damaged, or no longer what it was.
        """
        shape = self._shape(sample, self.index.channels)
        return self._kept(sample.file, shape, _depth(sample), self._decode)

    def truth(self, sample: Sample) -> NDArray[np.uint8] | None:
        """The true mask of a sample as it is kept, [H, W, 1]; None where it is unknown.

        Raises:
            DataError: as ``image``.
        """
        if sample.mask is None or not self.truths:
            return None
        decode = partial(self._decode_truth, threshold=sample.threshold)
        return self._kept(sample.mask, self._shape(sample, 1), BYTE, decode)

    def twin(self, sample: Sample) -> Kept | None:
        """The image of a sample's twin; None where it has none.

        Raises:
            DataError: as ``image``.
        """
        return None if sample.twin is None else self.image(self._good[sample.twin])

    def _kept(
        self, file: Path, shape: Shape, depth: np.dtype[Any], decode: Callable[[Path], Kept]
    ) -> Kept:
        number = self._number[file]
        kept = self.store.get(number)
        if kept is not None:
            return kept
        pixels = decode(file)
        if pixels.shape != shape or pixels.dtype != depth:
            raise DataError(
                f"{file} has changed: it is {pixels.shape[1]} x {pixels.shape[0]}, {pixels.dtype} "
                "now; leave images alone while they are learned from"
            )
        self.store.put(number, pixels)
        return pixels

    def _decode(self, file: Path) -> Kept:
        picture = read_picture(file)
        return self._between(self._framed(as_channels(picture, self.index.channels)), picture)

    def _between(self, pixels: NDArray[Any], picture: Picture) -> Kept:
        return between(pixels, self.index.levels or picture.full)

    def _decode_truth(self, file: Path, *, threshold: float | None) -> NDArray[np.uint8]:
        return self._framed(np.uint8(255) * read_region(file, threshold)[..., None])

    def _framed(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """As it is kept: a whole image's only view, or all of an image to cut windows from."""
        return self._viewer(pixels.shape[:2]).see(pixels) if self._viewer.whole else pixels

    def view(
        self,
        sample: Sample,
        image: Kept,
        k: int,
        *,
        rng: np.random.Generator | None = None,
    ) -> Seen:
        """What the networks see of a sample that was drawn for class k.

        A window lies round a defect of class k where that is known, and anywhere else at random;
        without ``rng`` it lies in the middle of where it may.
        """
        truth, twin = self.truth(sample), self.twin(sample)
        if self._viewer.whole:
            return Seen(image, self.index.numbers(sample.labels), truth, twin)
        name, chosen = self.index.classes[k], self._mark(sample, k, rng)
        view = self._viewer(image.shape[:2], rng=rng, around=chosen and chosen.box)
        labels: Iterable[str] = sample.labels
        if chosen is not None and chosen.label is not None:
            inside = [mark for mark in sample.marks if view.window.holds_centre(mark.box)]
            labels = sorted({name, *(str(mark.label) for mark in inside)})
        return Seen(
            view.see(image),
            self.index.numbers(labels),
            None if truth is None else view.see(truth),
            None if twin is None else view.see(twin),
        )

    def _mark(self, sample: Sample, k: int, rng: np.random.Generator | None) -> Mark | None:
        """The defect of class k that a window lies round, None where none is known."""
        marks = sample.marks_of(self.index.classes[k]) if k else []
        return marks[0 if rng is None else int(rng.integers(len(marks)))] if marks else None

    def finer(self, sample: Sample, k: int, times: int) -> Kept:
        """The image of a sample as ``view`` shows it without ``rng``, with so many pixels for each,
        each way, read from its file.
        """
        picture, mark = read_picture(sample.file), self._mark(sample, k, None)
        pixels = as_channels(picture, self.index.channels)
        view = self._viewer(pixels.shape[:2], around=mark and mark.box).finer(times)
        return self._between(view.see(pixels), picture)

    def sound(self, k: int, i: int) -> tuple[Sample, Kept]:
        """Sample i of class k and its image; in the place of a damaged one the next that is not, so
        that batches stay a function of the step.

        Raises:
            DataError: if all of the class are damaged, or the settings are strict.
        """
        members = self.index.members[k]
        if self.index.sets:  # a damaged one gives way to one of its own set
            own = self.index.ranges[k][members[i].dataset]
            members, i = members[own.start : own.stop], i - own.start
        if self._strict:
            return members[i], self.image(members[i])
        found = first_sound(members, i, attrgetter("file"), self._with_twin, self.damaged)
        if found is not None:
            return found
        raise DataError(
            f"all images of class {self.index.classes[k]} are damaged, the last: "
            f"{self.damaged[members[i].file]}"
        )

    def _with_twin(self, sample: Sample) -> Kept:
        """The image of a sample whose twin, if it has one, is sound, too."""
        self.twin(sample)
        return self.image(sample)


def _depth(sample: Sample) -> np.dtype[Any]:
    """The type of the values of an image as it is kept."""
    return BYTE if sample.header is None else DEPTHS[sample.header.bits]


class Example(NamedTuple):
    """An augmented sample: as ``Seen``, values in [0, 1]."""

    image: NDArray[np.float32]
    classes: list[int]
    truth: NDArray[np.float32] | None
    twin: NDArray[np.float32] | None


def to_tensor(images: Sequence[NDArray[np.float32]]) -> Tensor:
    """[B, C, H, W] in [-1, 1] from images [H, W, C] in [0, 1]."""
    stacked = np.stack(images).transpose(0, 3, 1, 2) * 2 - 1
    return torch.from_numpy(np.ascontiguousarray(stacked))


def drawn_on(images: Sequence[NDArray[np.float32]], seeds: Sequence[int]) -> dict[str, Tensor]:
    """A drawn defect on each image, and the same on the next one, as in ``Batch``."""
    others = [*images[1:], images[0]]
    pairs = [
        draw_pair(one, other, (seed,))
        for one, other, seed in zip(images, others, seeds, strict=True)
    ]
    flat = [drawn for each in zip(*pairs, strict=True) for drawn in each]
    truths = np.stack([drawn.truth for drawn in flat]).transpose(0, 3, 1, 2)
    return {
        "drawn": to_tensor([drawn.image for drawn in flat]),
        "drawn_truth": torch.from_numpy(np.ascontiguousarray(truths)),
    }


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
        drawn: Collection[int] = (),
    ) -> None:
        """Args: the images, the settings, which rows of each half of a batch are made, and which
        parts of a step have drawn defects.
        """
        self.images = images
        self._half = batch_size // 2
        self._rows = rows
        self._drawn = drawn
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
        sets = [members[k][i].dataset for k, i, _ in drawn[self._half :]]
        if self.images.index.sets:
            drawn[: self._half] = self._beside(sets, drawn[: self._half], rng)
        defects = [self._example(*one) for one in drawn[self._half :][self._rows]]
        normal = self._twins(defects) or [
            self._example(*one).image for one in drawn[: self._half][self._rows]
        ]
        batch = Batch(
            to_tensor(normal),
            to_tensor([one.image for one in defects]),
            self._labels([one.classes for one in defects]),
            self._truths([one.truth for one in defects]),
            known=self._known(sets[self._rows]),
        )
        if part not in self._drawn:
            return batch
        shown = normal[: max(1, len(normal) // 2)]
        seeds = [seed for _, _, seed in drawn[: self._half][self._rows][: len(shown)]]
        return batch._replace(**drawn_on(shown, seeds))

    @staticmethod
    def _twins(defects: Sequence[Example]) -> list[NDArray[np.float32]]:
        """The twin of each image, or none."""
        return [one.twin for one in defects if one.twin is not None]

    def _beside(
        self, sets: Sequence[int], drawn: Sequence[tuple[int, int, int]], rng: np.random.Generator
    ) -> list[tuple[int, int, int]]:
        """In the place of normal images others, each of the set of the defect in its row."""
        own = [self.images.index.ranges[0][number] for number in sets]
        return [
            (0, int(rng.integers(one.start, one.stop)), seed)
            for one, (_, _, seed) in zip(own, drawn, strict=True)
        ]

    def _known(self, sets: Sequence[int]) -> Tensor:
        """The classes that the labels of each row's set tell of, as in ``Batch``."""
        if not self.images.index.sets:
            return torch.empty(0)
        return self._labels([[*self.images.index.known[number]] for number in sets])

    def _example(self, k: int, i: int, seed: int) -> Example:
        """Image i of class k as the networks see it, augmented."""
        rng = np.random.default_rng(seed)
        seen = self.images.view(*self.images.sound(k, i), k, rng=rng)
        truth = None if seen.truth is None else unit(seen.truth)
        image, truth = self._augment.together(unit(seen.image), truth, seed=seed)
        # What is drawn for an image follows from the seed alone: its twin moves as it does.
        twin = None if seen.twin is None else self._augment(unit(seen.twin), seed=seed)
        return Example(image, seen.classes, truth, twin)

    def _labels(self, rows: Sequence[Sequence[int]]) -> Tensor:
        label = torch.zeros(len(rows), len(self.images.index.classes))
        for row, numbers in zip(label, rows, strict=True):
            row[numbers] = 1
        return label

    def _truths(self, masks: Sequence[NDArray[np.float32] | None]) -> Tensor:
        if not self.images.truths:
            return torch.empty(0)
        unknown = np.full((*self.images.frame, 1), np.nan, dtype=np.float32)
        known = np.stack([unknown if mask is None else mask for mask in masks])
        return torch.from_numpy(np.ascontiguousarray(known.transpose(0, 3, 1, 2)))

    def fixed(self, k: int, count: int, *, beside: int | None = None) -> Tensor:
        """Images of class k spread over its files, not augmented, [count, C, H, W]; a class with
        fewer images repeats them. Of several data sets those that have the class ``beside``.
        """
        drawn = self._spread(k, count, k if beside is None else beside)
        return to_tensor([unit(self.images.view(*one, k).image) for one in drawn])

    def finer(self, k: int, count: int, times: int) -> Tensor:
        """The same images with so many pixels for each, each way."""
        drawn = self._spread(k, count, k)
        return to_tensor([unit(self.images.finer(sample, k, times)) for sample, _ in drawn])

    def _spread(self, k: int, count: int, beside: int) -> list[tuple[Sample, Kept]]:
        places = self.images.index.beside(k, beside)
        return [self.images.sound(k, places[i * len(places) // count]) for i in range(count)]

    def _classes(self, rng: np.random.Generator) -> list[int]:
        """Defect classes drawn evenly: every class once before any comes twice, in random order."""
        count = len(self.images.index.classes) - 1
        rounds = -(-self._half // count)
        drawn = np.concatenate([1 + rng.permutation(count) for _ in range(rounds)])
        return [int(k) for k in drawn[: self._half]]
