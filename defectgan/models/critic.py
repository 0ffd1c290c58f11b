"""The critic D(x): patch scores and class logits.

B batch, C image channels, K classes, H x W pixels, h x w patches.
"""

import itertools
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from defectgan.config import CriticConfig
from defectgan.models.layers import Conv

LEAK = 0.01
GROUPS = 8


class Verdict(NamedTuple):
    """``score`` [B, 1 or K, h, w], one channel a class where the score is class-wise, and
    ``logits`` [B, K].
    """

    score: Tensor
    logits: Tensor

    def of(self, label: Tensor) -> Tensor:
        """D(x) of each image [B]: the mean over patches of the score that belongs to its class."""
        return score_of(self.score, label)


def score_of(score: Tensor, label: Tensor) -> Tensor:
    """D(x) [B] from patch scores [B, 1 or K, h, w] and labels [B, K]: the mean over the patches.

    The gradient penalty is that of this mean, where StarGAN's code takes that of the sum: see
    ``losses.gradient_penalty``.
    """
    pooled = score.mean((2, 3))
    return pooled[:, 0] if pooled.shape[1] == 1 else (pooled * label).sum(1)


class Critic(nn.Module):
    """PatchGAN critic with an auxiliary classifier; any image size.

    Published form: one trunk without normalization carries both heads (StarGAN, Choi et al., CVPR
    2018); its class logits are the mean over patches instead of being read by a kernel as large as
    the last map, which would tie the critic to one image size.

    ``class_tower``: the classifier is a network of its own. The gradient penalty holds the shared
    trunk's slope down, and with it the class head: on low-contrast defects that head was still at
    chance after 1,000 steps. The generator can paint no class that the classifier does not know.

    ``class_score``: one score for each class (StarGAN v2's branches); a fake of class y is held
    against real images of class y.
    """

    def __init__(self, channels: int, classes: int, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * 2**i for i in range(config.layers)]
        self.trunk = nn.Sequential(
            *(
                nn.Sequential(Conv(cin, cout, 4, stride=2), nn.LeakyReLU(LEAK))
                for cin, cout in zip([channels, *widths[:-1]], widths, strict=True)
            )
        )
        scores = classes if config.class_score else 1
        self.score = Conv(widths[-1], scores, 3, bias=False)
        self.tower = ClassTower(channels, classes, config) if config.class_tower else None
        self.logits = None if self.tower else Conv(widths[-1], classes, 3, bias=False)

    def forward(self, image: Tensor) -> Verdict:
        features = self.trunk(image)
        return Verdict(self.score(features).float(), self._classify(image, features))

    def scores(self, image: Tensor) -> Tensor:
        """The patch scores alone."""
        patches: Tensor = self.score(self.trunk(image))
        return patches.float()

    @property
    def reader(self) -> nn.Module:
        """The part that reads an image for the classifier."""
        return self.tower or self.trunk

    def features(self, image: Tensor) -> Tensor:
        """What the classes are read from, pooled over the image, [B, F]."""
        return read(self.reader, image)

    def classify(self, image: Tensor) -> Tensor:
        """The class logits alone."""
        return self._classify(image, None if self.tower else self.trunk(image))

    def _classify(self, image: Tensor, features: Tensor | None) -> Tensor:
        if self.tower:
            logits: Tensor = self.tower(image)
        else:
            assert self.logits is not None
            logits = self.logits(features).mean((2, 3))
        return logits.float()


def read(reader: nn.Module, image: Tensor) -> Tensor:
    """The features [B, F] that a critic's ``reader`` finds in images [B, C, H, W]."""
    if isinstance(reader, Reader):
        return reader.features(image).float()
    pooled: Tensor = reader(image).mean((2, 3))
    return pooled.float()


class Reader(nn.Module, ABC):
    """What reads an image for a classifier and pools what it finds by itself."""

    @abstractmethod
    def features(self, image: Tensor) -> Tensor:
        """Pooled, [B, F]."""


class ClassTower(Reader):
    """A small residual classifier [B, C, H, W] -> [B, K].

    Its features are pooled by maximum and by mean over the image: one place that shows the defect
    is enough, so a small defect is not diluted. Group normalization knows no batch statistics,
    which differ between real and painted images.
    """

    def __init__(self, channels: int, classes: int, config: CriticConfig) -> None:
        super().__init__()
        first = config.tower_width
        widths = [first, *(first * 2**i for i in range(config.layers))]
        self.stem = nn.Sequential(
            Conv(channels, first, 3, bias=False), nn.GroupNorm(GROUPS, first), nn.ReLU()
        )
        self.stages = nn.Sequential(
            *(HalvingBlock(cin, cout) for cin, cout in itertools.pairwise(widths))
        )
        self.head = nn.Linear(2 * widths[-1], classes)

    def features(self, image: Tensor) -> Tensor:
        """Pooled, [B, F]."""
        maps = self.stages(self.stem(image))
        return torch.cat([maps.amax((2, 3)), maps.mean((2, 3))], dim=1)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(image))
        return logits


class HalvingBlock(nn.Module):
    """A residual block of two 3 x 3 convolutions with group normalization that halves the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Conv(in_channels, out_channels, 3, stride=2, bias=False),
            nn.GroupNorm(GROUPS, out_channels),
            nn.ReLU(),
            Conv(out_channels, out_channels, 3, bias=False),
            nn.GroupNorm(GROUPS, out_channels),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride=2, bias=False),
            nn.GroupNorm(GROUPS, out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.body(x))
