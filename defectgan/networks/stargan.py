"""StarGAN's networks: the class beside the image, all of the image painted anew.

B batch, C image channels, K classes, S data sets, H x W pixels.

Source: Choi et al., "StarGAN", CVPR 2018, and its authors' code.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.networks.control import MaskVector
from defectgan.networks.critic import Critic
from defectgan.networks.layers import Conv, InstanceNorm, ResidualBlock
from defectgan.networks.slices import ClassSlice


def _conv(before: int, after: int, kernel: int, *, stride: int = 1) -> Conv:
    return Conv(before, after, kernel, stride=stride, bias=False, repeat_edge=False)


class StarGenerator(nn.Module):
    """G(x, c): encoder of stride 4, residual blocks, decoder of transposed convolutions."""

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int,
        residual_blocks: int,
        sets: Sequence[Sequence[int]] = (),
    ) -> None:
        """Args: C, K; channels at full resolution, 4 x at the bottleneck; blocks there; the numbers
        of the classes that the labels of each of several data sets tell of.
        """
        super().__init__()
        self.mask_vector = MaskVector(classes, sets) if sets else None
        first = channels + len(sets)
        self.class_slices = (ClassSlice("body.0.weight", axis=1, first=first),)
        w = width
        layers: list[nn.Module] = [*self._stage(_conv(first + classes, w, 7), w)]
        for wide in (w, 2 * w):
            layers += self._stage(_conv(wide, 2 * wide, 4, stride=2), 2 * wide)
        layers += [ResidualBlock(4 * w, repeat_edge=False) for _ in range(residual_blocks)]
        for wide in (4 * w, 2 * w):
            up = nn.ConvTranspose2d(wide, wide // 2, 4, stride=2, padding=1, bias=False)
            layers += self._stage(up, wide // 2)
        self.body = nn.Sequential(*layers, _conv(w, channels, 7))

    def _stage(self, conv: nn.Module, channels: int) -> list[nn.Module]:
        return [conv, InstanceNorm(channels), nn.ReLU(inplace=True)]

    def vector(self, told: Tensor | None) -> Tensor | None:
        """The mask vector [B, S] of images whose labels tell of the classes ``told`` [B, K]; None
        of one data set alone.
        """
        return None if told is None or self.mask_vector is None else self.mask_vector.of(told)

    def forward(self, image: Tensor, control: Tensor, vector: Tensor | None = None) -> Tensor:
        """The painted image [B, C, H, W] from one [B, C, H, W] in [-1, 1], a control map
        [B, K, h, w] and, of several data sets, the mask vector [B, S].
        """
        size = image.shape[2:]
        planes = [image, F.interpolate(control, size=size).to(image.dtype)]
        if vector is not None:
            planes.insert(1, vector[:, :, None, None].expand(-1, -1, *size).to(image.dtype))
        return torch.tanh(self.body(torch.cat(planes, dim=1)).float())

    def nearest(self, image: Tensor, control: Tensor) -> Tensor:
        """As ``forward``, of images of which nobody says which set they are of: what each mask
        vector makes whose set has what is asked for, and of that what is most like the image.
        """
        if self.mask_vector is None:
            return cast(Tensor, self(image, control))
        telling = self.mask_vector.telling(control)
        # Not its len: an export would take the batch for one of a fixed size.
        count, vectors = image.shape[0], torch.eye(telling.shape[1], device=image.device)
        each = [self(image, control, vector.expand(count, -1)) for vector in vectors]
        painted = torch.stack(each, dim=1)
        away = (painted - image[:, None]).abs().mean((2, 3, 4))
        # No two images are further apart than 2.
        chosen = (away + 2 * (1 - telling)).argmin(1)
        return painted[torch.arange(count, device=image.device), chosen]


class StarCritic(Critic):
    """A PatchGAN critic whose classifier reads the whole of the last map.

    ``patches`` counts the patches that the score is the mean of.
    """

    class_slices = (ClassSlice("logits.weight", axis=0),)

    def __init__(
        self, channels: int, classes: int, *, width: int, layers: int, size: tuple[int, int]
    ) -> None:
        """Args: C, K; width and layers as of ``Critic``; H and W, which the classifier is tied
        to.
        """
        super().__init__(channels, width=width, layers=layers, repeat_edge=False)
        last = size[0] >> layers, size[1] >> layers
        self.logits = nn.Conv2d(self.out_channels, classes, last, bias=False)
        self.patches = last[0] * last[1]

    def _logits(self, image: Tensor, maps: Tensor) -> Tensor:
        logits: Tensor = self.logits(maps)
        return logits.flatten(1).float()
