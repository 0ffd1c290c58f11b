"""How strong the augmentation of what critics are shown is: as their overfitting asks for.

Source: Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020.
    Its measure of overfitting is how sure D is of the real images it learns from. A Wasserstein
    critic is sure of nothing, its zero has no meaning; here the classifier is what overfits, and
    how sure it is of their classes takes the place.
"""

import torch
from torch import Tensor

# At this mean probability of the true classes the strength stays as it is.
GOAL = 0.75
# With a larger share of augmented images the generator begins to paint the augmentation.
STRONGEST = 0.8
# Share of a training that the way from nothing to always would take.
WAY = 0.1


def adapted(strength: Tensor, sureness: Tensor, steps: int) -> Tensor:
    """The strength after one more of ``steps`` critic steps, in [0, STRONGEST]."""
    pace = 1 / (WAY * steps)
    return (strength + torch.where(sureness > GOAL, pace, -pace)).clamp(0, STRONGEST)
