"""Between the pixels of an image and what a model takes and gives."""

from dataclasses import replace

import torch
from torch import Tensor

from defectgan.images import Levels, Picture, as_channels, to_signed
from defectgan.networks.detail import band
from defectgan.views import View

# An opacity that nobody sees. The sigmoid of the mask never reaches 0: without a cut-off the whole
# image would be touched.
INVISIBLE = 0.04


def model_view(source: Picture, view: View, channels: int, levels: Levels) -> Tensor:
    """A view of the original as the model sees it, [C, h, w] in [-1, 1]."""
    window = view.window
    part = Picture(window.cut(source.pixels.transpose(2, 0, 1)).transpose(1, 2, 0))
    alone = replace(view, window=window._replace(left=0, top=0))
    seen = to_signed(alone.see(as_channels(part, channels)), levels)
    return torch.from_numpy(seen).permute(2, 0, 1)


def finer_change(
    source: Picture, view: View, image: Tensor, detail: Tensor, levels: Levels
) -> Tensor:
    """What ``detail`` [C + 1, S h, S w] of a painting changes of what a view of the original shows
    beyond the frame [C, h, w] that the model saw: [C, S h, S w], 0 where it is not known.
    """
    finer = view.finer(detail.shape[1] // image.shape[1])
    seen = model_view(source, finer, len(image), levels)
    return detail[-1:] * (detail[:-1] - band(seen[None], image[None])[0])


def row_noise(seed: int, size: int) -> Tensor:
    """The noise [N] of an image, drawn on the CPU: every device makes the same image."""
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def seen_opacity(mask: Tensor) -> Tensor:
    """The opacities of a mask, 0 where nobody would see them."""
    return torch.where(mask < INVISIBLE, 0.0, mask)
