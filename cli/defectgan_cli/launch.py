"""The same command in several processes on one machine, a GPU each."""

import os
import sys
import uuid
from collections.abc import Sequence

from defectgan.errors import SettingError, TrainingError
from defectgan_cli.options import INTERRUPTED

VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus_asked_for(device: str, gpus: int | None) -> list[str]:
    """The numbers of the GPUs that ``--device cuda:0,1`` or ``--gpus 2`` name; none for one or no
    GPU, and in a process that was launched already.

    Raises:
        SettingError: if the two options contradict each other.
    """
    if "WORLD_SIZE" in os.environ:
        return []
    named = device.removeprefix("cuda:").split(",") if device.startswith("cuda:") else []
    if gpus is None:
        return named if len(named) > 1 else []
    if named or device == "cpu":
        raise SettingError(f"{gpus} GPUs and the device {device}: name one or the other")
    return [str(i) for i in range(gpus)] if gpus > 1 else []


def launch(numbers: list[str], *, goes_on: str) -> int:
    """Run this command once for each GPU; returns the exit code of the first process that failed,
    else 0.

    Args:
        numbers: of the GPUs.
        goes_on: the sentence that says what is left when a process is ended, and how to go on.

    Raises:
        SettingError: if there are fewer GPUs.
    """
    from defectgan.devices import count_gpus

    count = count_gpus()
    if any(not number.isdigit() or int(number) >= count for number in numbers):
        raise SettingError(f"GPUs {', '.join(numbers)} were asked for: found {count} here")
    os.environ[VISIBLE] = visible_devices(numbers, os.environ.get(VISIBLE))
    return run_together(len(numbers), sys.argv[1:], goes_on=goes_on)


def visible_devices(numbers: Sequence[str], visible: str | None) -> str:
    """What the processes may see: the numbers count among the GPUs that are visible here."""
    names = visible.split(",") if visible else None
    return ",".join(names[int(number)] if names else number for number in numbers)


def run_together(count: int, words: list[str], *, goes_on: str) -> int:
    """``defectgan WORDS`` in so many processes that know of each other, as torchrun would; returns
    the exit code.

    Raises:
        TrainingError: if the system ended one of them, which could not say so itself.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    together = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=1,
    )
    try:
        elastic_launch(together, sys.executable)("-m", "defectgan_cli", *words)
    except SignalException:
        return INTERRUPTED
    except ChildFailedError as error:
        for failure in error.failures.values():
            if failure.exitcode < 0:  # the others merely miss it
                raise TrainingError(
                    f"process {failure.local_rank} of {count} was ended by {failure.signal_name()} "
                    f"(SIGKILL: memory may be short). {goes_on}"
                ) from error
        return int(error.get_first_failure()[1].exitcode)
    return 0
