"""Loss terms, one pure function each, by what they hold together."""

from defectgan.losses.adversarial import (
    clip_weights,
    gradient_penalty,
    interpolate,
    least_squares_discriminator,
    least_squares_generator,
    minimax_discriminator,
    minimax_generator,
    non_saturating_generator,
    penalty_at,
    perturbed,
    wasserstein_critic,
    wasserstein_generator,
)
from defectgan.losses.classification import classification, probability
from defectgan.losses.cycle import (
    mask_cycle,
    mask_likelihood,
    mask_sparsity,
    mask_supervision,
    reconstruction,
    within,
)

__all__ = [
    "classification",
    "clip_weights",
    "gradient_penalty",
    "interpolate",
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
    "perturbed",
    "probability",
    "reconstruction",
    "wasserstein_critic",
    "wasserstein_generator",
    "within",
]
