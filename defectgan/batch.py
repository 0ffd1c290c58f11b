"""What a step learns from. B images, C channels, K classes with normal first, H x W pixels."""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Half normal, half defect images.

    ``normal`` and ``defect`` [B/2, C, H, W] in [-1, 1]; ``label`` [B/2, K] in {0, 1}, the classes
    of the defect images, and at once those that the normal images are to be turned into; ``truth``
    [B/2, 1, H, W] in [0, 1], the true masks of the defect images, NaN where there is none, and
    empty where nobody learns from them. ``drawn`` [B/2, C, H, W]: a drawn defect on each normal
    image of the first half of them, then the same defects, each on the next of these; and
    ``drawn_truth`` [B/2, 1, H, W] in {0, 1}, where they are; both empty where nobody learns from
    them. ``known`` [B/2, K] in {0, 1}, where several data sets are learned from jointly: the
    classes that the labels of a row's set tell of, both its images being of that set; empty where
    all classes are known.

    Both directions at once: ``images`` (n, d) of the classes ``source`` are turned into the classes
    ``target``, of which ``real`` (d, n) are true examples.
    """

    normal: Tensor
    defect: Tensor
    label: Tensor
    truth: Tensor = torch.empty(0)
    drawn: Tensor = torch.empty(0)
    drawn_truth: Tensor = torch.empty(0)
    known: Tensor = torch.empty(0)

    @property
    def images(self) -> Tensor:
        """What is painted on, [B, C, H, W]."""
        return torch.cat([self.normal, self.defect])

    @property
    def real(self) -> Tensor:
        """Real images of the classes that are painted, [B, C, H, W]."""
        return torch.cat([self.defect, self.normal])

    @property
    def source(self) -> Tensor:
        """The labels of ``images``, [B, K]."""
        return torch.cat([self._normal_label, self.label])

    @property
    def target(self) -> Tensor:
        """The labels that are painted, [B, K]."""
        return torch.cat([self.label, self._normal_label])

    @property
    def told(self) -> Tensor | None:
        """The classes that the labels of ``images`` tell of, [B, K] in {0, 1}; None: all."""
        return torch.cat([self.known, self.known]) if self.known.numel() else None

    @property
    def _normal_label(self) -> Tensor:
        label = torch.zeros_like(self.label)
        label[:, 0] = 1
        return label

    def first(self, half: int) -> "Batch":
        """The first ``half`` images of each half."""
        shown = max(1, half // 2)
        drawn = (torch.cat([each[:shown] for each in pair.chunk(2)]) for pair in self[4:6])
        half_batch = Batch(*(tensor[:half] for tensor in self[:4]), *drawn)
        return half_batch._replace(known=self.known[:half])
