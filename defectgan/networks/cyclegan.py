"""CycleGAN's networks: a generator of residual blocks, and the pool of past fakes.

B batch, C image channels, H x W pixels.

Source: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
    Networks", ICCV 2017, section 4 and appendix 7.2.
"""

import torch
from torch import Tensor, nn

from defectgan.networks.layers import InstanceNorm
from defectgan.networks.patchgan import begin


def _stage(conv: nn.Module, channels: int) -> list[nn.Module]:
    return [conv, InstanceNorm(channels), nn.ReLU(inplace=True)]


class ReflectedBlock(nn.Module):
    """R256: two 3 x 3 convolutions with instance normalization, the image mirrored at its edge."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        convs = [
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=False)
            for _ in range(2)
        ]
        self.body = nn.Sequential(*_stage(convs[0], channels), convs[1], InstanceNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        refined: Tensor = self.body(x)
        return x + refined


class ResnetGenerator(nn.Module):
    """G(x): c7s1-64, d128, d256, residual blocks, u128, u64, c7s1-C; all of the image anew."""

    def __init__(self, channels: int, *, width: int, residual_blocks: int) -> None:
        """Args: C; channels at full resolution, 4 x at the bottleneck; blocks there."""
        super().__init__()
        w = width
        first = nn.Conv2d(channels, w, 7, padding=3, padding_mode="reflect", bias=False)
        layers = _stage(first, w)
        for wide in (w, 2 * w):
            layers += _stage(nn.Conv2d(wide, 2 * wide, 3, 2, padding=1, bias=False), 2 * wide)
        layers += [ReflectedBlock(4 * w) for _ in range(residual_blocks)]
        for wide in (4 * w, 2 * w):
            up = nn.ConvTranspose2d(wide, wide // 2, 3, 2, padding=1, output_padding=1, bias=False)
            layers += _stage(up, wide // 2)
        last = nn.Conv2d(w, channels, 7, padding=3, padding_mode="reflect")
        self.body = nn.Sequential(*layers, last)
        begin(self)

    def forward(self, image: Tensor) -> Tensor:
        """The image of the other domain, [B, C, H, W] in [-1, 1]."""
        return torch.tanh(self.body(image).float())


class Pool(nn.Module):
    """Past fakes, so that a critic does not forget what it has learned from earlier ones.

    New images come back as they are until it is full. Then each goes in, for half of them, in the
    place of an old one, which comes back instead; or it comes back itself and is not kept. What it
    holds belongs to a training's state and to no model.

    Source: Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial
        Training", CVPR 2017, section 2.3.
    """

    images: Tensor
    # In a training's state, not in its weights.
    remembered = ("images",)

    def __init__(self, size: int) -> None:
        """Args: how many images it holds; 0: every image comes back as it is."""
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.empty(0), persistent=False)

    @torch.no_grad()
    def exchange(self, fakes: Tensor, drawn: Tensor) -> Tensor:
        """What the critic is shown in the place of new fakes, one after the other.

        Args:
            fakes: [B, C, H, W].
            drawn: [B, 2] from U[0, 1): whether an old image comes back, and which.
        """
        room = max(0, self.size - len(self.images)) if self.size else len(fakes)
        new, later = fakes[:room], fakes[room:]
        if self.size and len(new):
            self.images = torch.cat([self.images, new]) if len(self.images) else new.clone()
        shown = [new]
        for fake, (swap, place) in zip(later, drawn[room:], strict=True):
            # By number and not by name: the host must not wait for what was drawn on a GPU.
            at = (place * self.size).long().clamp(max=self.size - 1)[None]
            old, swapped = self.images.index_select(0, at), swap >= 0.5
            shown.append(torch.where(swapped, old, fake[None]))
            self.images.index_copy_(0, at, torch.where(swapped, fake[None], old))
        # One order in memory, wherever the images lay: else kernels might sum them up otherwise.
        return torch.cat(shown).contiguous(memory_format=torch.channels_last)
