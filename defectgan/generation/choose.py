"""How many candidates there are for an image, on how many sources, and which of them is kept."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # the command line names these numbers in its help, without torch
    from defectgan.model.file import Model

T = TypeVar("T")

# What makes a better training set on all real sets where that was measured; images as they come
# made a worse one on DeepPCB.
CANDIDATES = 8
# The candidates of an image are painted on so many good images: its own and those that follow it
# in the lap. In each lap every good image is then a candidate equally often, and is chosen so many
# times at most.
CAP = 4


def usual_candidates(model: "Model") -> int:
    """How many candidates there are where nobody asks for a number: it takes the critic to choose
    among several.
    """
    return CANDIDATES if model.painter.has_critic else 1


def surest(tries: Iterable[T], candidates: int, sure: Callable[[T], float]) -> Iterator[T]:
    """Of each so many tries in succession the one that the critic is surest of, the first of equal
    ones.
    """
    successive = iter(tries)
    while group := list(itertools.islice(successive, candidates)):
        yield max(group, key=sure) if candidates > 1 else group[0]
