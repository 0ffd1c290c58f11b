"""What of an image is finer than a model sees, kept where a defect was taken away.

B images, E exemplars, C image channels, H x W pixels that a model sees, each S x S finer ones,
h x w cells of ``CELL`` pixels each way.

A model of 64 pixels paints soft defects into sharp photographs, and a classifier sees it. But of a
real defect all is known: its band of detail, what is left of the photograph when what the model
sees is subtracted, goes with the exemplar and takes the place of the source's own band. As in a
Laplacian pyramid (Burt and Adelson, "A Multiresolution Spline with Application to Image Mosaics",
1983), the levels are blended each for itself: the coarse one by the networks.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Pixels that detail reaches up to, each way.
FINEST = 256
# Whole numbers for the 2 that a band can differ by.
STEPS = 127 / 2


def finer_by(size: tuple[int, int]) -> int:
    """S: how many finer pixels each way stand for one of a model of H x W."""
    return max(1, FINEST // max(size))


def band(finer: Tensor, seen: Tensor) -> Tensor:
    """What images [B, C, S H, S W] show that is not in the same [B, C, H, W]."""
    return finer - F.interpolate(seen, size=finer.shape[2:], mode="bilinear")


def packed(bands: Tensor, taken: Tensor) -> tuple[Tensor, Tensor]:
    """Only the cells where something was taken away.

    Args:
        bands: [E, C, S H, S W] in [-2, 2].
        taken: [E, h, w], whether anything was.

    Returns:
        The tiles [T, C, s, s] as bytes, and the number [E, h, w] of each cell's, -1 where there is
        none.
    """
    side = bands.shape[2] // taken.shape[1]
    cells = bands.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5)
    tiles = (cells[taken] * STEPS).round().clamp(-127, 127).to(torch.int8)
    number = torch.full(taken.shape, -1, dtype=torch.int32, device=taken.device)
    number[taken] = torch.arange(len(tiles), dtype=torch.int32, device=taken.device)
    return tiles, number


def unpacked(tiles: Tensor, number: Tensor) -> Tensor:
    """The bands [B, C + 1, S H, S W] of cells [B, h, w]; the last channel is 1 where there are any,
    the others are 0 where there are none.
    """
    known = number >= 0
    bands = tiles.new_zeros(*number.shape, *tiles.shape[1:], dtype=torch.float32)
    bands[known] = tiles[number[known].long()] / STEPS
    b, h, w, c, side, _ = bands.shape
    whole = bands.permute(0, 3, 1, 4, 2, 5).reshape(b, c, h * side, w * side)
    there = known[:, None].float().repeat_interleave(side, 2).repeat_interleave(side, 3)
    return torch.cat([whole, there], dim=1)
