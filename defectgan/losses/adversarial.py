"""What sets a generator against a critic: scores and what bounds their slope.

B batch, C image channels, K classes, H x W pixels. Images lie in [-1, 1], masks in [0, 1] with
1 = defect. Every function returns an unweighted scalar: a weight stands in the method that uses the
term.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

# Inside the root: the derivative of |g| at g = 0 would be NaN (a critic with dead units has such
# points).
NORM_EPSILON = 1e-12


def minimax_discriminator(real_logit: Tensor, fake_logit: Tensor) -> Tensor:
    """``-E[log D(x)] - E[log(1 - D(G(z)))]``, D the sigmoid of a logit.

    Args:
        real_logit, fake_logit: of any shape.

    Source: Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, eq. 1.
    """
    return F.softplus(-real_logit).mean() + F.softplus(fake_logit).mean()


def minimax_generator(fake_logit: Tensor) -> Tensor:
    """``E[log(1 - D(G(z)))]``: its gradient at a logit is -D, which vanishes where D is sure that
    an image is made.
    """
    return -F.softplus(fake_logit).mean()


def non_saturating_generator(fake_logit: Tensor) -> Tensor:
    """``-E[log D(G(z))]``: the same fixed point, and at a logit the gradient -(1 - D), which is
    largest where D is sure.
    """
    return F.softplus(-fake_logit).mean()


def least_squares_discriminator(real_score: Tensor, fake_score: Tensor) -> Tensor:
    """``E[(D(x) - 1)^2] + E[D(G(z))^2]``: real images are to score 1, fakes 0.

    Args:
        real_score, fake_score: of any shape, without a sigmoid.

    Source: Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, eq. 2 and 9
        with a = 0, b = c = 1; without their factor 1/2.
    """
    return (real_score - 1).square().mean() + fake_score.square().mean()


def least_squares_generator(fake_score: Tensor) -> Tensor:
    """``E[(D(G(z)) - 1)^2]``."""
    return (fake_score - 1).square().mean()


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


@torch.no_grad()
def clip_weights(weights: Iterable[Tensor], bound: float) -> None:
    """``w <- clip(w, -c, c)``, in place: a compact space of weights bounds the slope of a critic.

    Source: Arjovsky et al., "Wasserstein GAN", ICML 2017, algorithm 1.
    """
    for weight in weights:
        weight.clamp_(-bound, bound)


def interpolate(real: Tensor, fake: Tensor, t: Tensor) -> Tensor:
    """``t real + (1 - t) fake``, where the gradient penalty is taken.

    Args:
        real, fake: [B, C, H, W].
        t: [B], drawn from U[0, 1], one for each image.
    """
    t = t.view(-1, 1, 1, 1)
    return t * real + (1 - t) * fake


def perturbed(real: Tensor, u: Tensor) -> Tensor:
    """``x + std(x) u / 2``: a point beside a real image, between which and the image DRAGAN takes
    the gradient penalty.

    Args:
        real: [B, C, H, W].
        u: [B, C, H, W], drawn from U[0, 1].

    The deviation is that of each image's own values: the authors' code takes that of the batch, so
    that a penalty would depend on how a batch is shared among processes.

    Source: Kodali et al., "On Convergence and Stability of GANs", 2017, and its authors' code.
    """
    return real + real.std((1, 2, 3), keepdim=True) * u / 2


def penalty_at(
    scores: Callable[[Tensor], Tensor], image: Tensor, *, one_sided: bool = False
) -> Tensor:
    """``gradient_penalty`` of scores at images [B, C, H, W], always in fp32: in bf16 its second
    derivative is noise.
    """
    image = image.detach().float().requires_grad_()
    with torch.autocast(image.device.type, enabled=False):
        return gradient_penalty(scores(image), image, one_sided=one_sided)


def gradient_penalty(score: Tensor, image: Tensor, *, one_sided: bool = False) -> Tensor:
    """``E[(|grad D(x_hat)|_2 - 1)^2]``, the norm over all the pixels of an image; one-sided, a
    slope below 1 costs nothing: ``E[max(0, |grad D(x_hat)|_2 - 1)^2]``.

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
    beyond = norm - 1
    return (beyond.clamp(min=0) if one_sided else beyond).square().mean()


def hinge_critic(real_score: Tensor, fake_score: Tensor) -> Tensor:
    """``E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]``: what lies beyond the margin of 1 costs
    nothing. The generator's loss is ``-E[D(G(z))]``, as with a Wasserstein critic.

    Args:
        real_score, fake_score: of any shape.

    Source: Lim and Ye, "Geometric GAN", 2017; Miyato et al., "Spectral Normalization for Generative
        Adversarial Networks", ICLR 2018, eq. 16 and 17.
    """
    return (1 - real_score).clamp(min=0).mean() + (1 + fake_score).clamp(min=0).mean()


def r1_penalty(scores: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """``E[|grad D(x)|_2^2] / 2`` at real images [B, C, H, W], always in fp32.

    Args:
        scores: D of images, [B].
        image: real ones alone.

    Source: Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
        eq. 9, whose gamma is the weight.
    """
    image = image.detach().float().requires_grad_()
    with torch.autocast(image.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(scores(image).sum(), image, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean() / 2
