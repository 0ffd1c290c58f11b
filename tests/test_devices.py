"""Where to compute: GPUs that torch can use, and those that it only sees. The GPUs are made up."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from defectgan.data.loader import cores
from defectgan.devices import bf16_serves, pick_device
from defectgan.errors import OutOfMemory, SettingError

TF32, TF32_PRODUCTS = torch.backends.cudnn, torch.backends.cuda.matmul
OLD = "The NVIDIA driver on your system is too old (found version 12020)."


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's own tool, with two cards of a kind."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf 'Tesla V100, 535.54\\nTesla V100, 535.54\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def old_driver(smi: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError(f"{OLD}\nmore words")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "init", init)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Two GPUs, the first without bf16; returns which become current."""
    current: list[object] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    capabilities = {torch.device("cuda:0"): (7, 5), torch.device("cuda:1"): (8, 0)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    monkeypatch.setattr(torch, "ones", lambda *size, **options: torch.zeros(size) + 1)
    before = TF32.allow_tf32, TF32_PRODUCTS.allow_tf32
    yield current
    TF32.allow_tf32, TF32_PRODUCTS.allow_tf32 = before


@pytest.mark.usefixtures("old_driver")
@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:1"])
def test_a_driver_too_old_is_named_with_its_card(name: str) -> None:
    with pytest.raises(SettingError, match=r"Tesla V100, driver 535\.54") as caught:
        pick_device(name)
    assert OLD.rstrip(".") in str(caught.value) and "more words" not in str(caught.value)
    assert str(caught.value).count("Tesla") == 1 and caught.value.mend == ("device", "cpu")


@pytest.mark.usefixtures("old_driver")
def test_a_cpu_that_is_asked_for_needs_no_driver() -> None:
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.usefixtures("smi")
def test_a_card_that_torch_has_no_code_for_is_found_out_at_once(
    two_gpus: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def conv(*given: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(functional, "conv2d", conv)
    with pytest.raises(SettingError, match=r"cannot compute on cuda:1 .*no kernel image"):
        pick_device("cuda:1")
    assert not two_gpus


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),  # torch's own allocator
        RuntimeError("CUDA error: out of memory"),  # the driver: not even a context fits
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ],
)
def test_a_gpu_whose_memory_is_taken_is_no_card_to_replace(
    error: RuntimeError, two_gpus: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def conv(*given: object) -> None:
        raise error

    monkeypatch.setattr(functional, "conv2d", conv)
    with pytest.raises(OutOfMemory, match="no memory is left on cuda:0: end other programs"):
        pick_device("auto")


@pytest.mark.parametrize(("name", "picked"), [("auto", 0), ("cuda", 0), ("cuda:1", 1)])
def test_the_gpu_that_is_picked_is_the_current_one_and_decides_on_bf16(
    name: str, picked: int, two_gpus: list[object]
) -> None:
    device = pick_device(name)
    assert device == torch.device("cuda", picked) and two_gpus == [device]
    assert bf16_serves(device, "auto") is (picked == 1)
    assert bf16_serves(device, "bf16") and not bf16_serves(device, "fp32")


@pytest.mark.usefixtures("two_gpus")
def test_fp32_on_a_gpu_is_fp32() -> None:
    TF32.allow_tf32 = TF32_PRODUCTS.allow_tf32 = True
    pick_device("cuda")
    assert not TF32.allow_tf32 and not TF32_PRODUCTS.allow_tf32


@pytest.mark.usefixtures("two_gpus")
def test_gpus_that_are_not_there_are_refused() -> None:
    with pytest.raises(SettingError, match="no device cuda:2 here: expected auto, cpu or cuda"):
        pick_device("cuda:2")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no such thing on this system")
def test_cores_are_those_that_a_batch_system_gives() -> None:
    whole = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(whole)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, whole)
