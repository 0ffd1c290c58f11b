"""Whatever the method, a run is stopped, resumed, painted with, looked at, exported, begun from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from defectgan.data.index import Index, index_data
from defectgan.errors import DataError, ModelError
from defectgan.export import Exported, Format, available_formats, example, export
from defectgan.generation.plan import Sources, find_sources
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import run_job as generate
from defectgan.images import read_mask
from defectgan.inspection.inspect_masks import inspect
from defectgan.inspection.subject import RESTORED
from defectgan.manifest import read_manifest
from defectgan.methods.base import CRITIC as KNOWS
from defectgan.methods.config import Config, parse_config
from defectgan.methods.registry import METHODS, method_named
from defectgan.model.file import load_model, load_tensors
from defectgan.runs import RunFolder
from defectgan.settings.data import DataConfig
from defectgan.training.job import Job
from defectgan.training.watch import Outcome
from tests.conftest import CLASSES, CPU, TINY, StopAfter, go_on, run_job
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
SMALL |= {"pix2pix": {"width": 4}, "cyclegan": {"width": 4, "residual_blocks": 1, "pool": 2}}
FROM_NOISE = ("acgan", "cgan", "gan", "wgan", "wgan-gp")
SMALL |= {name: {"width": 4, "latent": 6} for name in FROM_NOISE}
CRITIC = {"critic_width": 4, "critic_layers": 3, "n_critic": 1}


def config_of(name: str, **training: Any) -> Config:
    method = method_named(name)
    sizes = {k: v for k, v in CRITIC.items() if k in method.Settings.model_fields}
    tree = TINY | {
        "augment": {"adaptive": KNOWS in method.judging},
        "method": {"name": name} | sizes | SMALL[name],
        "training": TINY["training"] | {"steps": 3} | training,
    }
    return parse_config(tree, origin="tests")


def index_of(name: str, boards: Path, *classes: str) -> Index:
    """As many classes as the method can learn, and the true masks as twins where it needs some."""
    method = method_named(name)
    pairs = str(boards / "masks") if method.paired else None
    return index_data(boards, DataConfig(classes=classes[: method.most_defects], pairs=pairs))


def begun(name: str, boards: Path, runs: Path, **options: Any) -> Outcome:
    return run_job(Job(config_of(name), index_of(name, boards, *CLASSES)), runs, **options)


def are_the_same_to_the_bit(one: RunFolder, other: RunFolder) -> None:
    """All that two runs would go on with."""
    ours, theirs = (load_tensors(run.state)[0] for run in (one, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_method_has_a_tiny_form_here() -> None:
    assert SMALL.keys() == METHODS.keys()


@pytest.fixture(scope="module", params=sorted(METHODS))
def trained(
    request: pytest.FixtureRequest, boards: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """A finished run of a method; tests only read it."""
    folder = tmp_path_factory.mktemp(request.param)
    return RunFolder(begun(request.param, boards, folder).run)


def method_of(run: RunFolder) -> str:
    return load_model(run.path).info.form.method.name  # type: ignore[no-any-return]


def test_a_stopped_run_goes_on_bit_for_bit(
    trained: RunFolder, boards: Path, tmp_path: Path
) -> None:
    # Steps of the warm-up come first, four for each that follows.
    warmed = 4 * 3 if method_of(trained) in ("robust", "exemplar") else 0
    stop = StopAfter(warmed + 2)
    stopped = begun(method_of(trained), boards, tmp_path, stop=stop)
    assert stopped.interrupted and stopped.steps == 2
    go_on(stopped.run)
    are_the_same_to_the_bit(RunFolder(stopped.run), trained)


def paints_and_is_inspected(run: Path, good: Path, folder: Path) -> None:
    """A model generates, on images of ``good`` where it paints on any, and is looked at."""
    model = load_model(run)
    method = model.painter.method
    sources = find_sources(str(good)) if method.paints_on_images else Sources()
    defect = model.info.made[-1]
    candidates = 2 if model.painter.could_choose else 1
    # So few steps paint little that a check would keep.
    job = GenerateJob(
        sources, (defect,), 3, 0, binary_masks=False, candidates=candidates, checks=None
    )
    generate(job, model, folder, device=CPU, batch_size=2)
    rows = read_manifest(folder)
    assert len(rows) == 3 and {row.defect for row in rows} == {defect}
    assert all((row.class_confidence is None) != model.painter.could_choose for row in rows)
    assert {row.mask_kind for row in rows} == {method.mask_kind}
    if method.mask_kind == "whole":
        assert all(np.min(read_mask(folder / row.mask)) == 255 for row in rows)
    if method.paints_on_images:
        for target in (target_of(folder), target_of(run)):
            seen = inspect(target).findings
            assert seen.images
        assert (RESTORED in {direction for _, direction in seen.groups}) == method.restores
        return
    with pytest.raises(DataError, match="made whole, from noise: the mask of each is all of it"):
        target_of(folder)
    with pytest.raises(ModelError, match="makes whole images from noise: it paints on none and"):
        target_of(run)


def is_exported(run: Path, folder: Path, formats: Sequence[Format]) -> None:
    """Each file answers as the model does, and what one of weights paints is what that does."""
    model = load_model(run)
    for file in export(model, folder, formats):
        assert file.max_difference < 1e-4
    again = load_model(folder / "generator.safetensors")
    assert not again.painter.has_critic
    inputs = example(model, 2)
    assert_close(Exported(again.painter)(*inputs), Exported(model.painter)(*inputs))


def test_it_generates_images_with_masks_that_are_inspected(
    trained: RunFolder, boards: Path, tmp_path: Path
) -> None:
    paints_and_is_inspected(trained.path, boards / "normal", tmp_path / "set")


def test_it_is_exported_and_the_exported_weights_paint(trained: RunFolder, tmp_path: Path) -> None:
    is_exported(trained.path, tmp_path, available_formats())


def test_another_training_begins_from_it_with_other_classes(
    trained: RunFolder, boards: Path, tmp_path: Path
) -> None:
    name = method_of(trained)
    config = config_of(name, steps=1, init_from=str(trained.path))
    job = Job(config, index_of(name, boards, "tin", "thread"))
    assert len(CLASSES) > 2 and run_job(job, tmp_path).steps == 1
