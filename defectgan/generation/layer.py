"""The model's layer, composed into the pixels of a source image at its own size and depth."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from defectgan.compose import compose
from defectgan.images import LUMA, Levels, Picture, as_channels, to_signed
from defectgan.views import View

# An opacity that nobody sees. The sigmoid of the mask never reaches 0: without a cut-off the whole
# image would be touched.
INVISIBLE = 0.04


class Painted(NamedTuple):
    """``pixels`` as the source has them (size, channels, depth), and the ``mask`` [H, W], 0..255,
    as it is written.
    """

    pixels: NDArray[np.generic]
    mask: NDArray[np.uint8]


def paint_source(
    source: Picture, view: View, image: Tensor, foreground: Tensor, mask: Tensor, levels: Levels
) -> Painted:
    """Compose a layer into the original pixels.

    Not the foreground itself is enlarged but its difference to the image that the model saw; added
    to the original pixels it keeps their grain and sharpness under a translucent layer. Where the
    written mask is 0, and beside the view, a pixel keeps its value exactly.

    Args:
        source: the original.
        view: what the model saw of it.
        image: [C, h, w] in [-1, 1], the frame that the model saw.
        foreground: [C, h, w] in [-1, 1], the layer's colour.
        mask: [1, h, w] in [0, 1], the layer's opacity.
        levels: the pixel values of the original that are -1 and 1.
    """
    window, channels = view.window, source.pixels.shape[2]
    part = view.window.cut(source.pixels.transpose(2, 0, 1))
    opacity = _put_back(seen_opacity(mask), view)
    written = (opacity[0] * 255).round().to(torch.uint8).numpy()
    change = _put_back(_match(foreground - image, channels), view)
    original = torch.from_numpy(part.astype(np.float32))
    covered = original + change * ((levels.white - levels.black) / 2)
    painted = compose(
        original[None],
        covered.clamp(*levels if part.dtype.kind == "f" else source.full)[None],
        torch.from_numpy(written / np.float32(255))[None, None],
    )[0].numpy()
    if part.dtype.kind != "f":
        painted = painted.round()
    touched = np.where(written > 0, painted.astype(part.dtype), part)
    pixels, whole = source.pixels.copy(), np.zeros(source.pixels.shape[:2], np.uint8)
    window.cut(pixels.transpose(2, 0, 1))[:] = touched
    window.cut(whole)[:] = written
    return Painted(pixels, whole)


def seen_opacity(mask: Tensor) -> Tensor:
    """The opacities of a mask, 0 where nobody would see them."""
    return torch.where(mask < INVISIBLE, 0.0, mask)


def model_view(source: Picture, view: View, channels: int, levels: Levels) -> Tensor:
    """A view of the original as the model sees it, [C, h, w] in [-1, 1]."""
    window = view.window
    part = Picture(window.cut(source.pixels.transpose(2, 0, 1)).transpose(1, 2, 0))
    alone = replace(view, window=window._replace(left=0, top=0))
    seen = to_signed(alone.see(as_channels(part, channels)), levels)
    return torch.from_numpy(seen).permute(2, 0, 1)


def _match(planes: Tensor, channels: int) -> Tensor:
    """A change of colour [C, h, w] for 1 (luma) or 3 channels."""
    if len(planes) == channels:
        return planes
    if channels == 3:
        return planes.expand(3, -1, -1)
    return (planes * torch.tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)


def _put_back(planes: Tensor, view: View) -> Tensor:
    """What belongs to the image of planes [C, h, w] of a frame, at the size of the window."""
    inside = view.inside.cut(planes)[None]
    size = (view.window.height, view.window.width)
    return F.interpolate(inside, size=size, mode="bilinear", antialias=True)[0]
