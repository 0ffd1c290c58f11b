"""The model's layer, composed into the pixels of a source image at its own size and depth."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from defectgan.data.masks import VISIBLE
from defectgan.generation.two_levels import nearer, two_colours
from defectgan.images import LUMA, Levels, Picture
from defectgan.model.pixels import finer_change, seen_opacity
from defectgan.networks.compose import compose
from defectgan.views import View

# Pixels of a window that are composed at once: in floating point they take many times their size.
AT_ONCE = 2**24


class PaintedSource(NamedTuple):
    """``pixels`` as the source has them (size, channels, depth), and the ``mask`` [H, W], 0..255,
    as it is written.
    """

    pixels: NDArray[np.generic]
    mask: NDArray[np.uint8]


def paint_source(
    source: Picture,
    view: View,
    image: Tensor,
    foreground: Tensor,
    mask: Tensor,
    levels: Levels,
    detail: Tensor | None = None,
    region: NDArray[np.bool_] | None = None,
) -> PaintedSource:
    """Compose a layer into the original pixels.

    Not the foreground itself is enlarged but its difference to the image that the model saw; added
    to the original pixels it keeps their grain and sharpness under a translucent layer. Where the
    written mask is 0, beside the view, and outside the region, a pixel keeps its value exactly. In
    an image of two colours a painted pixel has one of them.

    Args:
        source: the original.
        view: what the model saw of it.
        image: [C, h, w] in [-1, 1], the frame that the model saw.
        foreground: [C, h, w] in [-1, 1], the layer's colour.
        mask: [1, h, w] in [0, 1], the layer's opacity.
        levels: the pixel values of the original that are -1 and 1.
        detail: [C + 1, S h, S w], what of the layer is finer than the model sees, as of
            ``networks.detail.unpacked``; None for the original's own.
        region: [height, width] of the view's window, where the mask may be above 0; None: anywhere.
    """
    pixels, whole = source.pixels.copy(), np.zeros(source.pixels.shape[:2], np.uint8)
    part, written = view.window.cut(pixels.transpose(2, 0, 1)), view.window.cut(whole)
    limits = levels if part.dtype.kind == "f" else source.full
    colours = two_colours(source.pixels, levels)
    opacity = _PutBack(seen_opacity(mask), view)
    changes = [_PutBack(_match(foreground - image, source.pixels.shape[2]), view)]
    if detail is not None:
        finer = finer_change(source, view, image, detail, levels)
        by = finer.shape[1] // image.shape[1]
        changes.append(_PutBack(_match(finer, source.pixels.shape[2]), view.finer(by)))
    for rows in _bands(view):
        written[rows] = (opacity(rows)[0] * 255).round().to(torch.uint8).numpy()
        if region is not None:
            written[rows] *= region[rows]
        original = torch.from_numpy(part[:, rows].astype(np.float32))
        change = torch.stack([change(rows) for change in changes]).sum(0)
        covered = original + change * ((levels.white - levels.black) / 2)
        painted = compose(
            original[None],
            covered.clamp(*limits)[None],
            torch.from_numpy(written[rows] / np.float32(255))[None, None],
        )[0].numpy()
        if colours is not None:
            painted = nearer(painted, colours)
        if part.dtype.kind != "f":
            painted = painted.round()
        part[:, rows] = np.where(written[rows] > 0, painted.astype(part.dtype), part[:, rows])
    return PaintedSource(pixels, whole)


def visibly_changed(before: NDArray[Any], after: NDArray[Any], levels: Levels) -> NDArray[np.bool_]:
    """Which pixels of planes [C, H, W] went so far that a person sees it, [H, W]."""
    change = np.abs(after.astype(np.float32) - before).max(axis=0)
    return np.asarray(change >= VISIBLE / 255 * (levels.white - levels.black))


def _bands(view: View) -> Iterator[slice]:
    """The rows of a window, all at once or, of a large one, some after the other."""
    height, width = view.window.height, view.window.width
    rows = height if height * width <= AT_ONCE else max(1, AT_ONCE // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def _match(planes: Tensor, channels: int) -> Tensor:
    """A change of colour [C, h, w] for 1 (luma) or 3 channels."""
    if len(planes) == channels:
        return planes
    if channels == 3:
        return planes.expand(3, -1, -1)
    return (planes * torch.tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)


class _PutBack:
    """What belongs to the image of planes [C, h, w] of a frame, at the size of the window."""

    def __init__(self, planes: Tensor, view: View) -> None:
        inside = view.inside.cut(planes)
        self._height = view.window.height
        self._whole = len(list(_bands(view))) == 1
        high = self._height if self._whole else inside.shape[1]
        size = (high, view.window.width)
        self._planes = F.interpolate(inside[None], size=size, mode="bilinear", antialias=True)[0]

    def __call__(self, rows: slice) -> Tensor:
        """Some rows, [C, rows, W]."""
        if self._whole:
            return self._planes[:, rows]
        high = self._planes.shape[1]
        place = (torch.arange(rows.start, rows.stop) + 0.5) * (high / self._height) - 0.5
        above = place.floor().long()
        share = (place - above)[:, None]
        upper, lower = (self._planes[:, i.clamp(0, high - 1)] for i in (above, above + 1))
        return upper + (lower - upper) * share
