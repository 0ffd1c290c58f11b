"""The bookkeeping of benchmarks/paper_table.py."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from defectgan.data.samples import TEST
from defectgan.errors import DataError
from defectgan.evaluation.real import SplitPlan, split_real
from defectgan.model.file import load_model
from defectgan.settings.data import DataConfig
from tests.conftest import CPU, load_script

paper_table: Any = load_script("benchmarks/paper_table.py")


def test_rows_join_those_that_are_there_if_they_are_of_the_same_table(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def fill(run: Path, *rest: Any) -> dict[str, Any]:
        spreads = [f"{gain}_sd" for gain in paper_table.GAINS]
        numbers = ("kid", "kid_std", "floor", "ceiling", *paper_table.SHARES)
        return dict.fromkeys([*numbers, *paper_table.GAINS, *spreads], 0.5)

    def call(*line: str, data: Path = boards) -> list[str]:
        given = ("--data", data, "--out", out, *line)
        monkeypatch.setattr("sys.argv", ["paper_table.py", *map(str, given)])
        paper_table.main()
        return list(json.loads((out / "table.json").read_text()))

    monkeypatch.setattr(paper_table, "fill", fill)
    monkeypatch.setattr(paper_table, "trained", lambda preset, *rest: Path(preset))
    assert call("--steps", "3", "--rows", "Defect-GAN") == ["Defect-GAN"]
    assert call("--steps", "3", "--rows", "+ SPADE") == ["+ SPADE", "Defect-GAN"]
    elsewhere = ("--steps", "3", "--rows", "--generators", "StarGAN=runs/latest")
    assert call(*elsewhere) == ["StarGAN", "+ SPADE", "Defect-GAN"]
    assert call("--steps", "3", "--rows", "+ SPADE") == ["StarGAN", "+ SPADE", "Defect-GAN"]
    before = (out / "table.md").read_text()
    assert "| + SPADE |" in before and "| Defect-GAN |" in before
    assert "each row is one training of its generator" in before
    with pytest.raises(DataError, match="another test"):
        call("--steps", "4", "--rows", "class beside the image")
    with pytest.raises(DataError, match="other images or splits"):
        call("--steps", "3", "--shots", "1", "--rows", "class beside the image")
    assert (out / "table.md").read_text() == before


def test_defects_are_found_in_test_images_alone(boards: Path, run: Path, tmp_path: Path) -> None:
    real = split_real(boards, DataConfig(), SplitPlan())
    assert 0 <= paper_table.located(load_model(run), real, tmp_path, CPU) <= 1
    with (tmp_path / "inspection" / "masks.csv").open() as file:
        names = {row["name"] for row in csv.DictReader(file)}
    assert names == {s.file.relative_to(boards).as_posix() for s in real.part(TEST).samples}
