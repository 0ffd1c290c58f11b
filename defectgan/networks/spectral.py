"""Spectral normalization: a layer whose largest singular value is 1.

Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018,
    algorithm 1.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from defectgan.networks.layers import Conv

# Steps of the power iteration before the first image, so that the value is right from there on.
FIRST_STEPS = 20
EPSILON = 1e-12


class SpectralConv(Conv):
    """A convolution with the kernel ``W / sigma(W)``, sigma the largest singular value of the
    kernel as a matrix [out, in x h x w].

    The power iteration takes a step in each pass in which the kernel learns, and in no other: what
    is painted or judged in between leaves a training as it was, also where processes share it. All
    of it is fp32.
    """

    u: Tensor

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("u", F.normalize(torch.randn(self.out_channels), dim=0))
        with torch.no_grad():
            matrix = self.weight.flatten(1)
            for _ in range(FIRST_STEPS):
                self.u.copy_(_stepped(matrix, self.u))

    def forward(self, x: Tensor) -> Tensor:
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        with torch.autocast(x.device.type, enabled=False):
            kernel = self.weight / self._sigma(self.weight.flatten(1), learns=learns)
        made: Tensor = self._conv_forward(x, kernel, self.bias)
        return made

    def _sigma(self, matrix: Tensor, *, learns: bool) -> Tensor:
        with torch.no_grad():
            u = _stepped(matrix, self.u) if learns else self.u.clone()
            if learns:
                self.u.copy_(u)
            v = F.normalize(matrix.T @ u, dim=0, eps=EPSILON)
        sigma: Tensor = torch.dot(u, matrix @ v)
        return sigma


def _stepped(matrix: Tensor, u: Tensor) -> Tensor:
    """The left singular vector after a further step of the power iteration."""
    v = F.normalize(matrix.T @ u, dim=0, eps=EPSILON)
    return F.normalize(matrix @ v, dim=0, eps=EPSILON)
