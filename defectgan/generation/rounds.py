"""The rounds of a job: candidates of each defect are painted, and again where all are rejected."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress

from defectgan.generation.canvas import AHEAD, Canvas, Result, Try
from defectgan.generation.finish import Finisher, Round
from defectgan.generation.plan import Wanted
from defectgan.manifest import GivenUp, ManifestRow

Ended = ManifestRow | GivenUp


class Rounds:
    """Paints the images of a job and finishes them in a pool. What comes back is looked at after so
    many further rounds, not when it is ready: so it is in the same batches each time.
    """

    def __init__(
        self,
        paint: Callable[[Iterable[Try]], Iterator[list[Result]]],
        finish: Finisher,
        pool: Executor,
        *,
        size: int,
        ended: Callable[[list[Ended]], None],
    ) -> None:
        """Rounds of a job.

        Args:
            paint: gives what becomes of rows.
            finish: chooses among the candidates of a round, and writes.
            pool: where it does.
            size: rounds whose results are handed over at once.
            ended: is handed the images that are finished or given up.
        """
        self._paint, self._finish, self._pool = paint, finish, pool
        self._size, self._ended = size, ended
        self._again: deque[Round] = deque()
        self._painted: deque[Round] = deque()
        self._at_work: deque[Future[Ended | Round]] = deque()

    def __call__(self, images: Iterator[Wanted]) -> None:
        """Make all images; whatever happens, all that were begun and end well are handed over
        first.
        """
        try:
            while True:
                for round_, results in self._results(self._next(images)):
                    kept = [r.apart() if isinstance(r, Canvas) else r for r in results]
                    self._at_work.append(self._pool.submit(self._finish, round_, kept))
                    if len(self._at_work) == (1 + AHEAD) * self._size:
                        self._settle()
                while self._at_work:
                    self._settle()
                if not self._again:
                    return
        except BaseException:
            while self._at_work:
                with suppress(Exception):  # the first failure is the one to tell of
                    self._settle()
            raise

    def _next(self, images: Iterator[Wanted]) -> Iterator[Try]:
        """What is to be painted, as far as it is known: what goes on comes before what begins."""
        while True:
            if self._again:
                round_ = self._again.popleft()
            elif (wanted := next(images, None)) is not None:
                round_ = Round(wanted)
            else:
                return
            self._painted.append(round_)
            yield from self._tries(round_)

    def _tries(self, round_: Round) -> Iterator[Try]:
        count = self._finish.tries
        begun = round_.progress.begun
        for c in range(round_.again * count, (round_.again + 1) * count):
            row = round_.wanted.candidate(c, nth=round_.nth)
            yield Try(row, begun)

    def _results(self, tries: Iterator[Try]) -> Iterator[tuple[Round, Sequence[Result]]]:
        """The results of each round, in the order of the rounds."""
        group: list[Result] = []
        for results in self._paint(tries):
            for result in results:
                group.append(result)
                if len(group) == self._finish.tries:
                    yield self._painted.popleft(), group
                    group = []

    def _settle(self) -> None:
        """Hand over the images of the oldest rounds, and paint again what is to be."""
        group = [self._at_work.popleft() for _ in range(min(self._size, len(self._at_work)))]
        failures = [error for task in group if (error := task.exception()) is not None]
        done = [task.result() for task in group if task.exception() is None]
        self._again.extend(one for one in done if isinstance(one, Round))
        if ended := [one for one in done if not isinstance(one, Round)]:
            self._ended(ended)
        if failures:
            raise failures[0]
