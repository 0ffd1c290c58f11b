"""Files that a training can do without for a while."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from defectgan.errors import TrainingError

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
