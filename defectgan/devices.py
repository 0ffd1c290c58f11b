"""Where to compute, and in which precision."""

import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.batch import Batch
from defectgan.errors import OutOfMemory, SettingError
from defectgan.memory import MAKE_ROOM, ends_memory, enough_memory
from defectgan.settings.training import Precision


def pick_device(name: str) -> torch.device:
    """``auto`` is the first GPU where there is one, else the CPU.

    A GPU becomes the one that this process computes on, in fp32 proper: the 10 bits of TF32, which
    convolutions take by default there, would tell its images from those of a CPU.

    Raises:
        SettingError: if the name is unknown, there is no such device, or this torch cannot compute
            on it; says what there is.
        OutOfMemory: if a GPU has none left.
    """
    if name == "cpu":
        return torch.device("cpu")
    gpus = count_gpus()
    if name == "auto" and not gpus:
        return torch.device("cpu")
    known = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{i}" for i in range(gpus))]
    if name not in ("auto", *known):
        raise SettingError(f"no device {name} here: expected auto, {' or '.join(known)}")
    device = torch.device(name if ":" in name else "cuda:0")
    _try(device)
    torch.cuda.set_device(device)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return device


def count_gpus() -> int:
    """How many GPUs this torch can use.

    Raises:
        SettingError: if there are GPUs, and it can use none of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says there what the error below says
        if torch.cuda.is_available():
            return torch.cuda.device_count()
    # The driver's monitor counts GPUs also where its version is too old for this torch.
    if gpus := torch.cuda.device_count():
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise _unusable("the GPU", error) from error
    return gpus


def _try(device: torch.device) -> None:
    """Compute something on a GPU: torch lists cards that it has no code for."""
    try:
        ones = torch.ones(1, 1, 3, 3, device=device)
        float(F.conv2d(ones, ones))
    except RuntimeError as error:
        if ends_memory(error):
            raise OutOfMemory(
                f"no memory is left on {device}: {MAKE_ROOM}", mend=("device", "cpu")
            ) from error
        raise _unusable(str(device), error) from error


def _unusable(what: str, error: RuntimeError) -> SettingError:
    reason = str(error).partition("\n")[0].rstrip(".")
    return SettingError(
        f"PyTorch {torch.__version__} cannot compute on {what} ({_cards()}): {reason}. Install a "
        "driver or a PyTorch that go together with this card (docs/servers.md), or compute on the "
        "CPU",
        mend=("device", "cpu"),
    )


def _cards() -> str:
    """The GPUs of this machine and their driver, by the driver's own tool."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "card and driver unknown: nvidia-smi does not answer"
    rows = [row.rpartition(", ") for row in told.splitlines()]
    return "; ".join(dict.fromkeys(f"{card}, driver {driver}" for card, _, driver in rows))


Network = TypeVar("Network", bound=nn.Module)


def place(network: Network, device: torch.device) -> Network:
    """The network on a device, its kernels in channels-last order.

    Raises:
        OutOfMemory: if it does not fit there.
    """
    with enough_memory("a network", MAKE_ROOM, mend=("device", "cpu")):
        return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device.

    Pinned memory is copied to a GPU while the program goes on; for any other memory it would wait
    until the GPU has done all that it was asked to before.
    """
    if device.type == "cpu" or not tensor.numel():
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def upload_batch(batch: Batch, device: torch.device) -> Batch:
    """A batch on a device, images in channels-last order."""
    order = torch.channels_last
    uploaded = (upload(part, device) for part in batch)
    return Batch(*(x.contiguous(memory_format=order) if x.ndim == 4 else x for x in uploaded))


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was asked to: a GPU is behind the program."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bf16_serves(device: torch.device, precision: Precision) -> bool:
    """Whether to compute under bf16 autocast; ``auto`` does so on GPUs that have it.

    On CPUs ``auto`` stays with fp32: at the quick preset's shapes bf16 was slower on one that has
    the instructions.
    """
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return precision == "bf16"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What is drawn on the CPU within depends on the seed alone; to the rest of the process it is
    as if nothing had been drawn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
