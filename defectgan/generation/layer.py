"""The model's layer, composed into the pixels of a source image at its own size and depth."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from defectgan.compose import compose
from defectgan.images import LUMA, Levels, Picture, resize, to_signed

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
    source: Picture, image: Tensor, foreground: Tensor, mask: Tensor, levels: Levels
) -> Painted:
    """Compose a layer into the original pixels.

    Not the foreground itself is enlarged but its difference to the image that the model saw; added
    to the original pixels it keeps their grain and sharpness under a translucent layer. Where the
    written mask is 0 a pixel keeps its value exactly.

    Args:
        source: the original.
        image: [C, h, w] in [-1, 1], the original at the model's size.
        foreground: [C, h, w] in [-1, 1], the layer's colour.
        mask: [1, h, w] in [0, 1], the layer's opacity.
        levels: the pixel values of the original that are -1 and 1.
    """
    height, width, channels = source.pixels.shape
    opacity = _enlarge(torch.where(mask < INVISIBLE, 0.0, mask), height, width)
    written = (opacity[0] * 255).round().to(torch.uint8).numpy()
    change = _enlarge(_match(foreground - image, channels), height, width)
    original = torch.from_numpy(source.pixels.astype(np.float32)).permute(2, 0, 1)
    covered = original + change * ((levels.white - levels.black) / 2)
    painted = compose(
        original[None],
        covered.clamp(*levels if source.pixels.dtype.kind == "f" else source.full)[None],
        torch.from_numpy(written / np.float32(255))[None, None],
    )[0]
    pixels = painted.permute(1, 2, 0).numpy()
    if source.pixels.dtype.kind != "f":
        pixels = pixels.round()
    touched = written[..., None] > 0
    return Painted(np.where(touched, pixels.astype(source.pixels.dtype), source.pixels), written)


def model_view(source: Picture, channels: int, size: int, levels: Levels) -> Tensor:
    """The original as the model sees it, [C, size, size] in [-1, 1]."""
    small = torch.from_numpy(resize(to_signed(source.pixels, levels), size, size))
    return _match(small.permute(2, 0, 1), channels)


def _match(planes: Tensor, channels: int) -> Tensor:
    """Planes [C, h, w] with 1 (luma) or 3 channels."""
    if len(planes) == channels:
        return planes
    if channels == 3:
        return planes.expand(3, -1, -1)
    return (planes * torch.tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)


def _enlarge(planes: Tensor, height: int, width: int) -> Tensor:
    resized = F.interpolate(planes[None], size=(height, width), mode="bilinear", antialias=True)
    return resized[0]
