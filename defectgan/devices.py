"""Where to compute, and in which precision."""

from typing import TypeVar

import torch
from torch import nn

from defectgan.config import Precision
from defectgan.errors import SettingError


def pick_device(name: str) -> torch.device:
    """``auto`` is the first GPU where there is one, else the CPU.

    Raises:
        SettingError: if the name is unknown or there is no such device; says what there is.
    """
    gpus = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    known = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{i}" for i in range(gpus))]
    if name not in known:
        raise SettingError(f"no device {name} here: expected auto, {' or '.join(known)}")
    return torch.device(name)


Network = TypeVar("Network", bound=nn.Module)


def place(network: Network, device: torch.device) -> Network:
    """The network on a device, its kernels in channels-last order."""
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def bf16_serves(device: torch.device, precision: Precision) -> bool:
    """Whether to compute under bf16 autocast; ``auto`` does so on GPUs that have it.

    On CPUs ``auto`` stays with fp32: at the quick preset's shapes bf16 was slower on one that has
    the instructions.
    """
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bf16"
