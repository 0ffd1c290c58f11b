"""Labels and control maps: what the generator is told to make, and where.

B batch, K classes with index 0 = normal, S data sets, h x w cells.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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


class MaskVector(nn.Module):
    """The mask vector of a control map [B, K, h, w], [B, S, h, w]: 1 for each of S data sets whose
    labels tell of all that the map asks for, 0 for the others.

    A defect is told of by the sets that have it. What is good is good to all of them: their labels
    have one class of it between them, and asking for it asks for the defects of no set.

    Source: Choi et al., "StarGAN", CVPR 2018, section 3.2.
    """

    strange: Tensor

    def __init__(self, classes: int, sets: Sequence[Sequence[int]]) -> None:
        """Args: K; the numbers of the classes that the labels of each set tell of."""
        super().__init__()
        rows = [[float(k not in known) for k in range(classes)] for known in sets]
        # Not in a weights file: the sets stand in its head.
        self.register_buffer("strange", torch.tensor(rows), persistent=False)

    def forward(self, control: Tensor) -> Tensor:
        return 1 - (control[:, None] * self.strange[:, :, None, None]).amax(2)


def one_hot(classes: list[int], count: int) -> Tensor:
    """Labels [B, K] from class numbers."""
    return torch.eye(count)[torch.tensor(classes)]
