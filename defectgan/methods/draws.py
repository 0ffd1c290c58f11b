"""All that is random in a step besides its images.

B images of a batch, of which a process has its rows.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from defectgan.methods.augment import augment, draw_augmentation


class Draws:
    """Draws of one step: a function of (seed, step), for the whole batch, of which ``own`` gives
    this process its rows.
    """

    def __init__(
        self,
        rng: torch.Generator,
        step: int,
        *,
        own: Callable[[Tensor], Tensor],
        processes: int = 1,
        strength: Tensor | None = None,
    ) -> None:
        """Args: where randomness comes from, and on which device; the step; this process's rows of
        what was drawn for a whole batch; how many processes share a batch; the strength of the
        augmentation of what critics are shown, None: they are shown images as they are.
        """
        self.step = step
        self._rng, self._own, self._processes = rng, own, processes
        self._strength = strength

    def uniform(self, count: int) -> Tensor:
        """[count] from U[0, 1)."""
        drawn = torch.rand(count * self._processes, generator=self._rng, device=self._rng.device)
        return self._own(drawn)

    def chances(self, count: int, each: int) -> Tensor:
        """[count, each] from U[0, 1)."""
        size = count * self._processes, each
        return self._own(torch.rand(size, generator=self._rng, device=self._rng.device))

    def noise(self, count: int, size: int) -> Tensor:
        """[count, size], standard normal."""
        return self._own(draw_noise(count * self._processes, size, self._rng))

    def shown(self, images: Tensor) -> Tensor:
        """What a critic is shown of images [B, C, H, W]; gradients flow through."""
        if self._strength is None:
            return images
        drawn = draw_augmentation(len(images) * self._processes, self._rng)
        return augment(images, self._own(drawn), self._strength)


def draw_noise(count: int, size: int, rng: torch.Generator) -> Tensor:
    """Noise [count, size] for as many images, on the device of ``rng``."""
    return torch.randn(count, size, generator=rng, device=rng.device)


def risen(step: int, warmup: int) -> float:
    """The share of a weight that is in force if it rises linearly over ``warmup`` steps."""
    return min(1.0, step / warmup) if warmup else 1.0
