"""Loss terms, one pure function each, by what they hold together."""

from defectgan.losses.adversarial import (
    gradient_penalty,
    interpolate,
    penalty_at,
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

__all__ = [
    "among",
    "classification",
    "gradient_penalty",
    "interpolate",
    "mask_cycle",
    "mask_likelihood",
    "mask_sparsity",
    "mask_supervision",
    "penalty_at",
    "probability",
    "reconstruction",
    "wasserstein_critic",
    "wasserstein_generator",
    "within",
]
