"""Losses of Defect-GAN (Zhang et al., WACV 2021), one function a term.

B batch, C image channels, K classes, H x W pixels. Images lie in [-1, 1], masks in [0, 1] with
1 = defect. Every function returns an unweighted scalar; the weights live in ``LossWeights`` and are
applied once.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Inside the root: the derivative of |g| at g = 0 would be NaN (a critic with dead units has such
# points).
NORM_EPSILON = 1e-12


def wasserstein_critic(real_score: Tensor, fake_score: Tensor) -> Tensor:
    """``E[D(fake)] - E[D(real)]``: the negated estimate of the Wasserstein distance.

    Args:
        real_score, fake_score: scores of any shape, a mean over patches included.

    Source: Arjovsky et al., "Wasserstein GAN", ICML 2017.
    """
    return fake_score.mean() - real_score.mean()


def wasserstein_generator(fake_score: Tensor) -> Tensor:
    """``-E[D(fake)]``."""
    return -fake_score.mean()


def interpolate(real: Tensor, fake: Tensor, t: Tensor) -> Tensor:
    """``t real + (1 - t) fake``, where the gradient penalty is taken.

    Args:
        real, fake: [B, C, H, W].
        t: [B], drawn from U[0, 1], one for each image.
    """
    t = t.view(-1, 1, 1, 1)
    return t * real + (1 - t) * fake


def gradient_penalty(score: Tensor, image: Tensor) -> Tensor:
    """``E[(|grad D(x_hat)|_2 - 1)^2]``, the norm over all the pixels of an image.

    Args:
        score: [B, ...], D(x_hat) with its graph, in fp32; summed over all but the batch is D of an
            image.
        image: [B, C, H, W], x_hat, a leaf that requires grad.

    With D the mean over P patches, as everywhere here, the slope of that mean is held at 1.
    StarGAN's code has the mean as its score too, but takes the penalty of the sum over the patches:
    it holds the mean's slope at 1 / P. So at equal weights this critic pulls P times as hard at
    the generator; P is 4 at 128 px with six layers (the published critic), 16 at 64 px with four
    (``quick``) and at 128 px with five (``standard``).

    Source: Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, eq. 3.
    """
    (gradient,) = torch.autograd.grad(score.sum(), image, create_graph=True)
    norm = (gradient.flatten(1).square().sum(1) + NORM_EPSILON).sqrt()
    return (norm - 1).square().mean()


def classification(logits: Tensor, label: Tensor, *, multi_label: bool = False) -> Tensor:
    """Softmax cross-entropy of images that have one class each; binary cross-entropy, summed over
    the classes, where any image has several.

    Args:
        logits: [B, K].
        label: [B, K] in {0, 1}.
        multi_label: whether any image of the data has several classes.
    """
    label = label.to(logits.dtype)
    if multi_label:
        return F.binary_cross_entropy_with_logits(logits, label, reduction="none").sum(1).mean()
    return F.cross_entropy(logits, label)


def probability(logits: Tensor, label: Tensor, *, multi_label: bool = False) -> Tensor:
    """How probable the classes of a label are, [B] in [0, 1]; the mean over them where an image has
    several.
    """
    each = logits.sigmoid() if multi_label else logits.softmax(1)
    return (each * label).sum(1) / label.sum(1)


def paired_classification(
    pairs: Tensor, label: Tensor, *, painted: bool, multi_label: bool = False
) -> Tensor:
    """``classification`` among 2 K classes, each as real and as painted ones, the mean over heads.

    Args:
        pairs: logits [M, B, K, 2], real and painted.
        label: [B, K] in {0, 1}.
        painted: which of the two these images are.
        multi_label: as of ``classification``.

    Source: Hou et al., "Conditional GANs with Auxiliary Discriminative Classifier", ICML 2022,
        eq. 6: the discriminative classifier.
    """
    none = torch.zeros_like(label)
    target = torch.stack([none, label] if painted else [label, none], dim=2).flatten(1)
    return torch.stack(
        [classification(logits.flatten(1), target, multi_label=multi_label) for logits in pairs]
    ).mean()


def authenticity(pairs: Tensor, label: Tensor) -> Tensor:
    """``-log P(real | y)`` of painted images, where only the real and the painted ones of the class
    y that was asked for are held against each other; the mean over the classes of a label, the
    images and the heads.

    It vanishes where what is painted passes for real, however surely it is of its class.

    Args:
        pairs: logits [M, B, K, 2], real and painted.
        label: [B, K] in {0, 1}, the classes asked for.

    Source: Hou et al., ICML 2022, eq. 7: the generator's two log-probabilities there, as one
        non-saturating term.
    """
    against = F.softplus(pairs[..., 1] - pairs[..., 0])
    return ((against * label).sum(2) / label.sum(1)).mean()


def reconstruction(image: Tensor, cycled: Tensor) -> Tensor:
    """``|x - x_cycled|_1``, mean over pixels: a cycle gives the image back."""
    return F.l1_loss(cycled, image)


def mask_cycle(mask: Tensor, cycled_mask: Tensor) -> Tensor:
    """``|m - m_cycled|_1``, mean over pixels: what one pass paints, the other takes away at the
    same place.
    """
    return F.l1_loss(cycled_mask, mask)


def mask_sparsity(mask: Tensor, share: Tensor) -> Tensor:
    """``|m|_1``, mean over pixels, of either pass: a layer covers no more than it needs.

    Args:
        mask: [B, 1, H, W].
        share: [B], in [0, 1], how much of the term each image is charged; all 1 is the paper's.
    """
    return (share * mask.mean((1, 2, 3))).mean()


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
    return ((1 - 2 * both / (either + NORM_EPSILON)) * known).mean()
