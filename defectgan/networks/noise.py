"""Networks that make whole images from noise, and that judge whole images.

B batch, C image channels, K classes, 0 where no class is told, H x W pixels, N noise values.

Source: Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative
    Adversarial Networks", ICLR 2016, without batch normalization: it would let each image of a
    batch depend on the others, which the gradient penalty forbids in a critic, and one image must
    be the same in any batch. Labels stand beside the noise and the image, as in Mirza and Osindero,
    "Conditional Generative Adversarial Nets", 2014.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.networks.critic import trunk
from defectgan.networks.layers import Conv
from defectgan.networks.slices import ClassSlice

# Channels of the smallest map, in those at full resolution, at most.
WIDEST = 8


def first_map(size: tuple[int, int], stages: int) -> tuple[int, int]:
    """Height and width of the map that, doubled so many times, covers an image."""
    height, width = (-(-side // 2**stages) for side in size)
    return height, width


class NoiseGenerator(nn.Module):
    """G(z) or G(z, y): a projection of the noise, then convolutions, each at twice the size of the
    one before.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        latent: int,
        width: int,
        stages: int,
        size: tuple[int, int],
    ) -> None:
        """Args: C, K; N; channels at full resolution, doubled at each smaller size up to
        ``WIDEST`` times; how often the size doubles; H and W.
        """
        super().__init__()
        self.latent, self.classes, self.size = latent, classes, size
        self.start = first_map(size, stages)
        widths = [width * min(2**i, WIDEST) for i in reversed(range(stages + 1))]
        self.project = nn.Linear(latent + classes, widths[0] * self.start[0] * self.start[1])
        self.stages = nn.ModuleList(_Stage(cin, cout) for cin, cout in itertools.pairwise(widths))
        self.head = Conv(width, channels, 3)
        self.class_slices = (ClassSlice("project.weight", axis=1, first=latent),) * bool(classes)

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] from noise [B, N], standard normal, and labels [B, K],
        which are not looked at where no class is told.
        """
        told = torch.cat([noise, label.to(noise.dtype)], dim=1) if self.classes else noise
        x = self.project(told).unflatten(1, (-1, *self.start))
        for stage in self.stages:
            x = stage(x)
        height, width = self.size
        return torch.tanh(self.head(F.relu(x)).float())[..., :height, :width]


class _Stage(nn.Module):
    """Normalization over an image, ReLU, twice the size, a 3 x 3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, in_channels)
        self.conv = Conv(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(F.relu(self.norm(x)), scale_factor=2, mode="nearest")
        convolved: Tensor = self.conv(x)
        return convolved


class Discriminator(nn.Module):
    """D(x) or D(x, y), one number for a whole image, without normalization or a sigmoid: a logit
    to the losses of a GAN, a score to those of a Wasserstein GAN.
    """

    def __init__(
        self, channels: int, classes: int, *, width: int, layers: int, size: tuple[int, int]
    ) -> None:
        """Args: C, K; channels of the first layer, doubled by each further; layers, each halves the
        size; H and W, which it is tied to.
        """
        super().__init__()
        self.classes = classes
        self.trunk = trunk(channels + classes, [width * 2**i for i in range(layers)])
        height, across = (side >> layers for side in size)
        self.score = nn.Linear((width << (layers - 1)) * height * across, 1)
        self.class_slices = (ClassSlice("trunk.0.0.weight", axis=1, first=channels),) * bool(
            classes
        )

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        """[B] for images [B, C, H, W] said to be of the classes ``label`` [B, K], which are not
        looked at where no class is told.
        """
        if self.classes:
            planes = label[:, :, None, None].expand(-1, -1, *image.shape[2:])
            image = torch.cat([image, planes.to(image.dtype)], dim=1)
        score: Tensor = self.score(self.trunk(image).flatten(1))
        return score.float()[:, 0]
