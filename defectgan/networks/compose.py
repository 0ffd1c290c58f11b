"""The one equation of layer-wise composition."""

from typing import NamedTuple

from torch import Tensor


class Painted(NamedTuple):
    """Composed images [B, C, H, W] in [-1, 1], and the masks of their layers [B, 1, H, W]."""

    image: Tensor
    mask: Tensor


def compose(background: Tensor, foreground: Tensor, mask: Tensor) -> Tensor:
    """Paint a defect layer over an image: ``m * foreground + (1 - m) * background``.

    Args:
        background: [B, C, H, W], values in [-1, 1]; never modified.
        foreground: [B, C, H, W], same range and size.
        mask: [B, 1, H, W], opacity in [0, 1]; 0 keeps the background *exactly*.

    Returns:
        [B, C, H, W] in [-1, 1].

    Raises:
        ValueError: if the sizes differ (broadcasting would hide it).

    Source: Zhang et al., "Defect-GAN", WACV 2021, layer-wise composition.
    """
    batch, _, height, width = background.shape
    if foreground.shape != background.shape or mask.shape != (batch, 1, height, width):
        raise ValueError(
            f"background {tuple(background.shape)} needs a foreground of the same shape and a mask "
            f"[{batch}, 1, {height}, {width}]; got {tuple(foreground.shape)} and "
            f"{tuple(mask.shape)}"
        )
    return foreground * mask + background * (1 - mask)
