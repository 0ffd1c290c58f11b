"""A command starts itself in several processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from defectgan_cli.launch import gpus_asked_for, launch, visible_devices

from defectgan.errors import SettingError
from tests.conftest import STUCK_AFTER, wait_for
from tests.test_distributed import children, place

__all__ = ["place"]


LAUNCHED = """
import sys
from defectgan.errors import TrainingError
from defectgan_cli.launch import run_together

try:
    sys.exit(run_together(2, sys.argv[1:], goes_on="Go on with --resume"))
except TrainingError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def launch_two(place: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHED, "train", "--data", "pcb", *words],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_command_launches_itself_in_several_processes(place: Path) -> None:
    command = launch_two(place, "--config", "t.yaml", "--device", "cpu")
    result, said = command.communicate(timeout=STUCK_AFTER)
    assert command.returncode == 0 and result.startswith("weights: "), said
    assert len(list((place / "runs").iterdir())) == 2  # the run, and latest


@pytest.mark.slow
def test_the_exit_code_of_a_launched_command_is_that_of_its_first_failure(place: Path) -> None:
    command = launch_two(place, "--config", "t.yaml", "--classes", "none")
    _, said = command.communicate(timeout=STUCK_AFTER)
    assert command.returncode == 3 and "no class none" in said


@pytest.mark.slow
def test_a_launched_process_that_the_system_ends_is_named(place: Path) -> None:
    command = launch_two(place, "--config", "t.yaml", "--steps", "100000", "--device", "cpu")
    wait_for(lambda: list(place.glob("runs/latest/stats.jsonl")))
    os.kill(children(command)[-1], signal.SIGKILL)
    _, said = command.communicate(timeout=STUCK_AFTER)
    assert command.returncode == 3, said
    assert "process 1 of 2 was ended by SIGKILL" in said


@pytest.mark.parametrize(
    ("device", "gpus", "numbers"),
    [
        ("auto", None, []),
        ("cuda:1", None, []),
        ("cuda:0,2", None, ["0", "2"]),
        ("auto", 3, ["0", "1", "2"]),
        ("cuda", 1, []),
    ],
)
def test_gpus_are_asked_for_by_their_count_or_their_numbers(
    device: str, gpus: int | None, numbers: list[str]
) -> None:
    assert gpus_asked_for(device, gpus) == numbers


def test_gpus_are_counted_among_those_that_are_visible() -> None:
    assert visible_devices(["0", "1"], None) == "0,1"
    assert visible_devices(["0", "1"], "2,3") == "2,3"
    assert visible_devices(["1"], "GPU-a,GPU-b") == "GPU-b"


def test_gpus_that_are_not_there_or_contradict_each_other_are_refused() -> None:
    with pytest.raises(SettingError, match="name one or the other"):
        gpus_asked_for("cuda:0,1", 2)
    with pytest.raises(SettingError, match="GPUs 0, 99 were asked for: found"):
        launch(["0", "99"], goes_on="")
