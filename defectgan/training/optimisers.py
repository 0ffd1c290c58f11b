"""An optimiser that leaves a step out without the host having to know, as fused Adam does."""

import torch
from torch import Tensor


class RMSprop(torch.optim.RMSprop):
    """``v <- a v + (1 - a) g^2``, ``w <- w - lr g / (sqrt(v) + eps)``; where ``found_inf`` is 1,
    both stay as they are.

    Source: Hinton, Srivastava and Swersky, "Neural Networks for Machine Learning", lecture 6e.
    """

    found_inf: Tensor

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """An update, or none."""
        bad = self.found_inf > 0
        parameters = [p for group in self.param_groups for p in group["params"]]
        before = {p: self.state[p]["square_avg"].clone() for p in parameters if p in self.state}
        for parameter in parameters:
            if parameter.grad is not None:
                # Not multiplied by 0, which would leave NaN where it is.
                parameter.grad.masked_fill_(bad, 0)
        super().step()
        for parameter, square in before.items():
            now = self.state[parameter]["square_avg"]
            now.copy_(torch.where(bad, square, now))
