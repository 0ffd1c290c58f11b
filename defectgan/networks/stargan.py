"""StarGAN's networks: the class beside the image, all of the image painted anew.

B batch, C image channels, K classes, H x W pixels.

Source: Choi et al., "StarGAN", CVPR 2018, and its authors' code.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.networks.critic import LEAK, Verdict
from defectgan.networks.layers import Conv, InstanceNorm
from defectgan.networks.slices import ClassSlice


def _conv(before: int, after: int, kernel: int, *, stride: int = 1, bias: bool = False) -> Conv:
    return Conv(before, after, kernel, stride=stride, bias=bias, repeat_edge=False)


class StarGenerator(nn.Module):
    """G(x, c): encoder of stride 4, residual blocks, decoder of transposed convolutions."""

    def __init__(self, channels: int, classes: int, *, width: int, residual_blocks: int) -> None:
        """Args: C, K; channels at full resolution, 4 x at the bottleneck; blocks there."""
        super().__init__()
        self.class_slices = (ClassSlice("body.0.weight", axis=1, first=channels),)
        w = width
        layers: list[nn.Module] = [*self._stage(_conv(channels + classes, w, 7), w)]
        for wide in (w, 2 * w):
            layers += self._stage(_conv(wide, 2 * wide, 4, stride=2), 2 * wide)
        layers += [StarBlock(4 * w) for _ in range(residual_blocks)]
        for wide in (4 * w, 2 * w):
            up = nn.ConvTranspose2d(wide, wide // 2, 4, stride=2, padding=1, bias=False)
            layers += self._stage(up, wide // 2)
        self.body = nn.Sequential(*layers, _conv(w, channels, 7))

    def _stage(self, conv: nn.Module, channels: int) -> list[nn.Module]:
        return [conv, InstanceNorm(channels), nn.ReLU(inplace=True)]

    def forward(self, image: Tensor, control: Tensor) -> Tensor:
        """The painted image [B, C, H, W] from one [B, C, H, W] in [-1, 1] and a control map
        [B, K, h, w].
        """
        cells = F.interpolate(control, size=image.shape[2:]).to(image.dtype)
        return torch.tanh(self.body(torch.cat([image, cells], dim=1)).float())


class StarBlock(nn.Module):
    """Two 3 x 3 convolutions with instance normalization, plus what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels, 3),
            InstanceNorm(channels),
            nn.ReLU(inplace=True),
            _conv(channels, channels, 3),
            InstanceNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        refined: Tensor = self.body(x)
        return x + refined


class StarCritic(nn.Module):
    """A PatchGAN critic whose classifier reads the whole of the last map.

    ``patches`` counts the patches that the score is the mean of.
    """

    class_slices = (ClassSlice("logits.weight", axis=0),)

    def __init__(
        self, channels: int, classes: int, *, width: int, layers: int, size: tuple[int, int]
    ) -> None:
        """Args: C, K; channels of the first layer, doubled by each further; layers, each halves the
        size; H and W, which the classifier is tied to.
        """
        super().__init__()
        widths = [channels, *(width * 2**i for i in range(layers))]
        self.trunk = nn.Sequential(
            *(
                nn.Sequential(_conv(a, b, 4, stride=2, bias=True), nn.LeakyReLU(LEAK))
                for a, b in itertools.pairwise(widths)
            )
        )
        self.score = _conv(widths[-1], 1, 3)
        last = size[0] >> layers, size[1] >> layers
        self.logits = nn.Conv2d(widths[-1], classes, last, bias=False)
        self.patches = last[0] * last[1]

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        """D(x) [B], the mean over the patches, and the class logits [B, K]; ``label`` is not looked
        at.
        """
        maps = self.trunk(image)
        return Verdict(self._pooled(maps), self.logits(maps).flatten(1).float())

    def scores(self, image: Tensor, label: Tensor) -> Tensor:
        """D(x) alone, [B]."""
        return self._pooled(self.trunk(image))

    def _pooled(self, maps: Tensor) -> Tensor:
        patches: Tensor = self.score(maps)
        return patches.float().mean((1, 2, 3))

    def classify(self, image: Tensor) -> Tensor:
        """The class logits alone, [B, K]."""
        logits: Tensor = self.logits(self.trunk(image))
        return logits.flatten(1).float()

    @property
    def reader(self) -> nn.Module:
        """The part that reads an image for the classifier."""
        return self.trunk
