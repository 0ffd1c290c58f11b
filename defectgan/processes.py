"""The processes that torchrun started together: where they meet, and a job that they share by its
rows, for which they need to know no more than when all are done.
"""

import os
import time
from dataclasses import dataclass

import torch
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from defectgan.devices import count_gpus, pick_device
from defectgan.errors import CheckFailed

# What torchrun tells its processes: how often they were started again, on how many machines they
# are.
RESTARTS, GROUP_COUNT = "TORCHELASTIC_RESTART_COUNT", "GROUP_WORLD_SIZE"
# Seconds between two looks at whether the others are done.
LOOK = 0.2
DONE, FAILED = "done", "failed"


def processes() -> int:
    """How many torchrun started, on all machines; one where it did not."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def restarts() -> int:
    """How often torchrun has started this machine's processes again."""
    return int(os.environ.get(RESTARTS, "0"))


def own_device(name: str) -> torch.device:
    """Where this process computes: of several on a machine each has a GPU of its own.

    Raises:
        SettingError: if there is none for it.
    """
    several = processes() > 1
    if several and (name.startswith("cuda") or (name == "auto" and count_gpus())):
        return pick_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    return pick_device(name)


def meet() -> tuple[Store, int, int]:
    """What the processes tell each other by, the rank of this one, and how many there are."""
    store, rank, size = next(rendezvous("env://"))
    if int(os.environ.get(GROUP_COUNT, "1")) == 1:
        # After a restart torchrun's store still holds the addresses of the dead processes. Several
        # machines count their restarts differently: docs/servers.md has what they need.
        store = PrefixStore(f"start-{restarts()}", store)
    return store, rank, size


@dataclass
class Crew:
    """Processes that each do a part of a job alone; a ``store`` of None is one process.

    They exchange nothing while they work, so none has to wait for a slower one until the end.
    """

    rank: int = 0
    size: int = 1
    store: Store | None = None

    @property
    def first(self) -> bool:
        """Whether this is the one that speaks, and puts the parts together."""
        return self.rank == 0

    def tell(self, text: str) -> str:
        """What the first process says, to all."""
        if self.store is None:
            return text
        if self.first:
            self.store.set("told", text)
        return bytes(self.store.get("told")).decode()

    def done(self, *, well: bool) -> None:
        """Say that this part has ended, and whether well."""
        if self.store is not None:
            self.store.set(f"ended-{self.rank}", DONE if well else FAILED)

    def wait(self) -> None:
        """Until the parts of all others are done.

        Raises:
            CheckFailed: if one has failed.
        """
        for rank in range(1, self.size):
            assert self.store is not None
            # Not by the store's own waiting, which no signal interrupts and which has a time limit.
            while not self.store.check([f"ended-{rank}"]):
                time.sleep(LOOK)
            if bytes(self.store.get(f"ended-{rank}")).decode() == FAILED:
                raise CheckFailed(
                    f"process {rank} of {self.size} has failed: see what it said. What was made is "
                    "there; the same command goes on"
                )


def join_crew() -> Crew:
    """This process's place among those that torchrun started."""
    if processes() == 1:
        return Crew()
    store, rank, size = meet()
    return Crew(rank, size, store)
