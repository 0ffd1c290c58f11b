"""VGG-19's features, by weights from a file.

B batch, C image channels (1 or 3), c_i channels of map i, h_i x w_i its cells.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", ICLR 2015. Layers are numbered as torchvision numbers them.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Channels of each convolution; a number of several in a row stands between two poolings.
BLOCKS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,))
# Of the images that it learned from, in [0, 1].
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Of the maps after the first convolution of each block, as in pix2pixHD.
WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def names() -> list[str]:
    """Those of the convolutions up to conv5_1."""
    found, number = [], 0
    for block in BLOCKS:
        for _ in block:
            found.append(f"features.{number}")
            number += 2  # with its ReLU
        number += 1  # pooling
    return found


class Vgg(nn.Module):
    """A fixed network up to relu5_1; its weights want no gradient, its image may."""

    weights = WEIGHTS
    mean: Tensor
    deviation: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Args: torchvision's tensors of VGG-19.

        Raises:
            KeyError, RuntimeError: if they are those of another network.
        """
        super().__init__()
        before, numbers = 3, iter(names())
        self.blocks = nn.ModuleList()
        for block in BLOCKS:
            convs = nn.ModuleList()
            for after in block:
                conv, name = nn.Conv2d(before, after, 3, padding=1), next(numbers)
                conv.load_state_dict({p: tensors[f"{name}.{p}"] for p in ("weight", "bias")})
                convs.append(conv)
                before = after
            self.blocks.append(convs)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def maps(self, image: Tensor) -> list[Tensor]:
        """relu1_1, relu2_1, ... relu5_1, [B, c_i, h_i, w_i], of images [B, C, H, W] in [-1, 1]."""
        x, found = ((image.float() + 1) / 2 - self.mean) / self.deviation, []
        for i, convs in enumerate(self.blocks):
            x = F.max_pool2d(x, 2) if i else x
            first, *others = cast(nn.ModuleList, convs)
            x = F.relu(first(x))
            found.append(x)
            for conv in others:
                x = F.relu(conv(x))
        return found
