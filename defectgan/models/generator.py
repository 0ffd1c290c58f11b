"""The generator G(x, A, z): an image to a defect layer.

B batch, C image channels, K classes, H x W pixels, h x w cells of the control map, N noise values
an image.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.compose import compose
from defectgan.config import GeneratorConfig
from defectgan.models.layers import (
    AdaptiveNoise,
    Conditions,
    Conv,
    HeadConv,
    InstanceNorm,
    ResidualBlock,
    Spade,
    SpadeBlock,
    SpadeResidualBlock,
)


def _stage(conv: Conv, channels: int) -> nn.Sequential:
    return nn.Sequential(conv, InstanceNorm(channels), nn.ReLU(inplace=True))


def _at(control: Tensor, size: tuple[int, int]) -> Tensor:
    """A map [B, 1, h, w] at another size; 1 x 1 broadcasts as it is."""
    return control if control.shape[2:] == (1, 1) else F.interpolate(control, size=size)


class Clip(torch.autograd.Function):
    """``clamp(-1, 1)``, with the gradient of the unclipped value wherever that does not lead
    further out.

    With clamp's own, 0 outside, a pixel that has once left the range could never come back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        outwards = ((x > 1) & (gradient < 0)) | ((x < -1) & (gradient > 0))
        return gradient.masked_fill(outwards, 0)


class Layer(NamedTuple):
    """What the generator returns: ``foreground`` [B, C, H, W] in [-1, 1] and ``mask`` [B, 1, H, W]
    in [0, 1].
    """

    foreground: Tensor
    mask: Tensor


class Generator(nn.Module):
    """Encoder of stride 4, residual blocks, SPADE decoder; the output is a layer to be composed
    over the input.

    Source: Zhang et al., "Defect-GAN", WACV 2021. The published text leaves the block's details
        open; departures that
    the configuration can switch on are named in ``GeneratorConfig``.
    """

    def __init__(self, channels: int, classes: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.channels = channels
        self.classes = classes
        self.config = config
        w, hidden = config.width, config.spade_hidden
        spade = config.control == "spade"
        normalization = partial(Spade, classes=classes, hidden=hidden) if spade else InstanceNorm
        conditions = Conditions(normalization, config.noise_scale)
        seen = channels if spade else channels + classes
        # With edges repeated a constant class map is a constant after the convolution too, and
        # instance normalization takes it away: only zeros round the image let it be seen.
        self.stem = _stage(Conv(seen, w, 7, bias=False, repeat_edge=spade), w)
        self.down2 = _stage(Conv(w, 2 * w, 4, stride=2, bias=False), 2 * w)
        self.down4 = _stage(Conv(2 * w, 4 * w, 4, stride=2, bias=False), 4 * w)
        self.residual = nn.ModuleList(
            SpadeResidualBlock(4 * w, conditions) if config.spade_residual else ResidualBlock(4 * w)
            for _ in range(config.residual_blocks)
        )
        self.decoder = nn.ModuleList(
            SpadeBlock(cin, cout, conditions, upsample=upsample)
            for cin, cout, upsample in (
                (4 * w, 4 * w, False),
                (4 * w, 2 * w, True),
                (2 * w, w, True),
            )
        )
        self.last_noise = AdaptiveNoise(config.noise_scale)
        self.last_spade = normalization(w)
        seen = w + channels if config.head_sees_image else w
        self.head = HeadConv(seen, channels + 1, 7)
        if config.residual_foreground:
            # Nothing is painted at first: otherwise the first hundreds of steps go into taking
            # random paint back, and the mask dies over it.
            nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def noise_shapes(self, height: int, width: int) -> list[tuple[int, int]]:
        """The size of the noise map at each injection point for images of height x width."""
        blocks = self.config.residual_blocks if self.config.spade_residual else 0
        return [(height // s, width // s) for s in (4,) * blocks + (4, 4, 2, 1)]

    def noise_size(self, height: int, width: int) -> int:
        """N: how many noise values an image takes."""
        return sum(h * w for h, w in self.noise_shapes(height, width))

    def forward(self, image: Tensor, control: Tensor, noise: Tensor) -> Layer:
        """The layer that brings the image to the class of the control map.

        Args:
            image: [B, C, H, W] in [-1, 1]; H and W multiples of 4.
            control: [B, K, h, w], h = w = 1 where it is constant over the image.
            noise: [B, N], standard normal; N = ``noise_size(H, W)``.
        """
        height, width = image.shape[2:]
        shapes = self.noise_shapes(height, width)
        # Noise varies what is painted. Where the normal look is asked for there is one right
        # answer, and noise there left specks all over restored images.
        painted = 1 - control[:, :1]
        maps = [
            flat.reshape(-1, 1, *shape) * _at(painted, shape)
            for flat, shape in zip(
                torch.split(noise, [h * w for h, w in shapes], dim=1), shapes, strict=True
            )
        ]
        seen = image
        if self.config.control == "concatenated":
            cells = F.interpolate(control, size=(height, width)).to(image.dtype)
            seen = torch.cat([image, cells], dim=1)
        full = self.stem(seen)
        half = self.down2(full)
        x = self.down4(half)
        for block in self.residual:
            x = block(x, control, maps.pop(0)) if self.config.spade_residual else block(x)
        skipped = (None, half, full) if self.config.skips else (None, None, None)
        for block, z, skip in zip(self.decoder, maps[:-1], skipped, strict=True):
            x = block(x, control, z)
            x = x if skip is None else x + skip
        x = torch.relu_(self.last_spade(self.last_noise(x, maps[-1]), control))
        if self.config.head_sees_image:
            x = torch.cat([x, image.to(x.dtype)], dim=1)
        out = self.head(x).float()
        mask = torch.sigmoid(out[:, -1:])
        if not self.config.layered:
            mask = torch.ones_like(mask)
        return Layer(self._foreground(image, out), mask)

    def _foreground(self, image: Tensor, out: Tensor) -> Tensor:
        if not self.config.residual_foreground:
            # Of all channels: of some of them it would be computed one value at a time.
            return torch.tanh(out)[:, :-1]
        # No tanh: it saturated, and froze the sign of what is painted. On images of two levels
        # every restoration became black, whatever it had to take away.
        return Clip.apply(image + 2 * out[:, :-1])  # type: ignore[no-any-return]

    def paint(self, image: Tensor, control: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The composed image [B, C, H, W] and the mask [B, 1, H, W]."""
        layer = self(image, control, noise)
        return compose(image, layer.foreground, layer.mask), layer.mask
