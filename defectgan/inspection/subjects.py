"""What can be inspected: a model on real images in both directions, or a generated set."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from defectgan.data.index import Index
from defectgan.data.masks import half_covered, read_region
from defectgan.data.samples import Sample
from defectgan.errors import DataError
from defectgan.files import digest
from defectgan.images import (
    Levels,
    Picture,
    read_hashed,
    read_mask,
    read_picture,
    to_bytes,
    to_signed,
)
from defectgan.inspection.poses import Pose, learned_poses
from defectgan.inspection.subject import (
    DEFACED,
    GENERATED,
    RESTORED,
    Mask,
    Pixels,
    Place,
    Subject,
)
from defectgan.manifest import ManifestRow
from defectgan.memory import MAKE_ROOM, enough_memory
from defectgan.model.file import Model
from defectgan.model.info import MASK_THRESHOLD
from defectgan.model.pixels import model_view, row_noise
from defectgan.views import View, Viewer, Window

NORMAL = 0


class RealImages:
    """A model on real images: each defect restored, its mask and what it changed, means over all
    learned poses, held against the true mask, and each class painted on good images and taken away
    again; of a method that takes nothing away, painted alone.

    Args:
        model: the model, on the device.
        index: real images of the model's classes.
        per_class: images of each class and direction, spread evenly over its files.
        device: where to compute.
    """

    def __init__(self, model: Model, index: Index, *, per_class: int, device: torch.device) -> None:
        self._model, self._index, self._device = model, index, device
        self._viewer = Viewer(model.info.form.view)
        height, width = self._viewer.frame
        self._poses = learned_poses(model.info.form.poses, square=height == width)
        names = list(enumerate(index.classes[1:], start=1))
        self._restores = model.painter.method.restores
        self._real = [
            (s, name) for k, name in names for s in index.spread(k, per_class) if self._restores
        ]
        self._good = [(s, name) for _, name in names for s in index.spread(NORMAL, per_class)]
        self.damaged: dict[Path, str] = {}

    def __len__(self) -> int:
        return len(self._real) + len(self._good)

    def __iter__(self) -> Iterator[Subject]:
        if self._restores:
            yield from self.restored()
        yield from self._sound(self._good, self._deface)

    def restored(self) -> Iterator[Subject]:
        """The defects taken away.

        Raises:
            ModelError: if the model takes none away.
        """
        self._model.must_restore()
        yield from self._sound(self._real, self._restore)

    def _sound(
        self, samples: Iterable[tuple[Sample, str]], judge: Callable[[Sample, str], Subject]
    ) -> Iterator[Subject]:
        """What can be read; the rest is noted."""
        for sample, name in samples:
            try:
                with enough_memory("one image", MAKE_ROOM, mend=("device", "cpu")):
                    subject = judge(sample, name)
            except DataError as error:
                self.damaged[sample.file] = str(error)
            else:
                yield subject

    def _restore(self, sample: Sample, name: str) -> Subject:
        picture, view = self._look(sample, name)
        image = self._seen(picture, view)
        painted, masks = zip(*(self._posed(image, pose) for pose in self._poses), strict=True)
        mask, change = (
            torch.cat(maps).mean(0, keepdim=True)
            for maps in (masks, [_gone(image, restored) for restored in painted])
        )
        subject = self._subject(sample, name, RESTORED, image, painted[0], mask, change)
        place = _place(view.window, picture.size)
        if sample.mask is None:
            return replace(subject, place=place)
        mask_seen = view.see(np.uint8(255) * read_region(sample.mask)[..., None])
        return replace(subject, place=place, truth=half_covered(mask_seen[..., 0]))

    def _deface(self, sample: Sample, name: str) -> Subject:
        picture, view = self._look(sample, name)
        image = self._seen(picture, view)
        painted, mask = self._paint(image, self._model.info.label_of(name))
        again = _plane(self._paint(painted, NORMAL)[1]) if self._restores else None
        change = _gone(image, painted)
        subject = self._subject(sample, name, DEFACED, image, painted, mask, change)
        return replace(subject, place=_place(view.window, picture.size), again=again)

    def _look(self, sample: Sample, name: str) -> tuple[Picture, View]:
        picture = read_picture(sample.file)
        around = next((mark.box for mark in sample.marks_of(name)), None)
        return picture, self._viewer(picture.size, around=around)

    def _seen(self, picture: Picture, view: View) -> Tensor:
        info = self._model.info
        seen = model_view(picture, view, info.channels, info.levels_of(picture))
        return seen[None].to(self._device)

    def _posed(self, image: Tensor, pose: Pose) -> tuple[Tensor, Tensor]:
        """The image restored in a pose, and the mask, both turned back."""
        painted, mask = self._paint(pose.take(image), NORMAL)
        return pose.leave(painted), pose.leave(mask)

    @torch.no_grad()
    def _paint(self, image: Tensor, target: int) -> tuple[Tensor, Tensor]:
        painter = self._model.painter
        noise = row_noise(0, painter.noise_size(*self._viewer.frame))[None].to(self._device)
        return painter.paint(image, [target], noise)

    def _subject(
        self,
        sample: Sample,
        name: str,
        direction: str,
        image: Tensor,
        painted: Tensor,
        mask: Tensor,
        change: Tensor,
    ) -> Subject:
        before, after = to_bytes(image[0]), to_bytes(painted[0])
        return Subject(
            name=_relative(sample.file, self._index.root),
            defect=name,
            direction=direction,
            before=before,
            after=after,
            mask=_plane(mask),
            change=_plane(change),
            digest=_pixels_digest(after),
        )


class GeneratedSet:
    """The images of a generated set, by the rows of its manifest: of each what the model saw of its
    source.
    """

    def __init__(self, folder: Path, rows: Sequence[ManifestRow]) -> None:
        self._folder, self._rows = folder, rows
        # Damaged files are no set; what is gone has no row here.
        self.damaged: dict[Path, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Subject]:
        for row in self._rows:
            yield self._subject(row)

    def _subject(self, row: ManifestRow) -> Subject:
        """One image.

        Raises:
            DataError: if a file that the row names is gone or damaged.
        """
        made, mask = read_picture(self._folder / row.output), read_mask(self._folder / row.mask)
        rows, columns = made.size
        window = Window(*(row.window or (0, 0, columns, rows)))
        subject = Subject(
            name=row.output.removeprefix("images/"),
            defect=row.defect,
            direction=GENERATED,
            before=None,
            after=_shown(made, window, _levels(made)),
            mask=window.cut(mask) / np.float32(255),
            place=_place(window, made.size),
            digest=_pixels_digest(made.pixels),
        )
        if (original := _source(row)) is None:
            return subject
        change = _change(original, made)
        # A soft mask is 0 where nothing was painted, a binary one where its opacity was low.
        threshold = row.threshold_or(MASK_THRESHOLD)
        most = _most_unmarked(original, made, threshold) if row.binary else 0
        return replace(
            subject,
            before=_shown(original, window, _levels(original)),
            after=_shown(made, window, _levels(original)),
            change=window.cut(change),
            strays=int(np.count_nonzero(change[mask == 0] > most)),
        )


def _source(row: ManifestRow) -> Picture | None:
    """The image that was painted on, if it is there as it was."""
    if row.source is None:
        return None
    try:
        original, digest = read_hashed(Path(row.source))
    except DataError:
        return None
    return original if digest == row.source_sha256 else None


def _gone(image: Tensor, painted: Tensor) -> Tensor:
    """How far each pixel of [B, C, H, W] in [-1, 1] went, [B, 1, H, W] in 1/255 of the range."""
    return (painted - image).abs().amax(dim=1, keepdim=True) * 127.5


def _plane(mask: Tensor) -> Mask:
    return np.asarray(mask[0, 0].cpu().numpy())


def _place(window: Window, size: tuple[int, int]) -> Place:
    rows, columns = size
    left, top, width, height = window
    return left / columns, top / rows, width / columns, height / rows


def _relative(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _pixels_digest(pixels: Any) -> str:
    return digest(np.ascontiguousarray(pixels).tobytes())


def _change(before: Picture, after: Picture) -> Mask:
    """How far each pixel went, [H, W], in 1/255 of what fills the range of either."""
    a, b = before.pixels.astype(np.float32), after.pixels.astype(np.float32)
    return np.asarray(np.abs(a - b).max(axis=2) * (255 / _span(before, after)), dtype=np.float32)


def _span(before: Picture, after: Picture) -> float:
    """From black to white in either."""
    levels, other = _levels(before), _levels(after)
    return max(levels.white, other.white) - min(levels.black, other.black)


def _most_unmarked(before: Picture, after: Picture, threshold: float) -> float:
    """How far a pixel can go, as ``_change`` says it, by paint of this opacity, rounding included:
    from black to white at most, of all that its file can hold.
    """
    span = _span(before, after)
    full = before.full
    step = 0 if before.pixels.dtype.kind == "f" else 1
    return (threshold * max(full.white - full.black, span) + step) * 255 / span


def _levels(picture: Picture) -> Levels:
    """The full range of 8 bits; of a deeper image the values that it has, for a 12-bit camera's are
    all near black in 16 bits.
    """
    if picture.pixels.dtype == np.uint8:
        return picture.full
    black = float(picture.pixels.min())
    return Levels(black, max(float(picture.pixels.max()), black + 1e-6))


def _shown(picture: Picture, window: Window, levels: Levels) -> Pixels:
    """A part of an image in 8 bits: a source and what was painted on it have the same levels, for
    one bright pixel of paint would leave the rest black.
    """
    part = window.cut(picture.pixels.transpose(2, 0, 1))
    return to_bytes(to_signed(part, levels))
