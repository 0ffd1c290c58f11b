"""What a training can do without for a while: files, and what somebody looks at."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from defectgan.errors import OutOfMemory, TrainingError
from defectgan.memory import attempt
from defectgan.training.distributed import World

Made = TypeVar("Made")

# Writings of one kind that failed, one after the other, before the training stops.
MAX_UNWRITTEN = 4


class Guard:
    """A file that cannot be written, on a full disk say, is done without, and that is said; a kind
    of file that cannot be written time and again ends the training.
    """

    def __init__(self, run: Path, warn: Callable[[str], None]) -> None:
        self._run = run
        self._warn = warn
        self._unwritten: Counter[str] = Counter()

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        """Write a file of a kind within.

        Raises:
            TrainingError: if that has failed too often.
        """
        try:
            yield
        except OSError as error:
            self._unwritten[kind] += 1
            if self._unwritten[kind] == MAX_UNWRITTEN:
                raise self.lost(kind, error) from error
            self._warn(
                f"{self._describe(kind, error)}; the previous files are kept, and the training "
                "goes on"
            )
        else:
            del self._unwritten[kind]

    def lost(self, kind: str, error: OSError) -> TrainingError:
        """What to raise where the training cannot go on without."""
        return TrainingError(
            f"{self._describe(kind, error)}. The last whole checkpoint is in {self._run}: free "
            "some room and resume"
        )

    def _describe(self, kind: str, error: OSError) -> str:
        return f"{kind} not written to {error.filename or self._run}: {error.strerror or error}"


class Spared:
    """What the first process alone makes for somebody to look at. Where memory ends over it, what
    has been trained is saved, that is said, and the training goes on without.
    """

    def __init__(self, world: World, save: Callable[[], None], warn: Callable[[str], None]) -> None:
        """Args: the processes, what all of them save by, and who is told."""
        self._world = world
        self._save = save
        self._warn = warn

    def __call__(self, what: str, look: Callable[[], Made]) -> Made | None:
        """What ``look`` makes; None where it does not fit, and for the other processes, which must
        call this too.
        """
        made = None
        if self._world.first:
            with suppress(OutOfMemory):  # not even one image at a time
                made = attempt(lambda: (look(),))
        if self._world.any(self._world.first and made is None):
            self._save()
            self._warn(
                f"no {what}: it does not fit into memory; the training is saved, and goes on "
                "without it"
            )
        return made and made[0]
