"""Layers of the generator.

B batch, C channels, K classes, H x W pixels of a feature map, h x w cells of the control map
(1 x 1 = constant).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.networks.slices import ClassSlice

NORM_EPSILON = 1e-5
# A variance that is rounding: of images without any content.
FLAT = 1e-10


def normalize(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Instance normalization with a given modulation: ``scale * (x - mean) / std + shift``.

    Args:
        x: [B, C, H, W]; the statistics are taken over H and W, in fp32.
        scale, shift: anything that broadcasts against x. Where they are constant over the image the
            arithmetic folds into one multiply-add a pixel.
    """
    # Not torch.var_mean: on a CPU it takes thirty times as long as a mean.
    centred = x.float()
    centred = centred - centred.mean((2, 3), keepdim=True)
    variance = centred.square().mean((2, 3), keepdim=True)
    # Nothing flows back through what is flat: every such layer would make the gradient 300 times as
    # large, and one black image overflow it.
    scale = scale * torch.rsqrt(variance + NORM_EPSILON) * (variance > FLAT)
    return torch.addcmul(shift, centred, scale).to(x.dtype)


class InstanceNorm(nn.Module):
    """Instance normalization with a learned gain and offset a channel; it can stand in the place of
    SPADE and looks at no control map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, control: Tensor | None = None) -> Tensor:
        return normalize(x, self.weight.view(1, -1, 1, 1), self.bias.view(1, -1, 1, 1))


class Conv(nn.Conv2d):
    """A convolution that keeps the size (at stride 1) by repeating the edge, or adding zeros.

    Zeros would mark the border: a generator that can see it paints its defects along it, and a
    critic that can see it lets it (both seen).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        bias: bool = True,
        repeat_edge: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=(kernel - 1) // 2,
            padding_mode="replicate" if repeat_edge else "zeros",
            bias=bias,
        )


class HeadConv(Conv):
    """A convolution of odd kernel with few output channels, for images of even size.

    Four neighbouring outputs are computed at once, as channels of one convolution of stride 2 whose
    kernel holds the given one in four places: the same numbers. Vector units have room for 16
    output channels, and 4 leave most of it idle (measured: a third of the time forwards).
    """

    def forward(self, x: Tensor) -> Tensor:
        border = self.padding[0]
        assert isinstance(border, int)
        padded = F.pad(x, (border,) * 4, mode="replicate")
        placed = [F.pad(self.weight, (c, 1 - c, r, 1 - r)) for r in (0, 1) for c in (0, 1)]
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        four = F.conv2d(padded, torch.stack(placed, dim=1).flatten(0, 1), bias, stride=2)
        return F.pixel_shuffle(four, 2)


class ControlConv(Conv):
    """A 3 x 3 convolution that knows when its input is constant over the image.

    With edges repeated the convolution of a constant map is a constant: the input times the
    kernel's sum. A map of 1 x 1 is taken as constant over whatever size it stands for, and costs a
    matrix product instead of a convolution.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] == (1, 1):
            return F.conv2d(x, self.weight.sum((2, 3), keepdim=True), self.bias)
        return super().forward(x)


class Spade(nn.Module):
    """``(1 + gamma(A)) * norm(x) + beta(A)``: the control map modulates a parameter-free
    normalization.

    Source: Park et al., "Semantic Image Synthesis with Spatially-Adaptive Normalization", CVPR
        2019, eq. 1.
    """

    class_slices = (ClassSlice("shared.weight", axis=1, alike=True),)

    def __init__(self, channels: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.shared = ControlConv(classes, hidden)
        self.gamma = ControlConv(hidden, channels)
        self.beta = ControlConv(hidden, channels)

    def forward(self, x: Tensor, control: Tensor) -> Tensor:
        """Modulate x [B, C, H, W] by a control map [B, K, h, w]; a 1 x 1 map takes the cheap, equal
        path.
        """
        if control.shape[2:] != (1, 1):
            control = F.interpolate(control, size=x.shape[2:], mode="nearest")
        features = F.relu(self.shared(control))
        return normalize(x, 1 + self.gamma(features), self.beta(features))


class AdaptiveNoise(nn.Module):
    """``x + s * z``: noise of one map, with a learned scalar s; None: s is 0 and stays so.

    Source: Zhang et al., "Defect-GAN", WACV 2021, adaptive noise insertion.
    """

    scale: Tensor

    def __init__(self, scale: float | None) -> None:
        super().__init__()
        if scale is None:
            self.register_buffer("scale", torch.tensor(0.0))
        else:
            self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return x + self.scale.to(x.dtype) * noise.to(x.dtype)


class Conditions(NamedTuple):
    """How the blocks of a generator are told the class and given noise.

    ``normalization`` makes that of a number of channels, called with x and the control map: SPADE,
    or one that looks at no control map where the class stands beside the image.
    """

    normalization: Callable[[int], nn.Module]
    noise_scale: float | None


class ResidualBlock(nn.Module):
    """The encoder's residual block: two 3 x 3 convolutions with instance normalization."""

    def __init__(self, channels: int, *, repeat_edge: bool = True) -> None:
        super().__init__()
        conv = partial(Conv, channels, channels, 3, bias=False, repeat_edge=repeat_edge)
        self.body = nn.Sequential(
            conv(), InstanceNorm(channels), nn.ReLU(), conv(), InstanceNorm(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        refined: Tensor = self.body(x)
        return x + refined


class SpadeResidualBlock(nn.Module):
    """A residual block that knows the class and has noise of its own: noise, then twice SPADE, ReLU
    and a 3 x 3 convolution.
    """

    def __init__(self, channels: int, conditions: Conditions) -> None:
        super().__init__()
        self.noise = AdaptiveNoise(conditions.noise_scale)
        self.spades = nn.ModuleList(conditions.normalization(channels) for _ in range(2))
        self.convs = nn.ModuleList(Conv(channels, channels, 3) for _ in range(2))

    def forward(self, x: Tensor, control: Tensor, noise: Tensor) -> Tensor:
        refined: Tensor = self.noise(x, noise)
        for spade, conv in zip(self.spades, self.convs, strict=True):
            refined = conv(F.relu(spade(refined, control), inplace=True))
        return x + refined


class SpadeBlock(nn.Module):
    """The decoder's block: noise, SPADE, ReLU and a 3 x 3 convolution, optionally after doubling
    the size.
    """

    def __init__(
        self, in_channels: int, out_channels: int, conditions: Conditions, *, upsample: bool
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.noise = AdaptiveNoise(conditions.noise_scale)
        self.spade = conditions.normalization(in_channels)
        self.conv = Conv(in_channels, out_channels, 3)

    def forward(self, x: Tensor, control: Tensor, noise: Tensor) -> Tensor:
        x = F.relu(self.spade(self.noise(x, noise), control), inplace=True)
        if self.upsample:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        convolved: Tensor = self.conv(x)
        return convolved
