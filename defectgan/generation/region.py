"""The region of an image into which one defect is painted, and the control map that asks for it.

K classes, H x W pixels of a frame or an image.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectgan.data.masks import COVERED
from defectgan.generation.heat import Heat, Learned
from defectgan.generation.plan import PlanRow
from defectgan.generation.where import LearnedArea, Region, Size
from defectgan.generation.wishes import Wishes
from defectgan.images import resize
from defectgan.manifest import Box
from defectgan.model.file import Model
from defectgan.views import View, Viewer, Window

# Draws of a place are apart from those of the noise and of a window without one.
PLACE = 1


class Placed(NamedTuple):
    """A ``view`` of an image, and the ``region`` [h, w] of its window that may be painted, which
    was drawn in a size (``sized``) or is all that is free.
    """

    view: View
    region: Region
    sized: bool

    @property
    def box(self) -> Box:
        """Round the region, in the image."""
        box = box_of(self.region)
        assert box is not None
        left, top, width, height = box
        return left + self.view.window.left, top + self.view.window.top, width, height

    def cover(self) -> Tensor:
        """How much of each pixel of the frame lies in the region, [1, H, W] in [0, 1]."""
        inside = self.view.inside
        seen = resize(self.region[..., None].astype(np.uint8) * 255, inside.width, inside.height)
        frame = np.zeros(self.view.frame, np.float32)
        inside.cut(frame)[:] = seen[..., 0] / np.float32(255)
        return torch.from_numpy(frame)[None]


def control_of(cover: Tensor, label: Tensor) -> Tensor:
    """Control maps that ask for a class where a region is, and for the normal look elsewhere.

    Args:
        cover: [B, 1, H, W], how much of each pixel lies in the region.
        label: [B, K, 1, 1], what is asked for there.

    Returns:
        [B, K, H, W].
    """
    inside = (cover >= COVERED / 255).float()
    normal = torch.zeros_like(label)
    normal[:, 0] = 1
    return label * inside + normal * (1 - inside)


class Placer:
    """Draws where the defects of rows go; the same for the same row and picture."""

    def __init__(self, model: Model) -> None:
        self._viewer = Viewer(model.info.form.view)
        self._heat = cache(lambda defect: Learned(model)(defect))

    def __call__(self, row: PlanRow, size: Size, taken: Region | None) -> Placed | None:
        """The region of a row on an image of this height and width; None where there is no room.

        Args:
            row: what is painted, with what is wished of it.
            size: of the image.
            taken: [H, W], where there are earlier defects; None where there is none.

        Raises:
            DataError: if a mask is missing, damaged or of another size.
        """
        rng = np.random.default_rng([row.seed, PLACE])
        free = _free(row, size, taken)
        spot = self._spot(row, free, rng)
        if spot is None:
            return None
        box, sized = spot
        view = self._viewer(size, rng=rng, around=box)
        region = view.window.cut(free)
        if sized:
            alone = np.zeros(size, bool)
            Window(*box).cut(alone)[:] = True
            region = region & view.window.cut(alone)
        placed = Placed(view, region, sized)
        # What covers no pixel of the frame by half is too small for the model to paint into.
        return placed if (placed.cover() >= COVERED / 255).any() else None

    def _spot(
        self, row: PlanRow, free: Region, rng: np.random.Generator
    ) -> tuple[Box, bool] | None:
        """A box that the window shall hold, and whether that is the region."""
        wishes = row.wishes
        heat = self._heat(row.defect) if isinstance(wishes.where, LearnedArea) else None
        wanted = self._wanted(wishes, heat, free.shape, rng)
        if wanted is None:
            pixel = _pixel(free, rng)
            return None if pixel is None else ((pixel[1], pixel[0], 1, 1), False)
        if heat is not None:
            pixel = heat.draw(free, self._viewer(free.shape), rng)
        else:
            whole = _pixel(_corners(free, wanted), rng)
            if whole is not None:
                return (whole[1], whole[0], wanted[1], wanted[0]), True
            pixel = _pixel(free, rng)
        return None if pixel is None else (_around(pixel, wanted, free.shape), True)

    def _wanted(
        self, wishes: Wishes, heat: Heat | None, size: Size, rng: np.random.Generator
    ) -> Size | None:
        """Height and width of the region, no larger than what the model sees at once."""
        window = self._viewer(size).window
        most = window.height, window.width
        if wishes.size is not None:
            low, high = wishes.size
            drawn = [rng.uniform(low.of(whole), high.of(whole)) for whole in size]
        elif heat is not None:
            # A whole view: the frame is the image.
            inside = self._viewer(size).inside
            drawn = [
                heat.high * size[0] / inside.height,
                heat.wide * size[1] / inside.width,
            ]
        else:
            return None
        high_, wide = (min(max(1, round(d)), m) for d, m in zip(drawn, most, strict=True))
        return high_, wide


def _free(row: PlanRow, size: Size, taken: Region | None) -> Region:
    """Where a defect may be, [H, W]."""
    where, forbidden = row.wishes.where, row.wishes.forbidden
    assert row.source is not None
    free = np.ones(size, bool) if where is None else where.of(row.source, size)
    if forbidden is not None:
        free = free & ~forbidden.of(row.source, size)
    return free if taken is None else free & ~taken


def _corners(free: Region, wanted: Size) -> NDArray[np.bool_]:
    """The pixels at which a box of this height and width begins that is free as a whole."""
    # Not in a network's way: OpenCV takes a quarter of a second to import.
    import cv2

    rows, columns = free.shape[0] - wanted[0] + 1, free.shape[1] - wanted[1] + 1
    kernel = np.ones(wanted, np.uint8)
    fits = cv2.erode(free.astype(np.uint8), kernel, anchor=(0, 0), borderValue=0)
    return fits[:rows, :columns] > 0


def _pixel(free: Region, rng: np.random.Generator) -> tuple[int, int] | None:
    """Row and column of one of the free pixels, all as likely; None where there is none."""
    before = free.sum(axis=1).cumsum()
    if not before[-1]:
        return None
    nth = int(rng.integers(before[-1]))
    row = int(np.searchsorted(before, nth, side="right"))
    first = nth - (int(before[row - 1]) if row else 0)
    return row, int(np.flatnonzero(free[row])[first])


def _around(pixel: tuple[int, int], wanted: Size, size: Size) -> Box:
    """A box of this height and width round a pixel, as far as the image allows."""
    top, left = (
        min(max(0, middle - length // 2), whole - length)
        for middle, length, whole in zip(pixel, wanted, size, strict=True)
    )
    return left, top, wanted[1], wanted[0]


def box_of(found: Region) -> Box | None:
    """[left, top, width, height] round a region [H, W]; None where it is empty."""
    rows, columns = (np.flatnonzero(found.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    top, left = int(rows.min()), int(columns.min())
    return left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1
