"""The rows of generated sets, those that earlier versions wrote included: ``formats/manifest-1``
was made by the last version whose rows had no format, and is never made anew.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectgan.errors import DataError
from defectgan.evaluation.pools import generated_rows
from defectgan.files import read_json_lines, write_json_lines
from defectgan.generation.plan import find_sources
from defectgan.generation.request import GenerateJob
from defectgan.generation.review import Review, review
from defectgan.generation.run import run_job
from defectgan.inspection.inspect_masks import inspect_masks
from defectgan.inspection.subjects import GeneratedSet
from defectgan.manifest import (
    FORMAT,
    JOB,
    MANIFEST,
    ManifestRow,
    append_rows,
    present_rows,
    read_manifest,
    sound_rows,
    write_rows,
)
from defectgan.model.file import MODEL, Model, load_model
from tests.conftest import CPU, ROOT

OLD = ROOT / "tests/formats/manifest-1"
LEAST = {"output": "a.png", "mask": "b.png", "class": "tin"}


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sets of the first format beside the images that they were painted on, by paths from
    here.
    """
    shutil.copytree(OLD, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


@pytest.mark.parametrize("kind", ["soft", "binary"])
def test_rows_of_the_first_format_are_read_as_they_were_meant(old: Path, kind: str) -> None:
    rows, notes = present_rows(old / kind)
    assert not notes and [row.number for row in rows] == [0, 1, 2, 3]
    first = rows[0]
    assert (first.format, first.binary) == (1, kind == "binary")
    assert (first.defect, first.window, first.threshold) == ("crack", (0, 0, 96, 48), 0.25)
    assert first.source == "normal/2.png" and first.model_sha256 == rows[3].model_sha256
    for subject in GeneratedSet(old / kind, rows):
        assert subject.before is not None and subject.strays == 0


def as_made_by(model: Model, folder: Path) -> list[dict[str, Any]]:
    """Let a set be one of this model, whose classes are others; returns its rows."""
    names = {"crack": "tin", "dent": "wound"}
    rows = read_json_lines(folder / MANIFEST)
    rows = [row | {"class": names[row["class"]], MODEL: model.sha256} for row in rows]
    write_json_lines(folder / MANIFEST, rows)
    job = json.loads((folder / JOB).read_text())
    job |= {"defects": ["tin", "wound"], MODEL: model.sha256}
    job["thresholds"] = dict.fromkeys(job["defects"], 0.25)
    (folder / JOB).write_text(json.dumps(job))
    return rows


@pytest.mark.parametrize("kind", ["soft", "binary"])
def test_a_set_of_the_first_format_goes_on_as_one(old: Path, kind: str, run: Path) -> None:
    model = load_model(run)
    before = as_made_by(model, old / kind)
    binary = kind == "binary"
    job = GenerateJob(find_sources("normal"), ("tin", "wound"), 6, 0, binary_masks=binary)
    made = run_job(job, model, old / kind, device=CPU, batch_size=2)
    assert (made.there, made.made) == (4, 2)
    after = read_json_lines(old / kind / MANIFEST)
    assert after[:4] == before
    assert [row["format"] for row in after[4:]] == [FORMAT] * 2
    assert {*after[4]} == {*before[0], "format", "mask_kind"}


def test_a_set_of_the_first_format_is_inspected(old: Path) -> None:
    found = inspect_masks(old / "soft")
    assert len(found.findings.images) == 4 and found.report.is_file()
    assert found.findings.flags["full"] == 4


def test_a_review_counts_what_the_critic_doubts_and_what_is_covered(old: Path) -> None:
    assert review(old / "soft", full_area=0.9) == Review(images=4, doubted=4, full=4)
    assert review(old / "soft", full_area=1.0).full == 0


def test_a_row_is_written_as_it_was_read_whatever_else_stands_in_it(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        LEAST,
        LEAST | {"format": FORMAT, "box": None, "mine": {"a": [1]}, "number": 3},
    ]
    write_json_lines(tmp_path / MANIFEST, rows)
    write_rows(tmp_path, read_manifest(tmp_path))
    assert read_json_lines(tmp_path / MANIFEST) == rows
    append_rows(tmp_path, read_manifest(tmp_path)[:1])
    assert read_json_lines(tmp_path / MANIFEST) == [*rows, LEAST]


@given(
    st.fixed_dictionaries(
        {"output": st.text(), "mask": st.text(), "class": st.text()},
        optional={
            "number": st.integers(0, 10**9),
            "seed": st.integers(0, 2**32 - 1),
            "threshold": st.floats(0, 1),
            "mask_area": st.floats(0, 1),
            "box": st.none() | st.tuples(*[st.integers(0, 9999)] * 4).map(list),
            "class_confidence": st.floats(0, 1),
        },
    )
)
def test_no_row_changes_on_its_way_through(row: dict[str, Any]) -> None:
    again = json.loads(json.dumps(ManifestRow.model_validate(row).as_json()))
    assert again == row


def test_a_row_of_a_newer_format_is_refused_by_its_line(tmp_path: Path) -> None:
    write_json_lines(tmp_path / MANIFEST, [LEAST, LEAST | {"format": FORMAT + 1}])
    with pytest.raises(
        DataError, match=rf"line 2 of .* format {FORMAT + 1}, of a newer version"
    ) as caught:
        read_manifest(tmp_path)
    with pytest.raises(DataError, match=re.escape(str(caught.value))):
        list(sound_rows(tmp_path, lambda text: None))  # a job that goes on must not drop it


def test_a_set_of_another_program_is_inspected_and_judged_by_what_its_rows_say(old: Path) -> None:
    """Three fields are enough: no source, no window, no model."""
    folder = old / "soft"
    rows = read_json_lines(folder / MANIFEST)
    write_json_lines(folder / MANIFEST, [{k: row[k] for k in LEAST} for row in rows])
    found = inspect_masks(folder)
    assert len(found.findings.images) == 4
    assert [row.window for row in generated_rows(folder)[0]] == [None] * 4
    said: list[str] = []
    assert not [*sound_rows(folder, said.append)] and len(said) == 4  # no job can go on with it
