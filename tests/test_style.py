"""Painting in the manner of a reference: part of the job, of the manifest, and of some methods."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from defectgan_cli.main import app
from typer.testing import CliRunner

from defectgan.data.index import index_data
from defectgan.errors import DataError, ModelError
from defectgan.files import sha256
from defectgan.generation.plan import find_sources
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import run_job as generate
from defectgan.generation.style import read_style
from defectgan.images import read_picture
from defectgan.manifest import read_manifest
from defectgan.methods.base import Method
from defectgan.methods.config import parse_config
from defectgan.methods.registry import METHODS, method_named
from defectgan.model.file import Model, load_model
from defectgan.model.pixels import model_view
from defectgan.settings.data import DataConfig
from defectgan.training.job import Job
from defectgan.views import Viewer
from tests.conftest import CPU, TINY, rows_of, run_job

V2 = {
    **{"name": "starganv2", "width": 4, "stages": 1, "residual_blocks": 1, "latent": 4},
    **{"style_size": 6, "mapping_width": 8, "critic_width": 4, "critic_layers": 2},
}


@pytest.fixture(scope="module")
def styled(boards: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    config = parse_config(TINY | {"method": V2}, origin="tests")
    job = Job(config, index_data(boards, DataConfig()))
    model = load_model(run_job(job, tmp_path_factory.mktemp("styled")).run)
    # After so few steps all that is painted looks alike: let styles matter.
    with torch.no_grad():
        for name, parameter in model.painter.networks["generator"].named_parameters():
            if "modulation" in name:
                parameter.mul_(20)
    return model


def job_of(boards: Path, style: Path | None, *, n: int = 2, **job: Any) -> GenerateJob:
    sources = find_sources(str(boards / "normal"))
    given = {"binary_masks": False, "candidates": 1, "style": style} | job
    return GenerateJob(sources, ("tin",), n, 0, **given)


def make(model: Model, out: Path, job: GenerateJob, *, batch: int = 2) -> list[dict[str, Any]]:
    generate(job, model, out, device=CPU, batch_size=batch)
    return rows_of(out)


def pictures(out: Path) -> list[Any]:
    return [read_picture(out / row.output).pixels for row in read_manifest(out)]


def references(boards: Path) -> list[Path]:
    return [min((boards / name).glob("*.png")) for name in ("tin", "brushing")]


def test_a_reference_is_in_the_manifest_and_changes_what_is_painted(
    styled: Model, boards: Path, tmp_path: Path
) -> None:
    one, other = references(boards)
    rows = make(styled, tmp_path / "one", job_of(boards, one))
    assert [(row["style"], row["style_sha256"]) for row in rows] == [(str(one), sha256(one))] * 2
    make(styled, tmp_path / "other", job_of(boards, other))
    plain = make(styled, tmp_path / "plain", job_of(boards, None))
    assert not any("style" in row for row in plain)
    sets = [pictures(tmp_path / name) for name in ("one", "other", "plain")]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not all(map(np.array_equal, sets[a], sets[b]))


def test_the_style_encoder_sees_the_reference_as_the_model_sees_images(
    styled: Model, boards: Path
) -> None:
    reference = references(boards)[0]
    picture = read_picture(reference)
    view = Viewer(styled.info.form.view)(picture.size)
    seen = model_view(picture, view, styled.info.channels, styled.info.levels_of(picture))
    style = read_style(reference, styled)
    assert torch.equal(style.image, seen) and style.sha256 == sha256(reference)


def test_a_set_in_a_style_that_was_cut_short_goes_on_and_ends_the_same(
    styled: Model, boards: Path, tmp_path: Path
) -> None:
    reference = references(boards)[0]
    make(styled, tmp_path / "whole", job_of(boards, reference, n=4))
    make(styled, tmp_path / "parts", job_of(boards, reference, n=2), batch=1)
    make(styled, tmp_path / "parts", job_of(boards, reference, n=4), batch=3)
    assert all(map(np.array_equal, pictures(tmp_path / "whole"), pictures(tmp_path / "parts")))


def test_another_style_is_another_job(styled: Model, boards: Path, tmp_path: Path) -> None:
    one, other = references(boards)
    make(styled, tmp_path / "set", job_of(boards, one))
    for style in (other, None):
        with pytest.raises(DataError, match=r"another job .*style_sha256"):
            make(styled, tmp_path / "set", job_of(boards, style))
    # The same picture by another name is the same style.
    again = tmp_path / "again.png"
    again.write_bytes(one.read_bytes())
    assert len(make(styled, tmp_path / "set", job_of(boards, again, n=3))) == 3


def test_a_set_of_before_there_were_styles_goes_on_without_one(
    styled: Model, boards: Path, tmp_path: Path
) -> None:
    make(styled, tmp_path / "set", job_of(boards, None))
    record = json.loads((tmp_path / "set" / "job.json").read_text())
    del record["style_sha256"]
    (tmp_path / "set" / "job.json").write_text(json.dumps(record))
    assert len(make(styled, tmp_path / "set", job_of(boards, None, n=3))) == 3


def test_a_method_without_a_style_encoder_refuses_a_reference_with_the_reason(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"of the method robust, which has no style encoder"):
        make(load_model(run), tmp_path / "set", job_of(boards, references(boards)[0]))
    assert not (tmp_path / "set").exists() or not any((tmp_path / "set").iterdir())


def test_the_command_refuses_and_paints_by_what_the_method_says(
    styled: Model, run: Path, boards: Path, tmp_path: Path
) -> None:
    style = references(boards)[0]
    line = ["generate", "--normal", str(boards / "normal"), "--n", "1", "--style", str(style)]
    refused = CliRunner().invoke(app, [*line, "--model", str(run), "--out", str(tmp_path / "a")])
    assert refused.exit_code == 3 and "no style encoder" in " ".join(refused.output.split())
    done = CliRunner().invoke(
        app, [*line, "--model", str(styled.path), "--out", str(tmp_path / "b")]
    )
    assert done.exit_code == 0, done.output
    assert rows_of(tmp_path / "b")[0]["style"] == str(style)


def test_a_reference_that_cannot_be_read_is_named(
    styled: Model, boards: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.png"):
        make(styled, tmp_path / "set", job_of(boards, bad))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_is_styled_paints_like_a_reference_and_no_other_does(name: str) -> None:
    kind = method_named(name)
    assert kind.styled == (kind.paint_like is not Method.paint_like)
