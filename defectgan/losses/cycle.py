"""What a cycle must give back, and what a mask may cover.

B batch, C image channels, K classes, H x W pixels. Images lie in [-1, 1], masks in [0, 1] with
1 = defect. Every function returns an unweighted scalar: a weight stands in the method that uses the
term.

Source: Zhang et al., "Defect-GAN", WACV 2021, where no other is named.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Of a share whose both parts may be 0.
EPSILON = 1e-12
# Opacities no nearer to 0 and 1 count in a likelihood, which would be infinite there.
SURE = 1e-5


def reconstruction(image: Tensor, cycled: Tensor) -> Tensor:
    """``|x - x_cycled|_1``, mean over pixels: a cycle gives the image back."""
    return F.l1_loss(cycled, image)


def within(image: Tensor, other: Tensor, where: Tensor) -> Tensor:
    """``|x - y|_1``, mean over the pixels that lie ``where`` [B, 1, H, W] in [0, 1] says, of the
    whole batch: a defect of a few pixels would drown in the mean over all.
    """
    apart = (image - other).abs().mean(1, keepdim=True)
    return (apart * where).sum() / (where.sum() + 1)


def mask_cycle(mask: Tensor, cycled_mask: Tensor) -> Tensor:
    """``|m - m_cycled|_1``, mean over pixels: what one pass paints, the other takes away at the
    same place.
    """
    return F.l1_loss(cycled_mask, mask)


def mask_sparsity(mask: Tensor, share: Tensor | None = None) -> Tensor:
    """``|m|_1``, mean over pixels, of either pass: a layer covers no more than it needs.

    Args:
        mask: [B, 1, H, W].
        share: [B], in [0, 1], how much of the term each image is charged; None: all of it, the
            paper's.
    """
    area = mask.mean((1, 2, 3))
    return (area if share is None else share * area).mean()


def mask_supervision(mask: Tensor, truth: Tensor) -> Tensor:
    """``1 - 2 <m, t> / (|m|_1 + |t|_1)``, 0 for an image whose true mask is not known, mean over
    the batch: a restoration covers the defect, however small, and nothing else.

    Args:
        mask: [B, 1, H, W], of restorations.
        truth: [B, 1, H, W] in [0, 1], NaN where it is not known.

    Source: Milletari et al., "V-Net", 3DV 2016, with absolute instead of squared norms. Not in the
        paper: for the few images that somebody has marked.
    """
    known = truth.isfinite().flatten(1).all(1).float()
    t = truth.nan_to_num()
    both, either = ((mask * t).sum((1, 2, 3)), (mask + t).sum((1, 2, 3)))
    return ((1 - 2 * both / (either + EPSILON)) * known).mean()


def mask_likelihood(mask: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy of masks with true ones, mean over pixels.

    Args:
        mask: [B, 1, H, W].
        truth: [B, 1, H, W] in {0, 1}.
    """
    with torch.autocast(mask.device.type, enabled=False):
        return F.binary_cross_entropy(mask.float().clamp(SURE, 1 - SURE), truth)
