"""Generators G(x, A, z): an image to a defect layer.

B batch, C image channels, K classes, H x W pixels, h x w cells of the control map, N noise values
an image.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.networks.compose import Painted, compose
from defectgan.networks.layers import (
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
from defectgan.networks.slices import ChannelSlice, ClassSlice

# How far a pixel of a repainted image goes, in [0, 2], up to which it counts as the same, and from
# which on as another.
SAME, CHANGED = 0.1, 0.2


def _stage(conv: Conv, channels: int) -> nn.Sequential:
    return nn.Sequential(conv, InstanceNorm(channels), nn.ReLU(inplace=True))


def at(control: Tensor, size: tuple[int, int]) -> Tensor:
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
    """What is painted over an image: ``foreground`` [B, C, H, W] in [-1, 1] and ``mask``
    [B, 1, H, W] in [0, 1].
    """

    foreground: Tensor
    mask: Tensor

    def over(self, image: Tensor) -> Painted:
        """Composed over images [B, C, H, W] in [-1, 1]."""
        return Painted(compose(image, self.foreground, self.mask), self.mask)

    @classmethod
    def of_difference(cls, image: Tensor, painted: Tensor) -> "Layer":
        """That of an image which was painted anew, [B, C, H, W] in [-1, 1]: opaque where it has
        changed, and nothing where it differs no more than any repainted image does. What is 0 in
        the mask stays as it was.
        """
        away = (painted - image).abs().amax(1, keepdim=True)
        return cls(painted, ((away - SAME) / (CHANGED - SAME)).clamp(0, 1))


class Generator(nn.Module):
    """The published form: encoder of stride 4, residual blocks, SPADE decoder with adaptive noise;
    its output is a layer to be composed over the input.

    Source: Zhang et al., "Defect-GAN", WACV 2021. The published text leaves the block's details
        open.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int,
        residual_blocks: int,
        spade_hidden: int,
        noise_scale: float | None,
    ) -> None:
        """Args: C, K; channels at full resolution, 4 x at the bottleneck; blocks there; channels
        of a SPADE branch; of the adaptive noise at the start, None: no noise.
        """
        super().__init__()
        self.channels, self.classes, self.width = channels, classes, width
        normalization = self._normalization(classes, spade_hidden)
        conditions = Conditions(normalization, noise_scale)
        w = width
        self.stem = _stage(self._first(channels, classes, w), w)
        self.down2 = _stage(Conv(w, 2 * w, 4, stride=2, bias=False), 2 * w)
        self.down4 = _stage(Conv(2 * w, 4 * w, 4, stride=2, bias=False), 4 * w)
        self.residual = nn.ModuleList(
            self._residual_block(4 * w, conditions) for _ in range(residual_blocks)
        )
        self.decoder = nn.ModuleList(
            SpadeBlock(cin, cout, conditions, upsample=upsample)
            for cin, cout, upsample in (
                (4 * w, 4 * w, False),
                (4 * w, 2 * w, True),
                (2 * w, w, True),
            )
        )
        self.last_noise = AdaptiveNoise(noise_scale)
        self.last_spade = normalization(w)
        self.head = self._head(channels, w)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.channel_slices = self._channel_slices()

    def _normalization(self, classes: int, hidden: int) -> Callable[[int], nn.Module]:
        return partial(Spade, classes=classes, hidden=hidden)

    def _first(self, channels: int, classes: int, width: int) -> Conv:
        return Conv(channels, width, 7, bias=False)

    def _residual_block(self, channels: int, conditions: Conditions) -> nn.Module:
        return ResidualBlock(channels)

    def _head(self, channels: int, width: int) -> HeadConv:
        return HeadConv(width, channels + 1, 7)

    def _channel_slices(self) -> tuple[ChannelSlice, ...]:
        return (
            ChannelSlice("stem.0.weight", axis=1),
            ChannelSlice("head.weight", axis=0, side="output"),
            ChannelSlice("head.bias", axis=0, side="output"),
        )

    @property
    def _noisy_blocks(self) -> int:
        """Residual blocks that take noise."""
        return 0

    def noise_shapes(self, height: int, width: int) -> list[tuple[int, int]]:
        """The size of the noise map at each injection point for images of height x width."""
        return [(height // s, width // s) for s in (4,) * self._noisy_blocks + (4, 4, 2, 1)]

    def noise_size(self, height: int, width: int) -> int:
        """N: how many noise values an image takes."""
        return sum(h * w for h, w in self.noise_shapes(height, width))

    def forward(
        self, image: Tensor, control: Tensor, noise: Tensor, inside: Tensor | None = None
    ) -> Layer:
        """The layer that brings the image to the class of the control map.

        Args:
            image: [B, C, H, W] in [-1, 1]; H and W multiples of 4.
            control: [B, K, h, w], h = w = 1 where it is constant over the image.
            noise: [B, N], standard normal; N = ``noise_size(H, W)``.
            inside: [B, 4 x width, H / 4, W / 4], added at the bottleneck.
        """
        maps = self._noise_maps(noise, control, image.shape[2:])
        full = self.stem(self._seen(image, control))
        half = self.down2(full)
        x = self.down4(half)
        if inside is not None:
            x = x + inside.to(x.dtype)
        x = self._refined(x, control, maps[: self._noisy_blocks])
        *others, last = maps[self._noisy_blocks :]
        for block, z, skip in zip(self.decoder, others, self._skips(half, full), strict=True):
            x = block(x, control, z)
            x = x if skip is None else x + skip
        x = torch.relu_(self.last_spade(self.last_noise(x, last), control))
        out = self.head(self._before_head(x, image)).float()
        return Layer(self._foreground(image, out), self._mask(out))

    def _noise_maps(self, noise: Tensor, control: Tensor, size: Sequence[int]) -> list[Tensor]:
        shapes = self.noise_shapes(*size)
        # Noise varies what is painted. Where the normal look is asked for there is one right
        # answer, and noise there left specks all over restored images.
        painted = 1 - control[:, :1]
        flat = torch.split(noise, [h * w for h, w in shapes], dim=1)
        return [
            one.reshape(-1, 1, *shape) * at(painted, shape)
            for one, shape in zip(flat, shapes, strict=True)
        ]

    def _seen(self, image: Tensor, control: Tensor) -> Tensor:
        return image

    def _refined(self, x: Tensor, control: Tensor, noise: Sequence[Tensor]) -> Tensor:
        for block in self.residual:
            x = block(x)
        return x

    def _skips(self, half: Tensor, full: Tensor) -> tuple[Tensor | None, ...]:
        """What the decoder sees of the encoder's maps, after each of its blocks."""
        return None, None, None

    def _before_head(self, x: Tensor, image: Tensor) -> Tensor:
        return x

    def _foreground(self, image: Tensor, out: Tensor) -> Tensor:
        # Of all channels: of some of them it would be computed one value at a time.
        return torch.tanh(out)[:, :-1]

    def _mask(self, out: Tensor) -> Tensor:
        return torch.sigmoid(out[:, -1:])


class RobustGenerator(Generator):
    """Four departures that keep masks alive, and sharp, on small and low-contrast defects.

    The residual blocks are told the class and given noise: the shape of a defect is made there, the
    decoder alone has one convolution a size for it. The decoder sees the encoder's maps of its
    size: sharp masks of thin defects. The last convolution sees the image too, whose colour
    instance normalization has taken away. The foreground is the image plus what is learned.
    """

    def __init__(self, channels: int, classes: int, *, layered: bool = True, **sizes: Any) -> None:
        """Args: as of ``Generator``; whether a layer is painted over the image, or all of it."""
        super().__init__(channels, classes, **sizes)
        self.layered = layered
        # Nothing is painted at first: otherwise the first hundreds of steps go into taking random
        # paint back, and the mask dies over it.
        nn.init.zeros_(self.head.weight)

    def _residual_block(self, channels: int, conditions: Conditions) -> nn.Module:
        return SpadeResidualBlock(channels, conditions)

    @property
    def _noisy_blocks(self) -> int:
        return len(self.residual)

    def _refined(self, x: Tensor, control: Tensor, noise: Sequence[Tensor]) -> Tensor:
        for block, z in zip(self.residual, noise, strict=True):
            x = block(x, control, z)
        return x

    def _skips(self, half: Tensor, full: Tensor) -> tuple[Tensor | None, ...]:
        return None, half, full

    def _head(self, channels: int, width: int) -> HeadConv:
        return HeadConv(width + channels, channels + 1, 7)

    def _channel_slices(self) -> tuple[ChannelSlice, ...]:
        return (*super()._channel_slices(), ChannelSlice("head.weight", axis=1, first=self.width))

    def _before_head(self, x: Tensor, image: Tensor) -> Tensor:
        return torch.cat([x, image.to(x.dtype)], dim=1)

    def _foreground(self, image: Tensor, out: Tensor) -> Tensor:
        # No tanh: it saturated, and froze the sign of what is painted. On images of two levels
        # every restoration became black, whatever it had to take away.
        return Clip.apply(image + 2 * out[:, :-1])  # type: ignore[no-any-return]

    def _mask(self, out: Tensor) -> Tensor:
        mask = super()._mask(out)
        return mask if self.layered else torch.ones_like(mask)


class ConcatenatedGenerator(RobustGenerator):
    """The robust form with the class beside the image instead of SPADE, for the ablation."""

    def __init__(self, channels: int, classes: int, **sizes: Any) -> None:
        super().__init__(channels, classes, **sizes)
        self.class_slices = (ClassSlice("stem.0.weight", axis=1, first=channels),)

    def _normalization(self, classes: int, hidden: int) -> Callable[[int], nn.Module]:
        return InstanceNorm

    def _first(self, channels: int, classes: int, width: int) -> Conv:
        # With edges repeated a constant class map is a constant after the convolution too, and
        # instance normalization takes it away: only zeros round the image let it be seen.
        return Conv(channels + classes, width, 7, bias=False, repeat_edge=False)

    def _residual_block(self, channels: int, conditions: Conditions) -> nn.Module:
        return ResidualBlock(channels)

    @property
    def _noisy_blocks(self) -> int:
        return 0

    def _seen(self, image: Tensor, control: Tensor) -> Tensor:
        cells = F.interpolate(control, size=image.shape[2:]).to(image.dtype)
        return torch.cat([image, cells], dim=1)

    def _refined(self, x: Tensor, control: Tensor, noise: Sequence[Tensor]) -> Tensor:
        return Generator._refined(self, x, control, noise)
