"""Batches made ahead by processes of their own, in the order in which they are asked for."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from defectgan.batch import Batch
from defectgan.data.dataset import Batches
from defectgan.errors import DataError

# A batch's step and part.
Key = tuple[int, int]
Arrays = tuple[Any, ...]

FORK = "fork"
# What torch says of a process that has ended; an error within one it raises as that error.
DIED = "DataLoader worker"
# More processes than this have never been waited for.
MOST_WORKERS = 4


def worker_count(wanted: int | None, batches: Batches, device: torch.device) -> int:
    """How many processes read ahead.

    They share the images that are kept by being forked; where a system cannot fork there are none.
    On a CPU they would take the cores from the networks, so there they serve only images that are
    not kept.
    """
    if FORK not in multiprocessing.get_all_start_methods():
        return 0
    if wanted is not None:
        return wanted
    if device.type == "cpu":
        return 0 if batches.images.store.whole else 1
    return max(0, min(MOST_WORKERS, cores() - 1))


def cores() -> int:
    """How many cores this process may use: a batch system gives it some of the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Loader:
    """The batches of a sequence of keys, each asked for once and in order.

    ``waited`` counts the seconds that asking took; ``damaged`` is what turned out so, by whatever
    process. Use it as a context: leaving ends the processes.
    """

    def __init__(self, batches: Batches, keys: Iterable[Key], *, workers: int) -> None:
        self._batches = batches
        self._keys = iter(keys)
        self._workers = workers
        self._ahead: Iterator[Any] | None = None
        self.waited = 0.0
        self.damaged = batches.images.damaged

    def __enter__(self) -> "Loader":
        if self._workers:
            self._ahead = iter(
                DataLoader(
                    _Made(self._batches),
                    batch_size=None,
                    sampler=_Order(self._keys),
                    num_workers=self._workers,
                    collate_fn=_as_it_is,
                    worker_init_fn=_begin,
                    multiprocessing_context=FORK,
                )
            )
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End the processes.

        Raises:
            DataError: if one of them has died: torch says so in the midst of whatever is done.
        """
        self._ahead = None
        if error is not None and reader_died(error):
            raise DataError(
                f"a process that reads images has died ({error}); memory may be short: keep fewer "
                "images in it (data.cache_mib), or read with fewer processes (data.workers)"
            ) from error

    def __call__(self, step: int, part: int) -> Batch:
        """The batch of a key, which must be the next one.

        Raises:
            DataError: if it cannot be made.
        """
        started = time.perf_counter()
        batch = self._batches(step, part) if self._ahead is None else self._next((step, part))
        self.waited += time.perf_counter() - started
        return batch

    def _next(self, wanted: Key) -> Batch:
        assert self._ahead is not None
        key, made, damaged = next(self._ahead)
        if isinstance(made, DataError):
            raise made
        assert key == wanted, (key, wanted)
        self.damaged |= damaged
        return Batch(*map(torch.from_numpy, made))


def reader_died(error: BaseException) -> bool:
    """Whether an error is torch's that a process which reads ahead has died."""
    return isinstance(error, RuntimeError) and str(error).startswith(DIED)


class _Order(Sampler[Key]):
    def __init__(self, keys: Iterator[Key]) -> None:
        self._keys = keys

    def __iter__(self) -> Iterator[Key]:
        return self._keys


class _Made(Dataset[Any]):
    """What a worker does with a key: (key, arrays of the batch or an error, files found damaged).

    Arrays go through a pipe: tensors would go through shared memory, of which containers have
    little.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, key: Key) -> tuple[Key, Arrays | DataError, dict[Any, str]]:
        try:
            made: Arrays | DataError = tuple(t.numpy() for t in self._batches(*key))
        except DataError as error:
            made = error
        return key, made, dict(self._batches.images.damaged)


def _as_it_is(made: Any) -> Any:
    return made


def _begin(number: int) -> None:
    """Ctrl-C in a terminal, and torchrun's SIGTERM, go to the trainer's whole group of processes:
    it alone decides what comes of them.
    """
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
