"""StarGAN v2's networks: a style paints, and a branch for each domain makes it or judges by it.

B batch, C image channels, K classes (the domains), H x W pixels, N noise values, S values of a
style, F features.

Source: Choi et al., "StarGAN v2", CVPR 2020, appendix A.
"""

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.networks.critic import Verdict
from defectgan.networks.generator import Clip
from defectgan.networks.layers import Conv, InstanceNorm, normalize
from defectgan.networks.slices import ClassSlice

LEAK = 0.2
# Channels of a map, at most.
WIDEST = 512
# A residual block's two sides add up; their sum has the variance of one.
HALF = 2**-0.5
# Layers that all domains share in the mapping network, and those that each has of its own.
SHARED, OWN = 4, 3


def widths(first: int, layers: int) -> list[int]:
    """Channels after each halving of the size, from full resolution on."""
    return [min(first << i, WIDEST) for i in range(layers + 1)]


def chosen(branches: Tensor, label: Tensor) -> Tensor:
    """Of what K branches say, [B, K, ...], that of the classes ``label`` [B, K] in {0, 1}, their
    mean where there are several: no other branch gets any gradient.
    """
    weight = (label / label.sum(1, keepdim=True)).to(branches.dtype)
    return (branches * weight.view(*weight.shape, *[1] * (branches.ndim - 2))).sum(1)


class BranchLinear(nn.Module):
    """K linear layers side by side: [B, K, in] -> [B, K, out]."""

    class_slices = (ClassSlice("weight", axis=0), ClassSlice("bias", axis=0))

    def __init__(self, branches: int, before: int, after: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(branches, after, before))
        self.bias = nn.Parameter(torch.zeros(branches, after))
        nn.init.uniform_(self.weight, -(before**-0.5), before**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = torch.einsum("bki,koi->bko", x, self.weight) + self.bias
        return made


class MappingNetwork(nn.Module):
    """F_y(z): noise to the style of a domain."""

    def __init__(self, classes: int, *, latent: int, style: int, width: int) -> None:
        """Args: K; N; S; channels within."""
        super().__init__()
        self.classes = classes
        self.shared = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(before, width), nn.ReLU())
                for before in (latent, *(width,) * (SHARED - 1))
            )
        )
        self.own = nn.ModuleList(BranchLinear(classes, width, width) for _ in range(OWN))
        self.last = BranchLinear(classes, width, style)

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        """Styles [B, S] of the domains ``label`` [B, K] from noise [B, N]."""
        x = self.shared(noise)[:, None].expand(-1, self.classes, -1)
        for layer in self.own:
            x = F.relu(layer(x))
        return chosen(self.last(x), label)


class Halving(nn.Module):
    """A residual block of two 3 x 3 convolutions, with instance normalization or without, which
    halves the size where asked to.
    """

    def __init__(self, before: int, after: int, *, normalized: bool, halves: bool = True) -> None:
        super().__init__()
        self.halves = halves
        self.norms = nn.ModuleList(
            InstanceNorm(before) if normalized else nn.Identity() for _ in range(2)
        )
        self.convs = nn.ModuleList([Conv(before, before, 3), Conv(before, after, 3)])
        self.shortcut = Conv(before, after, 1, bias=False) if before != after else nn.Identity()

    def _smaller(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if self.halves else x

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.convs
        refined = self._smaller(first(F.leaky_relu(self.norms[0](x), LEAK)))
        refined = second(F.leaky_relu(self.norms[1](refined), LEAK))
        total: Tensor = (self._smaller(self.shortcut(x)) + refined) * HALF
        return total


class AdaptiveNorm(nn.Module):
    """``(1 + gamma(s)) * norm(x) + beta(s)``: a style modulates instance normalization.

    Source: Huang and Belongie, "Arbitrary Style Transfer in Real-Time with Adaptive Instance
        Normalization", ICCV 2017, eq. 8.
    """

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(style, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.modulation(style)[:, :, None, None].chunk(2, dim=1)
        return normalize(x, 1 + scale, shift)


class StyledBlock(nn.Module):
    """A residual block that paints in a style, and doubles the size where asked to."""

    def __init__(self, before: int, after: int, style: int, *, doubles: bool = True) -> None:
        super().__init__()
        self.doubles = doubles
        self.norms = nn.ModuleList([AdaptiveNorm(before, style), AdaptiveNorm(after, style)])
        self.convs = nn.ModuleList([Conv(before, after, 3), Conv(after, after, 3)])
        self.shortcut = Conv(before, after, 1, bias=False) if before != after else nn.Identity()

    def _larger(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest") if self.doubles else x

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        first, second = self.convs
        refined = first(self._larger(F.leaky_relu(self.norms[0](x, style), LEAK)))
        refined = second(F.leaky_relu(self.norms[1](refined, style), LEAK))
        total: Tensor = (self.shortcut(self._larger(x)) + refined) * HALF
        return total


class StyledGenerator(nn.Module):
    """G(x, s): it sees an image and a style, and never a label."""

    def __init__(
        self, channels: int, *, width: int, stages: int, residual_blocks: int, style: int
    ) -> None:
        """Args: C; channels at full resolution, doubled with each halving; halvings; blocks at the
        smallest size on either side; S.
        """
        super().__init__()
        wide = widths(width, stages)
        self.stem = Conv(channels, width, 3)
        down = [Halving(*pair, normalized=True) for pair in pairwise(wide)]
        inner = [
            Halving(wide[-1], wide[-1], normalized=True, halves=False)
            for _ in range(residual_blocks)
        ]
        self.encoder = nn.Sequential(*down, *inner)
        self.decoder = nn.ModuleList(
            [
                *(
                    StyledBlock(wide[-1], wide[-1], style, doubles=False)
                    for _ in range(residual_blocks)
                ),
                *(
                    StyledBlock(after, before, style)
                    for before, after in reversed([*pairwise(wide)])
                ),
            ]
        )
        self.norm = InstanceNorm(width)
        self.head = Conv(width, channels, 1)

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """The painted image [B, C, H, W] from one [B, C, H, W] in [-1, 1] and a style [B, S]."""
        x = self.encoder(self.stem(image))
        for block in self.decoder:
            x = block(x, style)
        out = self.head(F.leaky_relu(self.norm(x), LEAK)).float()
        # Its authors leave the range open, and clip what is looked at.
        return cast(Tensor, Clip.apply(out))


class _Reader(nn.Module):
    """What a style encoder and a critic see of an image, [B, F]: residual blocks without
    normalization, then a convolution over the whole of the last map.
    """

    def __init__(self, channels: int, *, width: int, layers: int, size: tuple[int, int]) -> None:
        """Args: C; channels at full resolution, doubled with each halving; halvings; H and W, which
        it is tied to.
        """
        super().__init__()
        wide = widths(width, layers)
        blocks = (Halving(*pair, normalized=False) for pair in pairwise(wide))
        self.trunk = nn.Sequential(Conv(channels, width, 3), *blocks, nn.LeakyReLU(LEAK))
        self.out = wide[-1]
        self.whole = nn.Conv2d(self.out, self.out, (size[0] >> layers, size[1] >> layers))

    def forward(self, image: Tensor) -> Tensor:
        return F.leaky_relu(self.whole(self.trunk(image)), LEAK).flatten(1)


class StyleEncoder(nn.Module):
    """E_y(x): the style of an image of a domain."""

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int,
        layers: int,
        size: tuple[int, int],
        style: int,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.reader = _Reader(channels, width=width, layers=layers, size=size)
        self.head = BranchLinear(classes, self.reader.out, style)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        """Styles [B, S] of images [B, C, H, W] of the domains ``label`` [B, K]."""
        seen = self.reader(image)[:, None].expand(-1, self.classes, -1)
        return chosen(self.head(seen), label)


class BranchCritic(nn.Module):
    """D_y(x): how real an image is as one of a domain; a logit of a branch of its own.

    Nobody teaches it to tell domains apart: as class logits its branches say in which domain an
    image is most real to it.
    """

    def __init__(
        self, channels: int, classes: int, *, width: int, layers: int, size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.classes = classes
        self.reader = _Reader(channels, width=width, layers=layers, size=size)
        self.head = BranchLinear(classes, self.reader.out, 1)

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        """The verdict on images [B, C, H, W] as ones of the classes ``label`` [B, K]."""
        logits = self.classify(image)
        return Verdict(chosen(logits, label), logits)

    def scores(self, image: Tensor, label: Tensor) -> Tensor:
        """D_y(x) alone, [B]."""
        return self(image, label).score  # type: ignore[no-any-return]

    def classify(self, image: Tensor) -> Tensor:
        """What each branch says, [B, K]."""
        seen = self.reader(image)[:, None].expand(-1, self.classes, -1)
        branches: Tensor = self.head(seen)
        return branches[..., 0].float()
