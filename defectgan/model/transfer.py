"""Weights of an earlier training as the start of a new one, also with other classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from defectgan.errors import ModelError
from defectgan.networks.slices import ChannelSlice, ClassSlice, channel_slices, class_slices


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
def take_over(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    classes: Classes,
    channels: tuple[int, int] = (1, 1),
) -> None:
    """Fill a fresh network; the slices of classes that are new keep their random start, or begin as
    the mean of the defects before.

    Args:
        network: of the new classes and channels.
        tensors: those of the earlier training.
        classes: the classes of both.
        channels: of the images then and now, 1 or 3.

    Raises:
        ModelError: if the tensors are those of another network.
    """
    slices, of_channels = class_slices(network), channel_slices(network)
    for name, parameter in network.state_dict().items():
        old, sliced = tensors.get(name), slices.get(name)
        if old is not None and channels[0] != channels[1]:
            # From the last on: what comes before one moves what follows it.
            for one in reversed(of_channels.get(name, [])):
                old = _rechannelled(old, one, *channels)
        if old is None or not _fits(parameter, old, sliced, classes):
            found = "none" if old is None else list(old.shape)
            raise ModelError(
                f"the weights to begin from do not fit: {name} is {list(parameter.shape)} here and "
                f"{found} there; the networks must be the same"
            )
        if sliced is None:
            parameter.copy_(old)
            continue
        _fill_slices(parameter, old, sliced, classes)


def _fill_slices(parameter: Tensor, old: Tensor, sliced: ClassSlice, classes: Classes) -> None:
    axis, first = sliced.axis, sliced.first
    if sliced.alike:
        mean = old.narrow(axis, first + 1, len(classes.old) - 1).mean(axis, keepdim=True)
        new = parameter.narrow(axis, first + 1, len(classes.new) - 1)
        new.copy_(mean.expand_as(new))
    parameter.narrow(axis, 0, first).copy_(old.narrow(axis, 0, first))
    for there, here in classes.pairs():
        parameter.select(axis, first + here).copy_(old.select(axis, first + there))


def _rechannelled(old: Tensor, sliced: ChannelSlice, before: int, after: int) -> Tensor:
    """A parameter for images of other channels, which answers a gray image, in one channel or in
    three alike, as it did.
    """
    axis, first = sliced.axis, sliced.first + sliced.images * before
    part = old.narrow(axis, first, before)
    gray = part.mean(axis, keepdim=True)
    if sliced.side == "input":
        gray = gray * before / after
    head, tail = (
        old.narrow(axis, 0, first),
        old.narrow(axis, first + before, old.shape[axis] - first - before),
    )
    return torch.cat([head, gray.repeat_interleave(after, axis), tail], dim=axis)


def _fits(parameter: Tensor, old: Tensor, sliced: ClassSlice | None, classes: Classes) -> bool:
    expected = list(parameter.shape)
    if sliced is not None:
        expected[sliced.axis] += len(classes.old) - len(classes.new)
    return list(old.shape) == expected
