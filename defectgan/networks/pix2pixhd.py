"""pix2pixHD's generator, coarse to fine.

B batch, C image channels, K classes, H x W pixels, h x w cells of the control map.

Source: Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional
    GANs", CVPR 2018, section 3.2. Its authors train the global generator first; here both are
    trained together from the start.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.networks.control import boundary_map, spread
from defectgan.networks.layers import Conv, InstanceNorm, ResidualBlock
from defectgan.networks.slices import ClassSlice


def _stage(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    conv = Conv(before, after, 3 if stride == 1 else 4, stride=stride, bias=False)
    return nn.Sequential(conv, InstanceNorm(after), nn.ReLU(inplace=True))


def _first(before: int, after: int) -> nn.Sequential:
    # Not normalized: that would take a control map away which is constant over the image.
    return nn.Sequential(Conv(before, after, 7), nn.ReLU(inplace=True))


def _larger(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), _stage(before, after))


class CoarseToFineGenerator(nn.Module):
    """G = {G1, G2}: a global generator at half the size, whose last map the local enhancer adds to
    its own. It sees the image, the boundary map of the control map, and that.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int,
        stages: int,
        residual_blocks: int,
        local_blocks: int,
    ) -> None:
        """Args: C, K; channels at full resolution, doubled with each halving; halvings in the
        global generator; blocks there and in the local enhancer.
        """
        super().__init__()
        seen = channels + 1 + classes
        wide = [2 * width << i for i in range(stages + 1)]
        down = [_stage(w, 2 * w, stride=2) for w in wide[:-1]]
        up = [_larger(2 * w, w) for w in reversed(wide[:-1])]
        blocks = [ResidualBlock(wide[-1]) for _ in range(residual_blocks)]
        self.coarse = nn.Sequential(_first(seen, wide[0]), *down, *blocks, *up)
        self.fine = nn.Sequential(_first(seen, width), _stage(width, 2 * width, stride=2))
        local = (ResidualBlock(2 * width) for _ in range(local_blocks))
        self.body = nn.Sequential(*local, _larger(2 * width, width))
        self.head = Conv(width, channels, 7)
        self.class_slices = tuple(
            ClassSlice(f"{part}.0.0.weight", axis=1, first=channels + 1)
            for part in ("coarse", "fine")
        )

    def forward(self, image: Tensor, control: Tensor) -> Tensor:
        """The painted image [B, C, H, W] from one [B, C, H, W] in [-1, 1] and a control map
        [B, K, h, w].
        """
        planes = spread(control, image)
        told = torch.cat([image, boundary_map(planes), planes], dim=1)
        half = F.avg_pool2d(told, 3, stride=2, padding=1, count_include_pad=False)
        x = self.body(self.fine(told) + self.coarse(half))
        return torch.tanh(self.head(x).float())
