"""Critics D(x): how real an image is, and of which classes.

B batch, C image channels, K classes, H x W pixels, h x w patches, F features.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from defectgan.networks.layers import Conv
from defectgan.networks.slices import ClassSlice

LEAK = 0.01
GROUPS = 8


class Verdict(NamedTuple):
    """``score`` [B], D(x), and ``logits`` [B, K]."""

    score: Tensor
    logits: Tensor


def trunk(channels: int, widths: Sequence[int], *, repeat_edge: bool = True) -> nn.Sequential:
    """Convolutions without normalization, each of which halves the size, to so many channels."""
    return nn.Sequential(
        *(
            nn.Sequential(Conv(cin, cout, 4, stride=2, repeat_edge=repeat_edge), nn.LeakyReLU(LEAK))
            for cin, cout in zip([channels, *widths[:-1]], widths, strict=True)
        )
    )


class Critic(nn.Module, ABC):
    """A PatchGAN critic: a trunk without normalization, whose patches are scored; any image size.

    D(x) is the mean over the patches. The gradient penalty is that of this mean, where StarGAN's
    code takes that of the sum: see ``losses.gradient_penalty``.
    """

    def __init__(self, channels: int, *, width: int, layers: int, repeat_edge: bool = True) -> None:
        """Args: C; channels of the first layer, doubled by each further; layers, each halves the
        size; what is seen beyond the image: its edge, or zeros.
        """
        super().__init__()
        widths = [width * 2**i for i in range(layers)]
        self.trunk = trunk(channels, widths, repeat_edge=repeat_edge)
        self.score = Conv(widths[-1], 1, 3, bias=False, repeat_edge=repeat_edge)
        self.out_channels = widths[-1]

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        """The verdict on images [B, C, H, W] that are, or are meant to be, of the classes ``label``
        [B, K]: a critic may judge by them.
        """
        maps = self.trunk(image)
        return Verdict(self._pooled(maps), self._logits(image, maps))

    def scores(self, image: Tensor, label: Tensor) -> Tensor:
        """D(x) alone, [B]."""
        return self._pooled(self.trunk(image))

    def _pooled(self, maps: Tensor) -> Tensor:
        patches: Tensor = self.score(maps)
        return patches.float().mean((1, 2, 3))

    @abstractmethod
    def _logits(self, image: Tensor, maps: Tensor) -> Tensor:
        """The class logits [B, K] of images, the trunk's maps of which are these."""

    def classify(self, image: Tensor) -> Tensor:
        """The class logits alone, [B, K]."""
        return self._logits(image, self.trunk(image))

    @property
    def reader(self) -> nn.Module:
        """The part that reads an image for the classifier."""
        return self.trunk

    def features(self, image: Tensor) -> Tensor:
        """What the classes are read from, pooled over the image, [B, F]."""
        return read(self.reader, image)


def read(reader: nn.Module, image: Tensor) -> Tensor:
    """The features [B, F] that a critic's ``reader`` finds in images [B, C, H, W]."""
    if isinstance(reader, ClassTower):
        return reader.features(image).float()
    pooled: Tensor = reader(image).mean((2, 3))
    return pooled.float()


class PatchCritic(Critic):
    """The published critic: one trunk carries both heads.

    Its class logits are the mean over patches instead of being read by a kernel as large as the
    last map, which would tie the critic to one image size.

    Source: Choi et al., "StarGAN", CVPR 2018.
    """

    class_slices = (ClassSlice("logits.weight", axis=0),)

    def __init__(self, channels: int, classes: int, *, width: int, layers: int) -> None:
        super().__init__(channels, width=width, layers=layers)
        self.logits = Conv(self.out_channels, classes, 3, bias=False)

    def _logits(self, image: Tensor, maps: Tensor) -> Tensor:
        logits: Tensor = self.logits(maps).mean((2, 3))
        return logits.float()


class TowerCritic(Critic):
    """A critic whose classifier is a network of its own.

    The gradient penalty holds a shared trunk's slope down, and with it the class head: on
    low-contrast defects that head was still at chance after 1,000 steps. The generator can paint no
    class that the classifier does not know.
    """

    def __init__(
        self, channels: int, classes: int, *, width: int, layers: int, tower_width: int
    ) -> None:
        super().__init__(channels, width=width, layers=layers)
        self.tower = ClassTower(channels, classes, width=tower_width, layers=layers)

    def _logits(self, image: Tensor, maps: Tensor) -> Tensor:
        return self.classify(image)

    def classify(self, image: Tensor) -> Tensor:
        logits: Tensor = self.tower(image)
        return logits.float()

    @property
    def reader(self) -> nn.Module:
        return self.tower


class ClassTower(nn.Module):
    """A small residual classifier [B, C, H, W] -> [B, K].

    Its features are pooled by maximum and by mean over the image: one place that shows the defect
    is enough, so a small defect is not diluted. Group normalization knows no batch statistics,
    which differ between real and painted images.
    """

    class_slices = (ClassSlice("head.weight", axis=0), ClassSlice("head.bias", axis=0))

    def __init__(self, channels: int, classes: int, *, width: int, layers: int) -> None:
        super().__init__()
        widths = [width, *(width * 2**i for i in range(layers))]
        self.stem = nn.Sequential(
            Conv(channels, width, 3, bias=False), nn.GroupNorm(GROUPS, width), nn.ReLU()
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


class EverySecond(nn.Conv2d):
    """A 1 x 1 convolution of every second pixel each way.

    Its own stride would do, but that of PyTorch 2.15 on a CPU writes beyond its memory where
    channels come last and are fewer than 16.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, :, ::2, ::2])


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
            EverySecond(in_channels, out_channels),
            nn.GroupNorm(GROUPS, out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.body(x))
