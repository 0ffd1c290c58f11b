"""Labels and control maps: what the generator is told to make, and where.

B batch, K classes with index 0 = normal.
"""

import torch
from torch import Tensor


def constant_map(label: Tensor) -> Tensor:
    """The control map [B, K, 1, 1] that asks for the same everywhere, from labels [B, K]."""
    return label[:, :, None, None]


def one_hot(classes: list[int], count: int) -> Tensor:
    """Labels [B, K] from class numbers."""
    return torch.eye(count)[torch.tensor(classes)]
