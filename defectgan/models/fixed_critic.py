"""A critic that looks through a fixed network, and tells real from painted images class by class.

B batch, C image channels, K classes, H x W pixels, c x h x w a map of the fixed network, M heads.

Sources: Hou et al., "Conditional GANs with Auxiliary Discriminative Classifier" (ADC-GAN), ICML
    2022, for the classes that each stand twice, real and painted; Sauer et al., "Projected GANs
    Converge Faster", NeurIPS 2021, for heads on the maps of a fixed network at several depths.
"""

from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn

from defectgan.config import CriticConfig
from defectgan.models.critic import Reader, Verdict
from defectgan.models.imagenet import imagenet
from defectgan.models.layers import Conv

# The stages of the fixed network whose maps are read, counted from 1: cells of 4, 8 and 16 pixels
# of the image as the network sees it, for spots, shapes and textures.
STAGES = (2, 3, 5)
# Channels of a head.
WIDTH = 64
LEAK = 0.2
# What the critic sees may leave the range of an image, by augmentation; not by much.
LIMIT = 1.5
EPSILON = 1e-6


class Head(nn.Module):
    """Reads one map [B, c, h, w]: what it found, pooled, [B, 2 WIDTH], and what that says of each
    class as a real and as a painted one, [B, K, 2].

    It looks at every place before it pools, by maximum and by mean: a spot of a few pixels would
    drown in the mean of a map.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            Conv(channels, WIDTH, 1),
            nn.LeakyReLU(LEAK),
            Conv(WIDTH, WIDTH, 3),
            nn.LeakyReLU(LEAK),
        )
        self.real = nn.Linear(2 * WIDTH, classes)
        self.painted = nn.Linear(2 * WIDTH, classes)

    def pooled(self, seen: Tensor) -> Tensor:
        scale = seen.float().square().mean((1, 2, 3), keepdim=True)
        found = self.convs(seen * torch.rsqrt(scale + EPSILON))
        return torch.cat([found.amax((2, 3)), found.mean((2, 3))], dim=1)

    def forward(self, seen: Tensor) -> Tensor:
        found = self.pooled(seen)
        return torch.stack([self.real(found), self.painted(found)], dim=2).float()


class FixedCritic(Reader):
    """Heads on the maps of a network that does not learn; images of any size.

    Each head tells 2 K classes apart: every class as it is in real images, and as it is painted.
    A classifier of K classes rewards what is classifiable, a caricature; one that knows painted
    ones for what they are has nothing against an image only where it cannot tell it from a real
    one of its class. What is fixed cannot be bent to what is painted now, and it knows from a
    million photographs what edges, dents and textures look like, which a handful of defects cannot
    teach. It needs no gradient penalty, and no second derivative.

    The fixed network is no part of the weights.
    """

    def __init__(self, channels: int, classes: int, config: CriticConfig) -> None:
        """Args: C, K; ``config.features`` names the fixed network.

        Raises:
            SettingError, ModelError: as ``imagenet``.
        """
        super().__init__()
        assert config.features is not None
        fixed = imagenet(config.features)
        # In a list: its weights are neither learned nor kept.
        self._fixed = [fixed]
        self.heads = nn.ModuleList(Head(fixed.channels[i], classes) for i in STAGES)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **options: Any) -> Self:
        for fixed in self._fixed:
            fixed._apply(fn, *args, **options)  # type: ignore[no-untyped-call]
        return super()._apply(fn, *args, **options)  # type: ignore[no-untyped-call, no-any-return]

    def pairs(self, image: Tensor) -> Tensor:
        """The logits of each class as a real and as a painted one, by each head, [M, B, K, 2]."""
        return torch.stack([head(seen) for head, seen in self._seen(image)])

    def forward(self, image: Tensor) -> Verdict:
        """The score of a class is the log-odds of an image of it being real."""
        pairs = self.pairs(image)
        score = (pairs[..., 0] - pairs[..., 1]).mean(0)
        return Verdict(score[..., None, None], either(pairs))

    def classify(self, image: Tensor) -> Tensor:
        """The class logits alone, [B, K]."""
        return either(self.pairs(image))

    @property
    def reader(self) -> nn.Module:
        """The part that reads an image for the classifier."""
        return self

    def features(self, image: Tensor) -> Tensor:
        """What the classes are read from, [B, F]."""
        return torch.cat([head.pooled(seen) for head, seen in self._seen(image)], dim=1)

    def _seen(self, image: Tensor) -> Iterator[tuple[Head, Tensor]]:
        """Each head and the map that it reads."""
        (fixed,) = self._fixed
        found = fixed.stages_of(image.clamp(-LIMIT, LIMIT), last=max(STAGES))
        for head, i in zip(self.heads, STAGES, strict=True):
            assert isinstance(head, Head)
            yield head, found[i]


def either(pairs: Tensor) -> Tensor:
    """The logits [B, K] of the classes, whether real or painted, from ``pairs`` [M, B, K, 2]: the
    mean over the heads of their log-probabilities.
    """
    return torch.logsumexp(pairs, dim=3).log_softmax(2).mean(0)
