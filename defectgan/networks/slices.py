"""Which parameters have a slice for each class: what modules say of themselves."""

from typing import NamedTuple

from torch import nn


class ClassSlice(NamedTuple):
    """The parameter ``name`` of a module has the slice of class k at ``first + k`` of ``axis``."""

    name: str
    axis: int
    first: int = 0


def class_slices(network: nn.Module) -> dict[str, ClassSlice]:
    """Those of all modules of a network, by the parameter's name in its state."""
    return {
        ".".join(filter(None, (prefix, one.name))): one
        for prefix, module in network.named_modules()
        for one in getattr(module, "class_slices", ())
    }
