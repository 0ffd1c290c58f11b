"""Loss terms, one pure function each, by what they hold together."""

from defectgan.losses.adversarial import (
    clip_weights,
    gradient_penalty,
    hinge_critic,
    interpolate,
    least_squares_discriminator,
    least_squares_generator,
    minimax_discriminator,
    minimax_generator,
    non_saturating_generator,
    penalty_at,
    perturbed,
    r1_penalty,
    wasserstein_critic,
    wasserstein_generator,
)
from defectgan.losses.classification import among, classification, probability
from defectgan.losses.cycle import (
    mask_cycle,
    mask_likelihood,
    mask_sparsity,
    mask_supervision,
    reconstruction,
    within,
)
from defectgan.losses.matching import feature_matching, perceptual
from defectgan.losses.style import diversity, kl_divergence, sampled, style_reconstruction

__all__ = [
    "among",
    "classification",
    "clip_weights",
    "diversity",
    "feature_matching",
    "gradient_penalty",
    "hinge_critic",
    "interpolate",
    "kl_divergence",
    "least_squares_discriminator",
    "least_squares_generator",
    "mask_cycle",
    "mask_likelihood",
    "mask_sparsity",
    "mask_supervision",
    "minimax_discriminator",
    "minimax_generator",
    "non_saturating_generator",
    "penalty_at",
    "perceptual",
    "perturbed",
    "probability",
    "r1_penalty",
    "reconstruction",
    "sampled",
    "style_reconstruction",
    "wasserstein_critic",
    "wasserstein_generator",
    "within",
]
