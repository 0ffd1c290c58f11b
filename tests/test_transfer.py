from dataclasses import replace
from pathlib import Path

import pytest
import torch

from defectgan.data.index import index_data
from defectgan.errors import ModelError
from defectgan.methods.config import Config
from defectgan.model.file import load_tensors, read_info, save_tensors, with_prefix
from defectgan.model.form import Form
from defectgan.model.info import ModelInfo
from defectgan.model.transfer import Classes, take_over
from defectgan.networks.critic import Critic
from defectgan.networks.generator import Generator
from defectgan.settings.data import DataConfig
from defectgan.training.job import Job, new_job
from defectgan.training.step import Engine
from tests.conftest import CLASSES, go_on, run_job, tiny_with

OLD, NEW = ("normal", "a", "b", "c"), ("good", "c", "x", "a")


def test_each_class_brings_its_own_slice_and_a_new_one_starts_fresh(tiny: Config) -> None:
    old, new = Generator(3, 4, tiny.generator), Generator(3, 4, tiny.generator)
    fresh = new.last_spade.shared.weight.detach().clone()
    take_over(new, old.state_dict(), Classes(OLD, NEW))
    before, after = old.last_spade.shared.weight, new.last_spade.shared.weight
    assert torch.equal(after[:, 0], before[:, 0])  # normal is normal, whatever its name
    assert torch.equal(after[:, 1], before[:, 3]) and torch.equal(after[:, 3], before[:, 1])
    assert torch.equal(after[:, 2], fresh[:, 2])
    assert torch.equal(new.stem[0].weight, old.stem[0].weight)


def test_what_is_carried_over_and_what_is_not_is_said() -> None:
    told = "carried over: c a, new: x, left behind: b"
    assert Classes(OLD, NEW).describe() == told
    assert Classes(OLD, OLD).describe() == "carried over: a b c"


@pytest.mark.parametrize("tower", [True, False])
def test_the_critics_heads_follow_the_classes_also_where_their_number_changes(
    tower: bool, tiny: Config
) -> None:
    config = tiny.critic.model_copy(update={"class_tower": tower, "class_score": True})
    old, new = Critic(3, 4, config), Critic(3, 3, config)
    take_over(new, old.state_dict(), Classes(OLD, ("normal", "c", "a")))
    heads = (old.tower.head, new.tower.head) if tower else (old.logits, new.logits)
    for name in ("weight", "bias") if tower else ("weight",):
        before, after = (getattr(head, name) for head in heads)
        assert torch.equal(after, before[[0, 3, 1]])
    assert torch.equal(new.score.weight, old.score.weight[[0, 3, 1]])


def test_weights_of_another_network_are_refused(tiny: Config) -> None:
    gray = Generator(1, 4, tiny.generator)
    with pytest.raises(ModelError, match=r"stem\.0\.weight is .* here and .* there"):
        take_over(Generator(3, 4, tiny.generator), gray.state_dict(), Classes(OLD, OLD))


def begin(config: Config, boards: Path, run: Path, *classes: str) -> Job:
    config = config.model_copy(
        update={"training": config.training.model_copy(update={"init_from": str(run)})}
    )
    return Job(config, index_data(boards, DataConfig(classes=classes)))


def test_a_training_begins_with_the_weights_of_another_one(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    """The first checkpoint holds them; with the same classes it is the earlier model."""
    config = tiny_with(training={"lead_steps": 0})
    job = begin(config, boards, run, *CLASSES)
    stopped = run_job(job, tmp_path / "runs", stop=lambda: True)
    state = load_tensors(stopped.run / "state.safetensors")[0]
    earlier = load_tensors(run / "weights" / "last.safetensors")[0]
    for name, tensor in earlier.items():
        assert torch.equal(state[name], tensor), name
        assert torch.equal(state[name.replace("generator.", "raw.")], tensor)


def test_what_taught_the_earlier_weights_has_taught_those_that_go_on_from_them(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    """Through a file alone, whose run is not there, and through a resume."""
    tensors, info = load_tensors(run / "weights" / "last.safetensors")
    alone = tmp_path / "alone.safetensors"
    save_tensors(alone, tensors, replace(info, taught_by=("a" * 64,)))
    job = begin(tiny_with(training={"lead_steps": 0}), boards, alone, *CLASSES)
    stopped = run_job(job, tmp_path / "runs", stop=lambda: True).run
    assert read_info(stopped / "state.safetensors").taught_by == ("a" * 64,)
    gone_on = go_on(stopped)
    assert read_info(gone_on.run / "weights" / "last.safetensors").taught_by == ("a" * 64,)


def test_other_classes_train_on(run: Path, boards: Path, tmp_path: Path, tiny: Config) -> None:
    job = begin(tiny, boards, run, "tin", "thread")
    assert run_job(job, tmp_path / "runs").steps == 6


def test_the_networks_are_of_the_form_of_the_weights(
    run: Path, boards: Path, tmp_path: Path, tiny: Config
) -> None:
    job = new_job(boards, "quick", {"training": {"init_from": str(run)}})
    assert job.config.generator == tiny.generator and job.config.critic == tiny.critic
    with pytest.raises(ModelError, match="no weights at"):
        new_job(boards, "quick", {"training": {"init_from": str(tmp_path / "none")}})


def test_a_generator_alone_begins_with_a_critic_at_random(tiny: Config) -> None:
    engine = Engine(tiny, ModelInfo(Form.of(tiny), OLD, 3), device=torch.device("cpu"), bf16=False)
    alone = with_prefix("generator", Generator(3, 4, tiny.generator).state_dict())
    assert not engine.begin_from(alone, Classes(OLD, OLD))
