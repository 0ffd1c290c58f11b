"""What is done where the memory of a device ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from defectgan.errors import OutOfMemory

Made = TypeVar("Made")
# What torch says of memory other than its own allocator's on a GPU: the CPU's; the driver's, where
# other programs have left none to begin with, or none of the host's to pin; and what cuDNN and
# cuBLAS ask for themselves.
SAID = ("can't allocate memory", "CUDA error: out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
MAKE_ROOM = "end other programs that hold memory of this device, or compute on another one"


def ends_memory(error: Exception) -> bool:
    """Whether an error, torch's or numpy's, says that a device has no memory left."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, torch.OutOfMemoryError) or any(said in str(error) for said in SAID)


def attempt(compute: Callable[[], Made]) -> Made | None:
    """What is computed, None where memory ends over it: what it had taken is free again then."""
    try:
        return compute()
    except (RuntimeError, MemoryError) as error:
        if not ends_memory(error):
            raise
    # Behind that block, within which the error's traceback keeps the tensors.
    torch.cuda.empty_cache()  # does nothing where no GPU is used
    return None


@contextmanager
def enough_memory(
    what: str, instead: str, *, mend: tuple[str, str] | None = None
) -> Iterator[None]:
    """Compute within what has no smaller form that gives the same result.

    Raises:
        OutOfMemory: if memory ends; says what did not fit, and what to do instead.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ends_memory(error):
            raise
        raise OutOfMemory(f"{what} does not fit into memory: {instead}", mend=mend) from error


class Portions:
    """Computes many alike in portions. One that does not fit into memory is halved until it does,
    and all later ones are as small; that is said once.
    """

    def __init__(
        self, size: int, noun: str, say: Callable[[str], None] = lambda text: None
    ) -> None:
        """Args: how many at once at most, what they are called in the plural, who is told."""
        self.size = size
        self._noun = noun
        self._say = say
        self._refused: int | None = None  # the largest that did not fit, until that has been said

    def __call__(self, count: int, compute: Callable[[slice], Made]) -> list[Made]:
        """What ``compute`` makes of each portion of ``count``, in order.

        Raises:
            OutOfMemory: if not even one at a time fits.
        """
        made: list[Made] = []
        start = 0
        while start < count:
            part = slice(start, min(start + self.size, count))
            one = attempt(lambda: compute(part))  # noqa: B023
            if one is None:
                self._halve(part.stop - part.start)
                continue
            made.append(one)
            start = part.stop
            if self._refused is not None:
                self._say(
                    f"{self._refused} {self._noun} at once do not fit into memory: goes on with "
                    f"{self.size} at once, which changes nothing but the speed"
                )
                self._refused = None
        return made

    def _halve(self, size: int) -> None:
        if size == 1:
            raise OutOfMemory(
                f"not even one of the {self._noun} fits into memory: {MAKE_ROOM}",
                mend=("device", "cpu"),
            )
        self._refused = self._refused or size
        self.size = size // 2
