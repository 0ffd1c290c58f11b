"""One training on several processes, also of several machines.

Each process takes its part of every batch; before an update the gradients are averaged, so all of
them take the step that one process would take on the whole batch. The networks are not wrapped:
DistributedDataParallel would count the backward passes of the gradient penalty wrongly.
"""

import atexit
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from traceback import clear_frames

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from defectgan.data.loader import reader_died
from defectgan.errors import SettingError, TrainingError
from defectgan.memory import ends_memory
from defectgan.processes import meet, processes

# How long a GPU waits for what lies on the others: all arrive there from an exchange between CPUs,
# the first process at most a judgement and a sample sheet later. Between CPUs they wait longer, for
# the first process may be reading the data.
PATIENCE = timedelta(minutes=5)


@dataclass(frozen=True)
class World:
    """The processes of a training: this one's rank, how many there are, and where they compute on
    GPUs the group that exchanges what lies there.
    """

    rank: int = 0
    size: int = 1
    gpus: distributed.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's rows of ``count``.

        Raises:
            SettingError: if they cannot be divided evenly: some would weigh more than others.
        """
        if count % self.size:
            raise SettingError(
                f"a batch of {2 * count} images, half of them normal, cannot be shared evenly by "
                f"{self.size} processes: take a batch size that is a multiple of {2 * self.size}"
            )
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def shareable(self, batch: int) -> int:
        """The smallest size of a batch from this one on that can be shared evenly."""
        return -(-batch // (2 * self.size)) * 2 * self.size

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in one exchange for all."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _in_company():
            distributed.all_reduce(flat, group=self.gpus)
        flat /= self.size
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def gathered(self, own: Tensor) -> Tensor:
        """The rows of all processes, in the order of their ranks; each has as many."""
        if self.size == 1:
            return own
        rows = [torch.empty_like(own) for _ in range(self.size)]
        with _in_company():
            distributed.all_gather(rows, own, group=self.gpus)
        return torch.cat(rows)

    def any(self, flag: bool) -> bool:
        """Whether any process says so; all get the same answer."""
        return self.each(flag)[0]

    def each(self, *flags: bool) -> list[bool]:
        """Of each flag whether any process says so, in one exchange; all get the same answers."""
        if self.size == 1:
            return list(flags)
        said = torch.tensor(flags, dtype=torch.uint8)
        with _in_company():
            distributed.all_reduce(said, distributed.ReduceOp.MAX)
        return [bool(flag) for flag in said.tolist()]

    def tell(self, text: str) -> str:
        """What the first process says, to all."""
        return self.gather(text if self.first else "")[0]

    def gather(self, text: str) -> list[str]:
        """What each process says, to all, in the order of their ranks."""
        if self.size == 1:
            return [text]
        data = torch.tensor(list(text.encode()), dtype=torch.uint8)
        lengths = [torch.tensor(0) for _ in range(self.size)]
        with _in_company():
            distributed.all_gather(lengths, torch.tensor(len(data)))
            longest = int(max(lengths))
            room = [torch.zeros(longest, dtype=torch.uint8) for _ in lengths]
            distributed.all_gather(room, F.pad(data, (0, longest - len(data))))
        said = zip(room, lengths, strict=True)
        return [bytes(text[: int(length)].tolist()).decode() for text, length in said]

    def leave(self) -> None:
        """Part, when all is done: together, as one of them may hold what the others still use."""
        if self.size > 1:
            self.any(False)
            _part()


@contextmanager
def _in_company() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if reader_died(error) or ends_memory(error):
            raise  # one of this process's own, or its own memory
        clear_frames(error.__traceback__)  # they hold the group, which has to end: see _part
        raise TrainingError(
            "another process of this training has ended: see what it said. The last checkpoint is "
            f"whole; start all processes again with resume ({str(error).partition(chr(10))[0]})"
        ) from error


ALONE = World()


def join_world(device: torch.device) -> World:
    """The processes that torchrun started; one where it did not.

    Args:
        device: where this one computes.
    """
    if processes() == 1:
        return ALONE
    store, rank, size = meet()
    # The default argument of its functions is the group that there is when it is imported, which
    # the first optimiser does: they would hold this one for good.
    import_module("torch.distributed.nn.functional")
    # Small things are agreed on by the CPU, so that no GPU has to be waited for.
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    atexit.register(_part)
    if device.type != "cuda":
        return World(rank, size)
    gpus = distributed.new_group(backend="nccl", timeout=PATIENCE)
    assert not isinstance(gpus, int)  # no process is left out
    return World(rank, size, gpus)


def _part() -> None:
    """End the group and its threads, however the process ends.

    One that lets go of a tensor while the interpreter is being taken down aborts the process
    ("terminate called without an active exception"), and a training that is done counts as failed.
    """
    if distributed.is_initialized():
        distributed.destroy_process_group()
        gc.collect()  # the threads end with the last reference
