"""benchmarks/ablate.py: what it varies, for how long it trains, and how it judges."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from defectgan.data.dataset import Seen
from defectgan.data.samples import TRAIN, VAL
from defectgan.errors import DataError, SettingError
from defectgan.evaluation.ablation import looks, others
from defectgan.evaluation.fixed import installed
from defectgan.evaluation.real import RealSplit, SplitPlan, split_real
from defectgan.files import read_json_lines
from defectgan.settings.data import DataConfig
from tests.conftest import CPU, TINY, load_script

ablate: Any = load_script("benchmarks/ablate.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boards of which three shots leave some to judge by."""
    folder = tmp_path_factory.mktemp("data") / "pcb"
    draw = load_script("sample_data/draw.py").draw_set
    draw(folder, normal=32, defects=14, size=48, seed=5, image_format="png")
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def split(folder: Path, shots: int) -> RealSplit:
    return split_real(folder, DataConfig(), SplitPlan(shots=shots), needed=(TRAIN, VAL))


def test_each_value_is_one_change_to_the_base() -> None:
    words = ["method.adv=4,10", "optim.betas=[0.0, 0.9]", "method.layered=false", "paper"]
    tried = list(ablate.variations("table-full", words))
    assert [v.name for v in tried] == [
        "table-full",
        "method.adv=4",
        "method.adv=10",
        "optim.betas=[0.0, 0.9]",
        "method.layered=false",
        "paper",
    ]
    quick, four, ten, betas, anew, paper = (v.config(steps=7) for v in tried)
    assert (quick.method.adv, four.method.adv, ten.method.adv) == (1, 4, 10)
    assert betas.optim.betas == (0, 0.9) and not anew.method.layered
    assert four.model_copy(update={"method": quick.method}) == quick
    assert paper.method.critic_layers == 6 and paper.training.steps == 7


def test_what_cannot_be_varied_is_refused() -> None:
    with pytest.raises(SettingError, match="cannot vary adv=4"):
        list(ablate.variations("quick", ["adv=4"]))
    unknown, misspelt = list(ablate.variations("quick", ["nonsense", "method.avd=4"]))[1:]
    with pytest.raises(SettingError, match="no configuration nonsense"):
        unknown.config()
    with pytest.raises(SettingError, match="did you mean adv"):
        misspelt.config()


def test_the_steps_fill_the_time_and_are_kept(
    folder: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock by which each step takes a second, and all else nothing."""
    pace = ablate.Pace
    now = [0.0]

    def stepped(self: Any, step: int) -> None:
        now[0] += 1
        self._done.append(now[0])

    monkeypatch.setattr(ablate, "PROBE", 4)
    monkeypatch.setattr(ablate, "UNCOUNTED", 1)
    monkeypatch.setattr(pace, "stepped", stepped)
    monkeypatch.setattr(ablate.time, "perf_counter", lambda: now[0])
    real, out = split(folder, 3), tmp_path / "out"
    (variation,) = ablate.variations(str(base), [])
    config = variation.config(steps=100)
    assert ablate.steps_within(0.5, real, config, out, CPU) == 30
    assert len(list((out / "runs").iterdir())) == 2  # the run, and latest
    assert ablate.steps_within(9, real, config, out, CPU) == 30, "known already"
    (out / ablate.STEPS).unlink()
    assert ablate.steps_within(1 / 60, real, config, out, CPU) == 4, "no fewer than were made"


def test_gray_and_contrast_are_those_of_the_pixels_under_the_mask() -> None:
    """A defect of 200 and 128, half each, on 100: half of it is gray, 64 brighter on average."""
    image = np.full((32, 32, 1), 100, np.uint8)
    truth = np.zeros((32, 32, 1), np.uint8)
    truth[12:20, 12:20] = 255
    image[12:16, 12:20], image[16:20, 12:20] = 200, 128
    found = looks([[], [Seen(image, [1], truth), Seen(image, [1], None)]])
    assert found["gray"] == pytest.approx(0.5)
    assert found["contrast"] == pytest.approx(64 / 255)


def test_shots_that_leave_nothing_to_judge_by_are_refused(folder: Path) -> None:
    assert min(others(split(folder, 3)).counts().values()) >= 4
    with pytest.raises(DataError, match=r"fewer than 4 images of brushing, .* take fewer shots"):
        others(split(folder, 6))


@pytest.mark.slow
@pytest.mark.skipif(not installed(), reason="the extra 'features' is not installed")
@pytest.mark.long
def test_a_table_goes_on_with_what_it_has(
    folder: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def call(*words: str) -> list[dict[str, Any]]:
        line = ["--base", base, "--sets", folder, "--shots", 3, "--steps", 2, "--out", out, *words]
        monkeypatch.setattr("sys.argv", ["ablate.py", *map(str, line)])
        ablate.main()
        rows: list[dict[str, Any]] = read_json_lines(out / "results.jsonl")
        return rows

    monkeypatch.setattr("defectgan.evaluation.ablation.PAINTED", 6)
    monkeypatch.setattr("defectgan.evaluation.ablation.LOCATED", 2)
    monkeypatch.setattr("defectgan.evaluation.frozen.COPIES", 1)
    monkeypatch.setattr("defectgan.evaluation.quality.DRAWS", 5)
    (first,) = call("--seeds", "1")
    assert {"named", "named_chosen", "gain", "gain_chosen", "ap", "iou"} <= first.keys()
    both = call("--seeds", "1", "--vary", "method.adv=4")
    assert both[0] == first and both[1]["variation"] == "method.adv=4"
    table = (out / "table.md").read_text()
    assert "| pcb | method.adv=4 | 1 |" in table
    with pytest.raises(DataError, match="another test"):
        call("--seeds", "1", "--shots", "2")
    assert json.loads((out / "job.json").read_text())["shots"] == 3
