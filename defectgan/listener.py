"""Who is told how a job goes: a command prints it, a program may want none of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

# Called with the number of things done since the last call.
Advance = Callable[[int], None]
# In a job's folder: holds what was said, where that is more than is shown.
LOG = "log.txt"


class Listener(Protocol):
    """Who is told how a job goes."""

    def say(self, text: str) -> None:
        """A sentence about what is done."""

    def warn(self, text: str) -> None:
        """A sentence that must not be missed."""

    def warn_of(self, reasons: Sequence[str], *, all_in: Path | str, head: str = "") -> None:
        """Many sentences of one kind below a ``head``, of which the first will do where ``all_in``
        holds all of them.
        """

    def counting(self, noun: str, total: int) -> AbstractContextManager[Advance]:
        """So many things are to be done; what it gives is called as they are."""
        ...


class Silent:
    """Tells nobody."""

    def say(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass

    def warn_of(self, reasons: Sequence[str], *, all_in: Path | str, head: str = "") -> None:
        pass

    @contextmanager
    def counting(self, noun: str, total: int) -> Iterator[Advance]:
        yield lambda count: None


SILENT = Silent()
