"""SPADE's networks: a style becomes an image under the rule of a map, and an image a style.

B batch, C image channels, K classes, H x W pixels, S values of a style, h x w cells of the control
map.

Source: Park et al., "Semantic Image Synthesis with Spatially-Adaptive Normalization", CVPR 2019,
    appendix A, with instance instead of batch normalization: no image depends on the others of its
    batch.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.networks.control import spread
from defectgan.networks.layers import InstanceNorm, Spade
from defectgan.networks.slices import ClassSlice
from defectgan.networks.spectral import SpectralConv

LEAK = 0.2
# Channels of the smallest map, in those at full resolution, at most.
WIDEST = 16


class SpadeResidual(nn.Module):
    """A residual block: twice SPADE, leaky ReLU and a 3 x 3 convolution, and a learned shortcut
    where the number of channels changes.
    """

    def __init__(
        self, before: int, after: int, *, channels: int, classes: int, hidden: int
    ) -> None:
        """Args: channels of what comes in and goes out; C, K, of the map; channels of a SPADE
        branch.
        """
        super().__init__()

        def spade(wide: int) -> Spade:
            made = Spade(wide, channels + classes, hidden)
            made.class_slices = (ClassSlice("shared.weight", axis=1, first=channels, alike=True),)
            return made

        inner = min(before, after)
        self.spades = nn.ModuleList([spade(before), spade(inner)])
        self.convs = nn.ModuleList([SpectralConv(before, inner, 3), SpectralConv(inner, after, 3)])
        self.shortcut = nn.ModuleList()
        if before != after:
            self.shortcut.extend([spade(before), SpectralConv(before, after, 1, bias=False)])

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        refined = x
        for spade, conv in zip(self.spades, self.convs, strict=True):
            refined = conv(F.leaky_relu(spade(refined, told), LEAK))
        if len(self.shortcut):
            spade, conv = self.shortcut
            x = conv(spade(x, told))
        return x + refined


class SpadeGenerator(nn.Module):
    """G(A, z): the style is the first map, and all that is drawn comes in by normalization. What
    there are pairs of in the paper, a map and its photograph, there are not here: the map A is the
    image to paint on with the control map beside it.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int,
        stages: int,
        hidden: int,
        style: int,
        size: tuple[int, int],
    ) -> None:
        """Args: C, K; channels at full resolution, doubled at each smaller size; how often the size
        doubles; channels of a SPADE branch; S; H and W.
        """
        super().__init__()
        wide = [width * min(2**i, WIDEST) for i in reversed(range(stages + 1))]
        self.start = size[0] >> stages, size[1] >> stages
        self.first = nn.Linear(style, wide[0] * self.start[0] * self.start[1])
        told = {"channels": channels, "classes": classes, "hidden": hidden}
        self.blocks = nn.ModuleList(
            [
                SpadeResidual(wide[0], wide[0], **told),
                *(SpadeResidual(*pair, **told) for pair in pairwise(wide)),
            ]
        )
        self.head = SpectralConv(width, channels, 3)

    def forward(self, image: Tensor, control: Tensor, style: Tensor) -> Tensor:
        """The painted image [B, C, H, W] from one [B, C, H, W] in [-1, 1], a control map
        [B, K, h, w] and a style [B, S].
        """
        told = torch.cat([image, spread(control, image)], dim=1)
        x = self.first(style).unflatten(1, (-1, *self.start))
        for i, block in enumerate(self.blocks):
            x = block(F.interpolate(x, scale_factor=2, mode="nearest") if i else x, told)
        return torch.tanh(self.head(F.leaky_relu(x, LEAK)).float())


class GaussianEncoder(nn.Module):
    """E(x): the mean and the logarithm of the variance of an image's style, [B, S] each."""

    def __init__(
        self, channels: int, *, width: int, layers: int, style: int, size: tuple[int, int]
    ) -> None:
        """Args: C; channels of the first layer, doubled by each further; layers, each halves the
        size; S; H and W, which it is tied to.
        """
        super().__init__()
        wide = [channels, *(width * min(2**i, WIDEST // 2) for i in range(layers))]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    SpectralConv(before, after, 3, stride=2, bias=False),
                    InstanceNorm(after),
                    nn.LeakyReLU(LEAK),
                )
                for before, after in pairwise(wide)
            )
        )
        self.last = size[0] >> layers, size[1] >> layers
        self.head = nn.Linear(wide[-1] * self.last[0] * self.last[1], 2 * style)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        told: Tensor = self.head(self.layers(image).flatten(1)).float()
        mean, log_variance = told.chunk(2, dim=1)
        return mean, log_variance
