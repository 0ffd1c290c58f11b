"""The judge: what its measures say of models that are known."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from defectgan.data.index import index_data, read_split
from defectgan.data.loader import Loader
from defectgan.errors import SettingError
from defectgan.files import read_json_lines
from defectgan.methods.base import CRITIC
from defectgan.methods.config import Config
from defectgan.model.file import load_model, load_tensors
from defectgan.networks import imagenet
from defectgan.networks.critic import Critic
from defectgan.networks.imagenet import JUDGE, RELEASES, weights_of
from defectgan.runs import RunFolder
from defectgan.settings.data import DataConfig
from defectgan.training import judge_features
from defectgan.training.batches import make_batches
from defectgan.training.job import Job, resumed_job
from defectgan.training.judge import (
    ERROR,
    FEWEST,
    SCORE,
    Features,
    Judge,
    agreement,
    judged_images,
)
from defectgan.training.judge_features import ClassifierFeatures, NetworkFeatures, network_features
from defectgan.training.step import WARMUP_PART, Engine
from defectgan.training.warmup import take_warm_up
from tests.conftest import CPU, Silent, StopAfter, go_on, run_job, tiny_with


def test_agreement_is_1_for_equal_masks_0_for_disjoint_ones_and_soft_between() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    assert agreement(mask, mask) == 1 and agreement(mask, 1 - mask) == 0
    assert_close(agreement(mask, mask / 2), torch.tensor(0.5))
    assert agreement(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)) == 1


@pytest.fixture(scope="module")
def striped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flat normal images, striped and checked defects, twelve of each: far apart to any network."""
    folder = tmp_path_factory.mktemp("striped")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] // 4 % 2
    for name, pattern in (("normal", 0 * x), ("stripes", x), ("checks", x ^ y)):
        (folder / name).mkdir()
        for i in range(12):
            pixels = 90 + 70 * pattern[..., None] + rng.integers(0, 40, (32, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


SETTINGS = tiny_with(
    data={"image_size": 32},
    augment={"flip": False, "rotate": False},
    method={"tower_lr": 0.01, "warmup_steps": 4},
    optim={"lr": 0.01, "ema": 0.5},
    training={"steps": 9, "eval_every": 3, "log_every": 2, "sample_every": 100},
)


@pytest.fixture(scope="module")
def judged(striped: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that is judged with a share in the lines of steps 4, 6 and 9; tests only read it."""
    job = Job(SETTINGS, index_data(striped, DataConfig()))
    return RunFolder(run_job(job, tmp_path_factory.mktemp("judged")).run)


def yardstick_of(run: RunFolder) -> ClassifierFeatures:
    tensors, info = load_tensors(run.state)
    critic = info.method().networks()[CRITIC]
    assert isinstance(critic, Critic)
    yardstick = ClassifierFeatures.restored(critic, tensors)
    assert yardstick is not None
    return yardstick


def judge(run: RunFolder, features: Features | None) -> Judge:
    batches = make_batches(SETTINGS, read_split(run.split))
    return Judge(SETTINGS, batches, device=CPU, features=features)


def test_a_generator_that_paints_nothing_shares_all_of_the_distance(judged: RunFolder) -> None:
    model = load_model(judged.path)
    head = model.painter.networks["generator"].head
    with torch.no_grad():
        head.weight.zero_()  # type: ignore[operator, union-attr]
        head.bias.zero_()  # type: ignore[operator, union-attr]
    measures, share = judge(judged, yardstick_of(judged))(model.painter)
    assert measures[SCORE] == pytest.approx(1.0, rel=1e-4)
    assert measures[ERROR] == pytest.approx(0.0, abs=1e-3)
    assert share is not None and share.terms.dtype == torch.float64
    assert measures["agreement"] == 1.0
    assert 0 <= measures["confirmed"] <= 1


def test_the_yardstick_is_the_classifier_as_it_was_when_its_warm_up_ended(
    judged: RunFolder, striped: Path
) -> None:
    index = index_data(striped, DataConfig())
    engine = Engine(SETTINGS, Job(SETTINGS, index).method(), device=CPU, bf16=False)
    batches, warm_up = make_batches(SETTINGS, index), engine.warm_up
    assert warm_up is not None
    keys = [(t, WARMUP_PART) for t in range(warm_up.steps)]
    with Loader(batches, keys, workers=0) as loader:
        take_warm_up(engine, loader, warm_up, 0.0, watcher=Silent(), stop=lambda: False)
    images, critic = batches.fixed(1, 4), engine.state.networks[CRITIC]
    assert isinstance(critic, Critic)
    assert_close(yardstick_of(judged)(images), critic.features(images))


def test_a_run_is_judged_by_that_yardstick_and_not_by_the_critic_of_the_moment(
    judged: RunFolder,
) -> None:
    lines = [line for line in read_json_lines(judged.stats) if SCORE in line]
    assert [line["step"] for line in lines] == [4, 6, 9] and all(x[ERROR] > 0 for x in lines)
    model = load_model(judged.path)
    measures, _ = judge(judged, yardstick_of(judged))(model.painter)
    assert measures[SCORE] == pytest.approx(lines[-1][SCORE], rel=1e-6)
    critic = model.painter.networks[CRITIC]
    assert isinstance(critic, Critic)
    live, _ = judge(judged, critic.features)(model.painter)
    assert live.get(SCORE) != pytest.approx(lines[-1][SCORE], rel=1e-2)


def test_any_features_may_judge_and_without_any_there_is_no_share(judged: RunFolder) -> None:
    """As of a network that is frozen anyhow: a callable is all that is asked for."""
    model = load_model(judged.path)
    pooled, _ = judge(judged, lambda images: images.diff().flatten(1))(model.painter)
    assert pooled.keys() == {SCORE, ERROR, "confirmed", "agreement"}
    none, share = judge(judged, None)(model.painter)
    assert none.keys() == {"confirmed", "agreement"} and share is None
    flat, share = judge(judged, lambda images: torch.ones(len(images), 3))(model.painter)
    assert flat.keys() == none.keys() and share is None


def test_the_best_weights_are_the_latest_that_are_not_clearly_above_the_lowest(
    judged: RunFolder,
) -> None:
    lines = [line for line in read_json_lines(judged.stats) if SCORE in line]
    lowest = min(line[SCORE] for line in lines)
    tensors = load_tensors(judged.state)[0]
    assert float(tensors["lowest"][0]) == lowest
    best = load_tensors(judged.best)[1].step
    chosen = next(line for line in lines if line["step"] == best)
    assert chosen[SCORE] - lowest <= 2 * (chosen[ERROR] + float(tensors["lowest"][1:].norm()))
    assert best >= next(line["step"] for line in lines if line[SCORE] == lowest)


@pytest.mark.parametrize("calls", [7, 10])
def test_a_stopped_run_is_judged_on_to_the_same_bits(
    calls: int, judged: RunFolder, striped: Path, tmp_path: Path
) -> None:
    """Stopped off a log line and on one, before the next judgement; the warm-up takes four."""
    job = Job(SETTINGS, index_data(striped, DataConfig()))
    stopped = run_job(job, tmp_path, stop=StopAfter(calls))
    assert stopped.interrupted and 0 < stopped.steps < 9
    go_on(stopped.run)
    run = RunFolder(stopped.run)
    for name in ("state", "best"):
        (ours, mine), (theirs, other) = (
            load_tensors(getattr(folder, name)) for folder in (run, judged)
        )
        assert ours.keys() == theirs.keys() and mine.step == other.step
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    scores = [[x.get(SCORE) for x in read_json_lines(r.stats)] for r in (run, judged)]
    assert scores[0] == scores[1]


def unwarmed(**training: Any) -> Config:
    """The settings without a warm-up, with others for the training."""
    return SETTINGS.model_copy(
        update={
            "method": SETTINGS.method.model_copy(update={"warmup_steps": 0}),
            "training": SETTINGS.training.model_copy(update=training),
        }
    )


def test_settings_without_a_warm_up_choose_no_best_weights(striped: Path, tmp_path: Path) -> None:
    class Listening(Silent):
        def phase(self, text: str) -> None:
            said.append(text)

    said: list[str] = []
    job = Job(unwarmed(steps=2), index_data(striped, DataConfig()))
    run = RunFolder(run_job(job, tmp_path, watcher=Listening()).run)
    assert SCORE not in read_json_lines(run.stats)[-1] and not run.best.exists()
    assert not any("yardstick" in name for name in load_tensors(run.state)[0])
    assert any(text.startswith("no kid_share and no best weights") for text in said)


installed = pytest.mark.skipif(
    weights_of(JUDGE) is None, reason="the extra 'features' is not installed"
)
LITE2 = RELEASES[JUDGE].sha256


@installed
def test_a_fixed_network_judges_a_run_from_its_first_step_on_and_after_a_resume(
    striped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the classifier has no warm-up; where it is gone meanwhile, that is said."""
    config = unwarmed(judge="imagenet", steps=3, eval_every=2)
    job = Job(config, index_data(striped, DataConfig()))
    run = RunFolder(run_job(job, tmp_path / "whole").run)
    (line,) = [x for x in read_json_lines(run.stats) if x["step"] == 3]
    model = load_model(run.path)
    measures, _ = judge(run, NetworkFeatures(CPU))(model.painter)
    assert line[SCORE] == pytest.approx(measures[SCORE], rel=1e-4) and run.best.exists()
    stopped = RunFolder(run_job(job, tmp_path / "parts", stop=StopAfter(1)).run)
    shutil.copytree(stopped.path, tmp_path / "elsewhere", symlinks=True)
    go_on(stopped.path)
    assert read_json_lines(stopped.stats)[-1][SCORE] == line[SCORE]
    monkeypatch.setattr(judge_features, "weights_of", lambda name: None)
    away, told = RunFolder(tmp_path / "elsewhere"), Silent()
    resumed_job(away.path, {}).run(away, device=CPU, watcher=told, stop=lambda: False)
    assert SCORE not in read_json_lines(away.stats)[-1]
    assert any("install the extra 'features'" in text for text in told.warnings)


@installed
def test_by_default_a_fixed_network_judges_unless_the_model_was_trained_against_it() -> None:
    assert isinstance(network_features("auto", (), device=CPU), NetworkFeatures)
    assert network_features("auto", (LITE2,), device=CPU) is None
    assert network_features("classifier", (), device=CPU) is None
    assert isinstance(network_features("imagenet", ("another",), device=CPU), NetworkFeatures)
    with pytest.raises(SettingError, match="trained against lite2"):
        network_features("imagenet", (LITE2,), device=CPU)


def test_without_the_extra_the_classifier_judges_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (judge_features, imagenet):
        monkeypatch.setattr(module, "weights_of", lambda name: None)
    assert network_features("auto", (), device=CPU) is None
    with pytest.raises(SettingError, match="extra 'features'"):
        network_features("imagenet", (), device=CPU)


def test_validation_images_judge_where_they_suffice_and_test_images_never(boards: Path) -> None:
    index = index_data(boards, DataConfig(val_fraction=0.5))
    assert min(map(len, judged_images(index).members)) < FEWEST or judged_images(index) != index
    few = index_data(boards, DataConfig(val_fraction=0.25))
    assert judged_images(few) is few
    tested = index_data(boards, DataConfig(holdout=0.5))
    assert judged_images(tested) is tested
