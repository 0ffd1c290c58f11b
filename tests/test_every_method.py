"""Whatever the method, a run is stopped, resumed, painted with, looked at, exported, begun from."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from defectgan.data.index import index_data
from defectgan.export import Exported, available_formats, example, export
from defectgan.generation.plan import find_sources
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import run_job as generate
from defectgan.images import read_mask
from defectgan.inspection.inspect_masks import inspect
from defectgan.manifest import read_manifest
from defectgan.methods.config import Config, parse_config
from defectgan.methods.registry import METHODS
from defectgan.model.file import load_model, load_tensors
from defectgan.runs import RunFolder
from defectgan.settings.data import DataConfig
from defectgan.training.job import Job
from tests.conftest import CLASSES, CPU, TINY, StopAfter, go_on, run_job, start
from tests.test_inspection import target_of

SMALL: dict[str, dict[str, Any]] = {
    "defectgan": {"width": 4, "residual_blocks": 1, "spade_hidden": 4, "noise_scale": 0.3},
    "robust": {"width": 4, "residual_blocks": 1, "spade_hidden": 4, "tower_width": 8},
    "stargan": {"width": 4, "residual_blocks": 1},
    "starganv2": {"width": 4, "stages": 1, "residual_blocks": 0, "latent": 4, "mapping_width": 8},
    "spade": {"width": 4, "stages": 1, "spade_hidden": 4, "style_layers": 3, "scales": 2},
    "pix2pixhd": {"width": 4, "stages": 1, "residual_blocks": 0, "local_blocks": 1, "scales": 2}
    | {"perceptual": 0},
}
SMALL["exemplar"] = SMALL["robust"]
CRITIC = {"critic_width": 4, "critic_layers": 3, "n_critic": 1}


def config_of(name: str, **training: Any) -> Config:
    tree = TINY | {
        "augment": {"adaptive": True},
        "method": {"name": name} | CRITIC | SMALL[name],
        "training": TINY["training"] | {"steps": 3} | training,
    }
    return parse_config(tree, origin="tests")


def test_every_method_has_a_tiny_form_here() -> None:
    assert SMALL.keys() == METHODS.keys()


@pytest.fixture(scope="module", params=sorted(METHODS))
def trained(
    request: pytest.FixtureRequest, boards: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """A finished run of a method; tests only read it."""
    folder = tmp_path_factory.mktemp(request.param)
    return RunFolder(start(config_of(request.param), boards, folder).run)


def method_of(run: RunFolder) -> str:
    return load_model(run.path).info.form.method.name  # type: ignore[no-any-return]


def test_a_stopped_run_goes_on_bit_for_bit(
    trained: RunFolder, boards: Path, tmp_path: Path
) -> None:
    # Steps of the warm-up come first, four for each that follows.
    warmed = 4 * 3 if method_of(trained) in ("robust", "exemplar") else 0
    stop = StopAfter(warmed + 2)
    stopped = start(config_of(method_of(trained)), boards, tmp_path, stop=stop)
    assert stopped.interrupted and stopped.steps == 2
    go_on(stopped.run)
    ours, theirs = (load_tensors(r.state)[0] for r in (RunFolder(stopped.run), trained))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_generates_images_with_masks_that_are_inspected(
    trained: RunFolder, boards: Path, tmp_path: Path
) -> None:
    model = load_model(trained.path)
    job = GenerateJob(
        find_sources(str(boards / "normal")), ("tin",), 3, 0, binary_masks=False, candidates=2
    )
    generate(job, model, tmp_path / "set", device=CPU, batch_size=2)
    rows = read_manifest(tmp_path / "set")
    assert len(rows) == 3 and all(0 <= (row.class_confidence or 0) <= 1 for row in rows)
    if (
        model.painter.method.mask_kind == "difference"
    ):  # what has changed, which is much of it so early
        masks = [read_mask(tmp_path / "set" / row.mask) for row in rows]
        assert all(mask.any() for mask in masks)
    for target in (target_of(tmp_path / "set"), target_of(trained.path)):
        assert inspect(target).findings.images


def test_it_is_exported_and_the_exported_weights_paint(trained: RunFolder, tmp_path: Path) -> None:
    model = load_model(trained.path)
    for file in export(model, tmp_path, available_formats()):
        assert file.max_difference < 1e-4
    again = load_model(tmp_path / "generator.safetensors")
    assert not again.painter.has_critic
    inputs = example(model, 2)
    assert_close(Exported(again.painter)(*inputs), Exported(model.painter)(*inputs))


def test_another_training_begins_from_it_with_other_classes(
    trained: RunFolder, boards: Path, tmp_path: Path
) -> None:
    config = config_of(method_of(trained), steps=1, init_from=str(trained.path))
    job = Job(config, index_data(boards, DataConfig(classes=("tin", "thread"))))
    assert len(CLASSES) > 2 and run_job(job, tmp_path).steps == 1
