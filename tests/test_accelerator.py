"""The training step as a GPU would see it, on an accelerator that is not there: see
``fake_accelerator``.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from defectgan.methods.base import Task
from defectgan.methods.config import load_config
from defectgan.methods.registry import make_method
from defectgan.settings.load import preset_folder
from tests.conftest import ROOT, TINY
from tests.fake_accelerator import CRITIC_STEPS

# The rows of the paper's table are of the same parts.
# `standard` and `small-data` train what `quick` does, and the others from noise step as `gan` does.
OTHERS = "table", "standard", "small-data", "acgan", "cgan", "wgan"
LONG = "cyclegan", "pix2pix", "pix2pixhd", "spade", "starganv2"
PRESETS = sorted(p.stem for p in preset_folder().glob("*.yaml") if not p.stem.startswith(OTHERS))
SOUND = "nothing found"


def found_in(*words: str) -> tuple[list[str], int]:
    """What was found, and how many uploads there were; in a process of its own."""
    command = [sys.executable, "-m", "tests.fake_accelerator", *words]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    *found, counts = result.stdout.splitlines()
    operations, uploads = (int(word) for word in counts.split() if word.isdigit())
    assert operations > 1000
    return found, uploads


@pytest.mark.parametrize(
    "preset", [pytest.param(p, marks=[pytest.mark.long] if p in LONG else []) for p in PRESETS]
)
def test_a_step_on_a_gpu_mixes_no_devices_and_never_makes_the_host_wait(preset: str) -> None:
    """The warm-up where there is one, a step, a stop off a log line, going on, a step: each image,
    label and mask goes up once.
    """
    found, uploads = found_in(preset)
    assert found == [SOUND]
    settings = load_config(preset, {}).method
    method = make_method(settings, Task(3, 3, (128, 128)))
    tensors = 4 if method.wants_truths else 3
    critic_steps = CRITIC_STEPS if hasattr(settings, "n_critic") else 1
    batches = 2 * (critic_steps + 1) + (method.warm_up() is not None)
    drawn = 2 * sum(player.repeats for player in method.players() if player.drawn)
    assert uploads == tensors * batches + 2 * drawn


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        ("sums", "add mixes devices"),
        ("pageable", "a copy of pageable memory waits for the device"),
        ("bool", "_local_scalar_dense reads back to the host"),
        ("nonzero", "DynamicOutputShapeException: aten.nonzero.default"),
    ],
)
def test_a_fault_that_only_a_gpu_would_show_is_found(
    fault: str, finding: str, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    found, _ = found_in(str(tmp_path / "tiny.yaml"), fault)
    assert finding in found
