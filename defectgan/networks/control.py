"""Labels and control maps: what the generator is told to make, and where.

B batch, C image channels, K classes with index 0 = normal, S data sets, H x W pixels, h x w cells.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def constant_map(label: Tensor) -> Tensor:
    """The control map [B, K, 1, 1] that asks for the same everywhere, from labels [B, K]."""
    return label[:, :, None, None]


def asked(control: Tensor) -> Tensor:
    """The labels [B, K] of what control maps [B, K, h, w] ask for anywhere: defects, or where there
    are none normal.
    """
    top = control.amax((2, 3))
    defects = top[:, 1:]
    return torch.cat([top[:, :1] * (1 - defects.amax(1, keepdim=True)), defects], dim=1)


def spread(control: Tensor, image: Tensor) -> Tensor:
    """A control map [B, K, h, w] at the size of an image [B, C, H, W], and of its type: each cell
    as it is.
    """
    size = image.shape[2:]
    if control.shape[2:] == (1, 1):
        return control.expand(-1, -1, *size).to(image.dtype)
    return F.interpolate(control, size=size, mode="nearest").to(image.dtype)


def masked_map(label: Tensor, truth: Tensor) -> Tensor:
    """The control map [B, K, H, W] of images whose defects lie where true masks [B, 1, H, W] say:
    the classes ``label`` [B, K] there and normal elsewhere; all over the image where its mask is
    not known, NaN.
    """
    known = truth.isfinite().flatten(1).all(1)[:, None, None, None]
    inside = torch.where(known, truth.nan_to_num() > 0.5, True).to(label.dtype)
    normal = torch.zeros_like(label)
    normal[:, 0] = 1
    return constant_map(label) * inside + constant_map(normal) * (1 - inside)


def boundary_map(control: Tensor) -> Tensor:
    """1 where one of a cell's four neighbours shows something else, else 0, [B, 1, h, w], of a
    control map [B, K, h, w].

    Source: Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional
        GANs", CVPR 2018, section 3.3.
    """
    down = (control[:, :, 1:] != control[:, :, :-1]).any(1, keepdim=True)
    across = (control[..., 1:] != control[..., :-1]).any(1, keepdim=True)
    edge = F.pad(down, (0, 0, 1, 0)) | F.pad(down, (0, 0, 0, 1))
    edge = edge | F.pad(across, (1, 0)) | F.pad(across, (0, 1))
    return edge.to(control.dtype)


class MaskVector(nn.Module):
    """The mask vector [B, S]: which of S data sets an image is of, 1 there and 0 elsewhere.

    In training the set of each image is known. Of what a control map asks for the sets are known
    whose labels tell of it: of a defect those that have it, of what is good all.

    Source: Choi et al., "StarGAN", CVPR 2018, section 3.2.
    """

    known: Tensor

    def __init__(self, classes: int, sets: Sequence[Sequence[int]]) -> None:
        """Args: K; the numbers of the classes that the labels of each set tell of."""
        super().__init__()
        rows = [[float(k in known) for k in range(classes)] for known in sets]
        # Not in a weights file: the sets stand in its head.
        self.register_buffer("known", torch.tensor(rows), persistent=False)

    def of(self, told: Tensor) -> Tensor:
        """Of images whose labels tell of the classes ``told`` [B, K] in {0, 1}."""
        return (told[:, None] == self.known).all(2).to(told.dtype)

    def telling(self, control: Tensor) -> Tensor:
        """1 for each set whose labels tell of all that control maps [B, K, h, w] ask for."""
        strange = control[:, None] * (1 - self.known)[:, :, None, None]
        return 1 - strange.amax((2, 3, 4))


def one_hot(classes: list[int], count: int) -> Tensor:
    """Labels [B, K] from class numbers."""
    return torch.eye(count)[torch.tensor(classes)]
