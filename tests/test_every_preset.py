"""Each preset trains 300 steps of a tiny size on sample_data, is killed, goes on, and is of use."""

import math
import shutil
from pathlib import Path

import pytest

from defectgan.files import read_json_lines
from defectgan.methods.config import Config, load_config
from defectgan.methods.registry import method_named
from defectgan.runs import RunFolder
from defectgan.settings.load import preset_folder
from defectgan.training.job import Job
from tests.conftest import CLASSES, CPU, ROOT, Silent, go_on
from tests.test_every_method import (
    CRITIC,
    SMALL,
    are_the_same_to_the_bit,
    index_of,
    is_exported,
    paints_and_is_inspected,
)

STEPS = 300
# Off a checkpoint, of which the last before it is at step 280, and off a line of the log.
KILLED_AT, SAVE_EVERY = 285, 140
DATA = ROOT / "sample_data"
# All but the rows of the paper's table, which take away from the last of these.
PRESETS = sorted(
    path.stem
    for path in preset_folder().glob("*.yaml")
    if not path.stem.startswith("table-") or path.stem == "table-full"
)
# What makes networks small; all else is the preset's own.
SIZES = {"width", "critic_width", "critic_layers", "tower_width", "spade_hidden", "stages"}
SIZES |= {"residual_blocks", "local_blocks", "scales", "latent", "mapping_width", "style_layers"}


class Killed(Silent):
    """Keeps in ``left`` what a kill in the middle of a run would leave of it."""

    def __init__(self, run: Path, left: Path) -> None:
        super().__init__()
        self._run, self._left = run, left

    def stepped(self, step: int) -> None:
        if step == KILLED_AT:
            shutil.copytree(self._run, self._left)


def tiny_form(preset: str) -> Config:
    """A preset in small, with few steps of its warm-up; what it begins with is of its real size."""
    name = load_config(preset, {}).method.name
    small = {key: value for key, value in (CRITIC | SMALL[name]).items() if key in SIZES}
    own = method_named(name).Settings.model_fields
    method = {key: value for key, value in (small | {"warmup_steps": 10}).items() if key in own}
    training = {"steps": STEPS, "batch_size": 2, "init_from": "none", "judge": "classifier"}
    every = {"log_every": 10, "save_every": SAVE_EVERY, "sample_every": STEPS, "eval_every": STEPS}
    settings = {"data": {"image_size": 32}, "method": method, "training": training | every}
    return load_config(preset, settings)


@pytest.mark.long
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_trains_is_killed_goes_on_exactly_generates_is_inspected_and_exported(
    preset: str, tmp_path: Path
) -> None:
    config = tiny_form(preset)
    job = Job(config, index_of(config.method.name, DATA, *CLASSES))
    run, left = job.begin(tmp_path, preset), tmp_path / "left"
    watcher = Killed(run.path, left)
    outcome = job.run(run, device=CPU, watcher=watcher, stop=lambda: False)
    assert outcome.steps == STEPS and len(watcher.lines) == STEPS // 10
    for line in watcher.lines:
        assert all(math.isfinite(v) for v in line.values() if isinstance(v, float)), line
        assert line["skipped"] == 0

    assert len(read_json_lines(RunFolder(left).stats)) == KILLED_AT // 10
    again = Silent()
    go_on(left, watcher=again)
    assert [line["step"] for line in again.lines] == [SAVE_EVERY * 2 + 10, STEPS]
    are_the_same_to_the_bit(RunFolder(left), run)

    paints_and_is_inspected(left, DATA / "normal", tmp_path / "set")
    # ONNX follows the method, not what it has learned: see test_every_method.
    is_exported(left, tmp_path / "exported", ["safetensors"])
