"""Images of two colours, as of printed boards after a threshold: what is painted has these alone.

A network of 64 pixels paints gray where such an image is black or white, and nothing could be told
from real more easily. H x W pixels, C channels.
"""

import numpy as np
from numpy.typing import NDArray

from defectgan.images import Levels

# Pixels that are looked at, about.
LOOKED_AT = 2**15
# Of them so many lie as near to one of the two colours, as a share of the range; and so many of
# them to each. What was scaled or compressed strongly has soft edges, and is not of two colours.
NEARLY_ALL, NEAR, SOME = 0.93, 0.05, 0.01
# How far apart they are at least: what has so little contrast was never put through a threshold.
APART = 0.4


def two_colours(pixels: NDArray[np.generic], levels: Levels) -> NDArray[np.float32] | None:
    """The dark and the bright colour [2, C] of an image [H, W, C] that has no others; None if it
    has.

    Args:
        pixels: the image, of any depth.
        levels: its pixel values that are black and white.
    """
    height, width = pixels.shape[:2]
    every = max(1, round((height * width / LOOKED_AT) ** 0.5))
    seen = pixels[::every, ::every].reshape(-1, pixels.shape[2]).astype(np.float32)
    seen, span = seen.clip(*levels), levels.white - levels.black
    gray = seen.mean(axis=1)
    dark, white = gray.min(), gray.max()
    bright = gray > (dark + white) / 2
    if not SOME <= bright.mean() <= 1 - SOME:
        return None
    colours = np.stack([np.median(seen[part], axis=0) for part in (~bright, bright)])
    near = np.abs(seen - colours[bright.astype(int)]).max(axis=1) <= NEAR * span
    apart = colours[1].mean() - colours[0].mean() >= APART * span
    return colours if apart and near.mean() >= NEARLY_ALL else None


def nearer(pixels: NDArray[np.float32], colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of two colours [2, C] that which is nearer to each pixel of [C, ...]."""
    dark, bright = (colour.reshape(-1, *[1] * (pixels.ndim - 1)) for colour in colours)
    along = ((pixels - (dark + bright) / 2) * (bright - dark)).sum(axis=0)
    return np.asarray(np.where(along > 0, bright, dark))
