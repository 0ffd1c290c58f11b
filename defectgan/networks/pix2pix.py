"""pix2pix's networks: a U-Net whose only noise is dropout, and a critic that sees what it was given
beside what it made of it.

B batch, C image channels, K classes, H x W pixels, N noise values an image.

Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017,
    appendix 6.1.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.networks.layers import InstanceNorm
from defectgan.networks.patchgan import LEAK, PatchGAN, begin
from defectgan.networks.slices import ClassSlice

# Halvings at most: of 256 pixels the last leaves one.
DEEPEST = 8
# The first layers of the decoder that drop half of what they hold.
DROPPING = 3


def halvings(size: tuple[int, int]) -> int:
    """How often both sides of an image can be halved, at most ``DEEPEST`` times."""
    both = math.gcd(*size)
    return min(DEEPEST, (both & -both).bit_length() - 1)


def conditions(image: Tensor, control: Tensor) -> Tensor:
    """x: the image [B, C, H, W] and beside it the class that it shall show, [B, C + K, H, W]."""
    return torch.cat([image, F.interpolate(control, size=image.shape[2:]).to(image.dtype)], dim=1)


class UNet(nn.Module):
    """G(x, z): an encoder that halves the image as far as that goes, a decoder that doubles it, and
    at each size the encoder's maps joined to the decoder's: what need not change goes round the
    bottleneck.

    z are the masks of the dropout, in training and afterwards. The bottleneck is not normalized:
    one pixel normalized alone is 0, and nothing would pass.
    """

    def __init__(self, channels: int, classes: int, *, width: int, size: tuple[int, int]) -> None:
        """Args: C, K; channels of the first layer, up to 8 x further in; H and W."""
        super().__init__()
        self.class_slices = (ClassSlice("encoder.0.0.weight", axis=1, first=channels),)
        widths = [width * min(8, 2**i) for i in range(halvings(size))]
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels + classes, width, 4, 2, padding=1))
            if i == 0
            else nn.Sequential(nn.LeakyReLU(LEAK), *self._down(*pair, last=i + 1 == len(widths)))
            for i, pair in enumerate(zip([0, *widths], widths, strict=False))
        )
        # The deepest takes the bottleneck alone; the others what came to them, and what went round.
        inner = [(widths[-1], widths[-2])]
        inner += [(2 * a, b) for a, b in itertools.pairwise(widths[-2::-1])]
        self.decoder = nn.ModuleList(nn.Sequential(nn.ReLU(), *self._up(*pair)) for pair in inner)
        self.dropped = tuple(after for _, after in inner[:DROPPING])
        last = nn.ConvTranspose2d(2 * width, channels, 4, 2, padding=1)
        self.last = nn.Sequential(nn.ReLU(), last)
        begin(self)

    @staticmethod
    def _down(before: int, after: int, *, last: bool) -> list[nn.Module]:
        conv = nn.Conv2d(before, after, 4, 2, padding=1, bias=last)
        return [conv] if last else [conv, InstanceNorm(after)]

    @staticmethod
    def _up(before: int, after: int) -> list[nn.Module]:
        conv = nn.ConvTranspose2d(before, after, 4, 2, padding=1, bias=False)
        return [conv, InstanceNorm(after)]

    def noise_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Channels, height and width of each map that values are dropped from."""
        depth = len(self.encoder)
        sides = [(height >> (depth - 1 - i), width >> (depth - 1 - i)) for i in range(DROPPING)]
        return [(c, *side) for c, side in zip(self.dropped, sides, strict=True)]

    def noise_size(self, height: int, width: int) -> int:
        """N: a value for each that may be dropped."""
        return sum(math.prod(shape) for shape in self.noise_shapes(height, width))

    def forward(self, image: Tensor, control: Tensor, noise: Tensor) -> Tensor:
        """The image [B, C, H, W] in [-1, 1] made of one, towards the classes of a control map
        [B, K, h, w].

        Args:
            noise: [B, N], standard normal: what is drawn below 0 is dropped, half of all.
        """
        kept = [conditions(image, control)]
        for layer in self.encoder:
            kept.append(layer(kept[-1]))
        shapes = self.noise_shapes(*image.shape[2:])
        masks = torch.split(noise, [math.prod(shape) for shape in shapes], dim=1)
        x = kept.pop()
        for i, layer in enumerate(self.decoder):
            x = layer(x)
            if i < len(shapes):
                x = dropped(x, masks[i].reshape(-1, *shapes[i]))
            x = torch.cat([x, kept.pop()], dim=1)
        return torch.tanh(self.last(x).float())


def dropped(x: Tensor, noise: Tensor) -> Tensor:
    """Dropout at one half by given noise, standard normal: ``2 x`` where it is above 0, else 0."""
    return x * (2 * (noise > 0)).to(x.dtype)


class PairCritic(nn.Module):
    """D(x, y): what was given and what was made of it, judged together, [B, 1, h, w]."""

    def __init__(self, channels: int, classes: int, *, width: int) -> None:
        """Args: C, K; channels of the first layer."""
        super().__init__()
        self.class_slices = (ClassSlice("patches.body.0.weight", axis=1, first=channels),)
        self.patches = PatchGAN(channels + classes + channels, width=width)

    def forward(self, image: Tensor, control: Tensor, made: Tensor) -> Tensor:
        """The scores of images ``made`` [B, C, H, W] of images [B, C, H, W] and a control map
        [B, K, h, w].
        """
        scores: Tensor = self.patches(torch.cat([conditions(image, control), made], dim=1))
        return scores
