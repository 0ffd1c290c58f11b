"""The PatchGAN of pix2pix and CycleGAN: a critic of overlapping patches.

B batch, C channels of all that is judged, H x W pixels, h x w patches.
"""

from torch import Tensor, nn

from defectgan.networks.layers import InstanceNorm

LEAK = 0.2
KERNEL = 4
# C64-C128-C256-C512 and the map of scores.
STRIDES = (2, 2, 2, 1, 1)
# Of the normal distribution that weights begin with.
INITIAL = 0.02
# An image of fewer pixels a side leaves no whole map of scores.
LEAST = 32


def receptive_field(kernel: int = KERNEL, strides: tuple[int, ...] = STRIDES) -> int:
    """Pixels a side of the patch that one score sees: from the last layer back to the image each
    layer makes r pixels of its output ``(r - 1) stride + kernel`` of its input.
    """
    reach = 1
    for stride in reversed(strides):
        reach = (reach - 1) * stride + kernel
    return reach


def begin(network: nn.Module) -> None:
    """Fresh weights of convolutions as the authors begin with them: N(0, 0.02), biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=INITIAL)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class PatchGAN(nn.Module):
    """D(x): a score of each patch of 70 x 70 pixels, [B, 1, h, w], without a sigmoid.

    Each image is normalized alone: a score knows of the rest of the image what its statistics tell.

    Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR
        2017, appendix 6.1.2; Zhu et al., "Unpaired Image-to-Image Translation using
        Cycle-Consistent Adversarial Networks", ICCV 2017, appendix 7.2.
    """

    def __init__(self, channels: int, *, width: int) -> None:
        """Args: C; channels of the first layer, doubled by each of the next three."""
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for i, stride in enumerate(STRIDES[:-1]):
            after = width * 2**i
            # A bias before a normalization would be taken away again.
            layers.append(nn.Conv2d(before, after, KERNEL, stride, padding=1, bias=i == 0))
            if i:
                layers.append(InstanceNorm(after))
            layers.append(nn.LeakyReLU(LEAK))
            before = after
        layers.append(nn.Conv2d(before, 1, KERNEL, STRIDES[-1], padding=1))
        self.body = nn.Sequential(*layers)
        begin(self)

    def forward(self, image: Tensor) -> Tensor:
        """The scores of images [B, C, H, W]."""
        scores: Tensor = self.body(image)
        return scores.float()
