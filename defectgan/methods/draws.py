"""All that is random in a step besides its images.

B images of a batch, of which a process has its rows.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from defectgan.methods.augment import augment, draw_augmentation


class Draws:
    """Draws of one step: a function of (seed, step). What is drawn for images is drawn for those of
    all processes, of which this one has its rows; ``halves`` says of how many halves of a batch
    they are, normal images first.
    """

    def __init__(
        self,
        rng: torch.Generator,
        step: int,
        *,
        rows: Callable[[int], slice] = lambda count: slice(count),
        processes: int = 1,
        strength: Tensor | None = None,
        gathered: Callable[[Tensor], Tensor] = lambda own: own,
    ) -> None:
        """Args: where randomness comes from, and on which device; the step; this process's rows of
        so many; how many processes share a batch; the strength of the augmentation of what critics
        are shown, None: they are shown images as they are; what brings together the rows of all
        processes, in their order.
        """
        self.step, self.gathered = step, gathered
        self._rng, self._rows, self._processes = rng, rows, processes
        self._strength = strength

    def uniform(self, count: int, each: int | None = None, *, halves: int = 2) -> Tensor:
        """[count], or [count, each], from U[0, 1)."""
        size = (self._all(count),) if each is None else (self._all(count), each)
        drawn = torch.rand(size, generator=self._rng, device=self._rng.device)
        return self.own(drawn, halves)

    def shared(self, count: int, each: int) -> Tensor:
        """[count, each] from U[0, 1), the same in all processes."""
        return torch.rand(count, each, generator=self._rng, device=self._rng.device)

    def noise(self, count: int, size: int, *, halves: int = 2) -> Tensor:
        """[count, size], standard normal."""
        return self.own(draw_noise(self._all(count), size, self._rng), halves)

    def shown(self, images: Tensor) -> Tensor:
        """What a critic is shown of a batch's images [B, C, H, W]; gradients flow through."""
        if self._strength is None:
            return images
        drawn = draw_augmentation(self._all(len(images)), self._rng)
        return augment(images, self.own(drawn, 2), self._strength)

    def _all(self, count: int) -> int:
        return count * self._processes

    def own(self, drawn: Tensor, halves: int) -> Tensor:
        """This process's rows of what was drawn, or gathered, for all."""
        return torch.cat([half[self._rows(len(half))] for half in drawn.chunk(halves)])


def draw_noise(count: int, size: int, rng: torch.Generator) -> Tensor:
    """Noise [count, size] for as many images, on the device of ``rng``."""
    return torch.randn(count, size, generator=rng, device=rng.device)


def risen(step: int, warmup: int) -> float:
    """The share of a weight that is in force if it rises linearly over ``warmup`` steps."""
    return min(1.0, step / warmup) if warmup else 1.0
