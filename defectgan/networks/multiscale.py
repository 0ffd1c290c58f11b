"""Critics at several scales, which see an image and beside it what it is meant to show.

B batch, C image channels, K classes, H x W pixels, h x w cells of the control map.

Source: Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional
    GANs", CVPR 2018, section 3.2; Park et al., "Semantic Image Synthesis with Spatially-Adaptive
    Normalization", CVPR 2019, appendix A, with spectral normalization.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.networks.control import boundary_map, constant_map, spread
from defectgan.networks.critic import Verdict
from defectgan.networks.layers import Conv, InstanceNorm
from defectgan.networks.slices import ClassSlice
from defectgan.networks.spectral import SpectralConv

LEAK = 0.2
# Channels of a layer, at most.
WIDEST = 512


class ScaleCritic(nn.Module):
    """A critic of one scale: layers that halve the size, then the patches' scores."""

    def __init__(
        self, channels: int, planes: int, *, width: int, layers: int, spectral: bool
    ) -> None:
        """Args: C; planes beside the image, the classes' last, ``planes`` in all; channels of the
        first layer, doubled by each further; layers; whether they are spectrally normalized.
        """
        super().__init__()
        conv = SpectralConv if spectral else Conv
        widths = [min(width << i, WIDEST) for i in range(layers)]
        before = channels + planes
        self.layers = nn.ModuleList()
        for i, after in enumerate(widths):
            # Nothing is normalized before the first: it would take a constant plane away.
            norm = InstanceNorm(after) if i else nn.Identity()
            one = conv(before, after, 4, stride=2, bias=not i, repeat_edge=False)
            self.layers.append(nn.Sequential(one, norm, nn.LeakyReLU(LEAK)))
            before = after
        self.layers.append(conv(before, 1, 3, repeat_edge=False))

    def forward(self, x: Tensor) -> list[Tensor]:
        """The maps of all layers, the scores [B, 1, h, w] last."""
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return maps


class MultiScaleCritic(nn.Module):
    """Critics of the same form at full size, half, a quarter, ...: each sees the image, averaged
    down, beside the control map of what it shows.

    No part of it tells classes apart by itself: as the logit of a class it gives its score of the
    image as one of that class.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int,
        layers: int,
        scales: int,
        spectral: bool = False,
        edges: bool = False,
    ) -> None:
        """Args: C, K; channels of the first layer, doubled by each further; layers; how many
        critics; whether their convolutions are spectrally normalized; whether the boundary map of
        the control map stands beside it.
        """
        super().__init__()
        self.classes, self.edges = classes, edges
        self.critics = nn.ModuleList(
            ScaleCritic(channels, classes + edges, width=width, layers=layers, spectral=spectral)
            for _ in range(scales)
        )
        self.class_slices = tuple(
            ClassSlice(f"critics.{i}.layers.0.0.weight", axis=1, first=channels + edges)
            for i in range(scales)
        )

    def maps(self, image: Tensor, control: Tensor) -> list[list[Tensor]]:
        """Of each scale the maps of all layers, the scores [B, 1, h, w] last, of images
        [B, C, H, W] that show what a control map [B, K, h, w] says.
        """
        planes = spread(control, image)
        x = torch.cat([image, *([boundary_map(planes)] if self.edges else []), planes], dim=1)
        found = []
        for critic in self.critics:
            found.append(critic(x))
            x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        return found

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        """The verdict on images [B, C, H, W] as ones of the classes ``label`` [B, K]."""
        return Verdict(self.scores(image, label), self.classify(image))

    def scores(self, image: Tensor, label: Tensor) -> Tensor:
        """D(x, y), the mean over patches and scales, [B]."""
        maps = self.maps(image, constant_map(label))
        return torch.stack([s[-1].float().mean((1, 2, 3)) for s in maps]).mean(0)

    def classify(self, image: Tensor) -> Tensor:
        """The score of an image as one of each class, [B, K]."""
        every = torch.eye(self.classes, device=image.device)
        columns = [self.scores(image, one.expand(len(image), -1)) for one in every]
        return torch.stack(columns, dim=1)
