"""The features of a fixed network, which nothing here is trained against: a yardstick that stays
the same from model to model.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from defectgan.evaluation.classifier import outputs
from defectgan.evaluation.pools import Pixels
from defectgan.networks.imagenet import BATCH, JUDGE, SMALLEST, imagenet, weights_of
from defectgan.settings.data import DataConfig

# Sizes of images are multiples of it.
SIDE = 16


class Fixed:
    """The features of EfficientNet-Lite2 with ImageNet weights, by the extra ``features``."""

    name: ClassVar[str] = "imagenet"
    notes: tuple[str, ...] = ()

    def __init__(self, seen: DataConfig, *, device: torch.device) -> None:
        """Args: how images are seen, and where to compute.

        Raises:
            SettingError: if the extra is not installed.
            ModelError: if its weights are not those that were published.
        """
        self._net = imagenet(JUDGE, device=device)
        self.facts: dict[str, Any] = {
            "net": f"EfficientNet-{JUDGE.capitalize()}, ImageNet",
            "image size": list(seen.image_size),
            "weights_sha256": self._net.sha256,
        }

    def __call__(self, images: Sequence[Pixels]) -> Tensor:
        return outputs(self._net, images, batch_size=BATCH).double()

    def classify(self, features: Tensor) -> None:
        """It does not know these classes."""


def installed() -> bool:
    """Whether the network that judges is there."""
    return weights_of(JUDGE) is not None


def size_from(learned: DataConfig) -> str:
    """The size at which images are compared: the generating model's, but no smaller than the
    network enlarges to, so that files with more detail than the model sees keep it.
    """
    larger = max(1.0, SMALLEST / min(learned.image_size))
    height, width = (round(side * larger / SIDE) * SIDE for side in learned.image_size)
    return f"{height}x{width}"
