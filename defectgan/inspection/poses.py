"""The poses in which a model has learned to see an image.

Averaged over them, what it finds depends less on how the piece happened to lie: on three sets the
mean mask ranked defect pixels better than that of any one pose.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from defectgan.settings.data import PoseConfig

PLANE = (-2, -1)


class Pose(NamedTuple):
    """Mirrored or not, then so many quarter turns."""

    mirrored: bool
    turns: int

    def take(self, image: Tensor) -> Tensor:
        """An image [..., H, W] in this pose."""
        return torch.rot90(image.flip(-1) if self.mirrored else image, self.turns, PLANE)

    def leave(self, image: Tensor) -> Tensor:
        """``take`` undone."""
        upright = torch.rot90(image, -self.turns, PLANE)
        return upright.flip(-1) if self.mirrored else upright


def learned_poses(config: PoseConfig, *, square: bool) -> list[Pose]:
    """All poses that the augmentation of a training draws, the image's own first."""
    quarters = config.rotate and square
    turns = [0, 1, 2, 3] if quarters else [0, 2] if config.flip else [0]
    return [Pose(mirrored, n) for mirrored in (False, True)[: 1 + config.flip] for n in turns]
