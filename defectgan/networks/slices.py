"""Which parts of parameters belong to a class, or to a channel of the image: what modules say of
themselves, so that weights serve other classes, and gray images those of colour ones.
"""

from typing import Literal, NamedTuple

from torch import nn


class ClassSlice(NamedTuple):
    """The parameter ``name`` of a module has the slice of class k at ``first + k`` of ``axis``;
    where defects are ``alike``, a new class begins as the mean of those before it, else at random.
    """

    name: str
    axis: int
    first: int = 0
    alike: bool = False


class ChannelSlice(NamedTuple):
    """The parameter ``name`` of a module has the image's C channels from ``first + images * C`` on
    along ``axis``, behind those of so many other images: as inputs, which add up, or as outputs.
    """

    name: str
    axis: int
    first: int = 0
    images: int = 0
    side: Literal["input", "output"] = "input"


def class_slices(network: nn.Module) -> dict[str, ClassSlice]:
    """Those of all modules of a network, by the parameter's name in its state."""
    return {
        _named(prefix, one.name): one
        for prefix, module in network.named_modules()
        for one in getattr(module, "class_slices", ())
    }


def channel_slices(network: nn.Module) -> dict[str, list[ChannelSlice]]:
    """Those of all modules of a network, by the parameter's name in its state."""
    found: dict[str, list[ChannelSlice]] = {}
    for prefix, module in network.named_modules():
        for one in getattr(module, "channel_slices", ()):
            found.setdefault(_named(prefix, one.name), []).append(one)
    return found


def _named(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
