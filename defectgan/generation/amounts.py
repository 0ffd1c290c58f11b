"""How many images of each class, and in which order."""

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from defectgan.data.layouts import read_layout
from defectgan.errors import DataError
from defectgan.words import found


def in_turn(defects: Sequence[str], shares: Mapping[str, int] | None = None) -> Iterator[str]:
    """The classes of image after image: all in turn, or as often as their shares say, spread
    evenly. The first n do not depend on how many there will be, and as many as the shares are in
    all hold each class exactly so often.

    Source: Sainte-Laguë's divisors, by which seats are given out one after the other.
    """
    if shares is None:
        yield from itertools.cycle(defects)
        return
    # The next seat is that of the smallest (2 a + 1) / share, a being those that a class has.
    queue = [(Fraction(1, shares[name]), i, name) for i, name in enumerate(defects) if shares[name]]
    heapq.heapify(queue)
    while True:
        due, i, name = queue[0]
        yield name
        heapq.heapreplace(queue, (due + Fraction(2, shares[name]), i, name))


def counts(defects: Sequence[str], n: int, shares: Mapping[str, int] | None) -> dict[str, int]:
    """How many of n images are of each class."""
    if shares is None:
        return {name: (n - i - 1) // len(defects) + 1 for i, name in enumerate(defects)}
    counted = Counter(itertools.islice(in_turn(defects, shares), n))
    return {name: counted[name] for name in defects}


def to_balance(data: Path, defects: Sequence[str], *, asked: bool) -> dict[str, int]:
    """How many images each class of a data set lacks to have as many as its largest defect class.

    Args:
        data: the data set, in any layout that is read.
        defects: the classes that can be painted.
        asked: whether these were asked for: then all of them have to be in the set.

    Raises:
        DataError: if it has none of these classes, lacks one that was asked for, or is balanced.
    """
    listing = read_layout(data)
    there = Counter(label for sample in listing.samples for label in sample.labels)
    names = [name for name in defects if name in there]
    missing = next((name for name in defects if name not in there), None)
    if not names or (asked and missing):
        raise DataError(f"{data} has no class {missing}{found(list(there), str(missing))}")
    most = max(there.values())
    lacking = {name: most - there[name] for name in names}
    if not any(lacking.values()):
        raise DataError(f"{data} has {most} images of each class already: nothing to make")
    return {name: count for name, count in lacking.items() if count}
