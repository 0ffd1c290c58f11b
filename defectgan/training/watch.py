"""Who watches a training, what it comes to, and how it is asked to stop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol


class Watcher(Protocol):
    """Who is told how a training goes."""

    def phase(self, text: str) -> None:
        """A part of the work begins."""

    def warmed(self, step: int, longest: int) -> None:
        """A step of the classifier's warm-up is done, of so many at most; as with ``stepped``."""

    def stepped(self, step: int) -> None:
        """A step is done; nothing has been measured. The device is done with it, too, if it is one
        of the first ``TIMED_STEPS``; with later ones a GPU may be behind.
        """

    def logged(self, line: dict[str, Any]) -> None:
        """A log interval has ended; the line is what stats.jsonl got."""

    def warn(self, text: str) -> None:
        """A sentence that must not be missed."""


class Unwatched:
    """Watches nothing."""

    def phase(self, text: str) -> None:
        pass

    def warmed(self, step: int, longest: int) -> None:
        pass

    def stepped(self, step: int) -> None:
        pass

    def logged(self, line: dict[str, Any]) -> None:
        pass

    def warn(self, text: str) -> None:
        pass


@dataclass(frozen=True)
class Outcome:
    """What a training came to; ``weights`` is None where it ended before its first step, and
    ``interrupted`` says that it was asked to stop before its last.
    """

    run: Path
    weights: Path | None
    steps: int
    seconds: float
    images_per_second: float
    interrupted: bool


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and a batch system's SIGTERM end the training after the step in progress instead
    of within it.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
