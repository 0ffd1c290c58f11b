"""Weights of an earlier training as the start of a new one, also with other classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from defectgan.errors import ModelError
from defectgan.networks.slices import ClassSlice, class_slices


@dataclass(frozen=True)
class Classes:
    """The classes of a training and of the one before it, normal first in both."""

    old: Sequence[str]
    new: Sequence[str]

    @property
    def kept(self) -> list[str]:
        """The defect classes that both know."""
        return [name for name in self.new[1:] if name in self.old[1:]]

    def pairs(self) -> list[tuple[int, int]]:
        """Old and new number of each class that both know; normal is normal, whatever its name."""
        return [(0, 0), *((self.old.index(n), self.new.index(n)) for n in self.kept)]

    def describe(self) -> str:
        """What is carried over and what is not, for a person."""
        added = [name for name in self.new[1:] if name not in self.kept]
        left = [name for name in self.old[1:] if name not in self.kept]
        parts = (("carried over", self.kept), ("new", added), ("left behind", left))
        return ", ".join(f"{what}: {' '.join(names)}" for what, names in parts if names)


@torch.no_grad()
def take_over(network: nn.Module, tensors: Mapping[str, Tensor], classes: Classes) -> None:
    """Fill a fresh network; the slices of classes that are new keep their random start.

    Raises:
        ModelError: if the tensors are those of another network.
    """
    slices = class_slices(network)
    for name, parameter in network.state_dict().items():
        old, sliced = tensors.get(name), slices.get(name)
        if old is None or not _fits(parameter, old, sliced, classes):
            found = "none" if old is None else list(old.shape)
            raise ModelError(
                f"the weights to begin from do not fit: {name} is {list(parameter.shape)} here and "
                f"{found} there; the images must be gray or colour as they were, and the networks "
                "the same"
            )
        if sliced is None:
            parameter.copy_(old)
            continue
        axis, first = sliced.axis, sliced.first
        for there, here in [*((k - first, k - first) for k in range(first)), *classes.pairs()]:
            parameter.select(axis, first + here).copy_(old.select(axis, first + there))


def _fits(parameter: Tensor, old: Tensor, sliced: ClassSlice | None, classes: Classes) -> bool:
    expected = list(parameter.shape)
    if sliced is not None:
        expected[sliced.axis] += len(classes.old) - len(classes.new)
    return list(old.shape) == expected
