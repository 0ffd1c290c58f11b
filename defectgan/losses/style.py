"""What ties an image to the style that it was painted in.

B batch, C image channels, H x W pixels, S values of a style. Images lie in [-1, 1]. Every function
returns an unweighted scalar: a weight stands in the method that uses the term.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def style_reconstruction(style: Tensor, found: Tensor) -> Tensor:
    """``|s - E(G(x, s))|_1``: the style [B, S] that an image was painted in is found in it again.

    Source: Choi et al., "StarGAN v2: Diverse Image Synthesis for Multiple Domains", CVPR 2020,
        eq. 2.
    """
    return F.l1_loss(found, style)


def diversity(image: Tensor, other: Tensor) -> Tensor:
    """``|G(x, s_1) - G(x, s_2)|_1``, mean over pixels: how far apart two styles paint an image. It
    is to be large, and is subtracted from a loss; to the second image goes no gradient.

    Source: as above, eq. 3; the gradient by its authors' code.
    """
    return F.l1_loss(image, other.detach())


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """``KL(q(z | x) | N(0, I))`` of the Gaussian that a style encoder gives, [B, S] each: the sum
    over its values, the mean over the batch. 0 where it is N(0, I) itself.

    Source: Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, appendix B; Park et
        al., "Semantic Image Synthesis with Spatially-Adaptive Normalization", CVPR 2019.
    """
    each = mean.square() + log_variance.exp() - log_variance - 1
    return each.sum(1).mean() / 2


def sampled(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """``z = mean + sigma * noise``, through which the gradient goes to both, [B, S]."""
    return mean + torch.exp(log_variance / 2) * noise
