"""``import defectgan``: the front door for programs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import defectgan
from defectgan.errors import DataError, SettingError
from defectgan.evaluation.gain_request import GENERATORS, GainRequest
from defectgan.generation.prepare import prepare
from defectgan.training.start import TrainRequest, few_images, find_job
from tests.conftest import CLASSES, ROOT, VISIBLE, rows_of

PAGE = (ROOT / "docs/library.md").read_text(encoding="utf-8")


@pytest.fixture
def place(boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the page assumes it."""
    shutil.copytree(boards, tmp_path / "pcb")
    shutil.copytree(boards / "normal", tmp_path / "imgs")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(VISIBLE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_program_of_the_page_runs_as_it_stands(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a tiny network."""
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    small = program.replace('"quick"', '"tiny.yaml"').replace("8000", "6").replace("n=20", "n=2")
    assert small.count("tiny.yaml") == 1 and "n=2," in small
    names: dict[str, Any] = {}
    exec(small, names)
    said = capsys.readouterr().out
    assert (names["trained"].steps, len(rows_of(names["painted"]))) == (6, 2)
    assert "inspected generated set" in said and "images (0.0%) are flagged" in said
    assert names["found"].report.is_file()
    assert [p.name for p in (place / "runs").iterdir() if p.is_symlink()] == ["latest"]


def test_the_page_names_all_functions_and_no_other() -> None:
    functions = {n for n in defectgan.__all__ if n.islower() and n != "__version__"}
    rows = [line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| `")]
    assert {*re.findall(r"`(\w+)\(", " ".join(rows))} == functions


def test_a_name_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys, defectgan; from defectgan import Listener, DataError, SILENT;"
        "assert not {'torch', 'numpy', 'pydantic'} & sys.modules.keys(); defectgan.train;"
        "assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_quiet_job_says_nothing(
    run: Path, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = defectgan.generate(place / "imgs", model=run, n=2, candidates=1, out=place / "set")
    assert defectgan.inspect_masks(out, listener=defectgan.SILENT).verdict is None
    assert capfd.readouterr() == ("", "")


def test_a_prepared_job_knows_its_work_and_makes_nothing(run: Path, place: Path) -> None:
    job = prepare("imgs", model=run, n=5, candidates=3)
    assert job.paintings == 15 and job.first_paintings == 16 * len(CLASSES)
    assert job.out.parent == Path("generated") and job.out.name.endswith("4-classes")
    assert not (place / "generated").exists()
    named = prepare("imgs", model=run, defects=["tin", "wound"], candidates=1)
    assert named.out.name.endswith("-tin-wound") and named.job.defects == ("tin", "wound")
    with pytest.raises(DataError, match="no images in nowhere"):
        prepare("nowhere", model=run)


@pytest.mark.parametrize(
    ("data", "fit"),
    [
        ({"crop_size": 24}, "crop"),
        ({"normal_from_background": True}, "crop"),
        ({"crop_size": 24, "fit": "letterbox"}, "letterbox"),
        ({"crop_size": None, "normal_from_background": None}, None),
    ],
)
def test_a_size_of_windows_implies_windows(data: dict[str, Any], fit: str | None) -> None:
    assert TrainRequest(settings={"data": data}).overrides["data"].get("fit") == fit


def test_a_training_without_images_names_what_is_missing() -> None:
    with pytest.raises(SettingError, match="no data to learn from") as caught:
        find_job(TrainRequest(), device="cpu")
    assert caught.value.mend == ("data", "FOLDER")


def test_classes_with_few_images_are_found(place: Path) -> None:
    job = find_job(TrainRequest([place / "pcb"], "tiny.yaml"), device="cpu")
    assert few_images(job) == {"normal": 6, **dict.fromkeys(CLASSES, 4)}


def test_arms_are_trained_fewer_times_where_there_are_many_generators() -> None:
    models = tuple(Path(f"{i}") for i in range(3))
    assert GainRequest(data=Path()).trainings == 2 and GENERATORS == 3
    assert GainRequest(data=Path(), gan_seeds=2).trainings == 3
    assert GainRequest(data=Path(), models=models).trainings == 2
    assert GainRequest(data=Path(), models=models[:1]).trainings == 3
    assert GainRequest(data=Path(), seeds=7).trainings == 7


def test_segmenters_take_one_ratio() -> None:
    request = GainRequest(data=Path(), segmentation=True, ratios=(1.0, 2.0))
    with pytest.raises(SettingError, match="nothing is chosen for segmenters"):
        _ = request.plan
    assert GainRequest(data=Path(), segmentation=True, ratios=(2.0,)).plan.ratio == 2
