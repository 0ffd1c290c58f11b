"""What compares two images in the features that a network sees of them.

A set of features is a list of maps [B, c_i, h_i, w_i], of one network or of several. Every function
returns an unweighted scalar: a weight stands in the method that uses the term.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Maps = Sequence[Tensor]


def feature_matching(real: Sequence[Maps], fake: Sequence[Maps]) -> Tensor:
    """``E |D_i(x) - D_i(x^)|_1`` over the layers i of a critic, the mean over its layers and over
    the critics: a fake looks to them as the real image does. 0 for equal images; no gradient goes
    to the real side.

    Args:
        real, fake: of each critic the maps of its layers, without the score.

    Source: Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional
        GANs", CVPR 2018, eq. 4, whose sum over the critics is a mean here, as in its authors' code.
    """
    return torch.stack([perceptual(x, y) for x, y in zip(real, fake, strict=True)]).mean()


def perceptual(real: Maps, fake: Maps, weights: Sequence[float] | None = None) -> Tensor:
    """``sum_i w_i |F_i(x) - F_i(x^)|_1``, the mean over the values of each map: how far apart a
    network that knows images sees two of them.

    Args:
        real: what it sees of the real image, which gets no gradient.
        fake: of the other.
        weights: of each map; all alike, 1 in sum, by default.

    Source: Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution",
        ECCV 2016, eq. 2, with L1 as in pix2pixHD.
    """
    shares = weights or [1 / len(real)] * len(real)
    each = (
        w * F.l1_loss(b.float(), a.detach().float())
        for w, a, b in zip(shares, real, fake, strict=True)
    )
    return torch.stack(list(each)).sum()
