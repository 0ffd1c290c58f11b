from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from defectgan.data.index import index_data
from defectgan.errors import ModelError, SettingError
from defectgan.methods.base import CRITIC
from defectgan.methods.config import Config, load_config
from defectgan.methods.registry import method_named
from defectgan.model.file import load_tensors, read_info, save_tensors, with_prefix
from defectgan.model.transfer import Classes, take_over
from defectgan.networks.critic import PatchCritic, TowerCritic
from defectgan.networks.exemplars import ExemplarGenerator
from defectgan.networks.generator import ConcatenatedGenerator, Generator, RobustGenerator
from defectgan.networks.multiscale import MultiScaleCritic
from defectgan.networks.pix2pix import PairCritic, UNet
from defectgan.networks.pix2pixhd import CoarseToFineGenerator
from defectgan.networks.slices import class_slices
from defectgan.networks.spade import SpadeGenerator
from defectgan.networks.stargan import StarCritic, StarGenerator
from defectgan.networks.starganv2 import BranchCritic, MappingNetwork, StyleEncoder
from defectgan.settings.base import part
from defectgan.settings.data import DataConfig
from defectgan.training.job import Job, new_job
from defectgan.training.state import State
from tests.conftest import CLASSES, CPU, go_on, run_job, tiny_with

OLD, NEW = ("normal", "a", "b", "c"), ("good", "c", "x", "a")


SIZES: dict[str, Any] = {"width": 4, "residual_blocks": 1, "spade_hidden": 4, "noise_scale": 0.3}


def generator(channels: int = 3) -> Generator:
    return RobustGenerator(channels, 4, **SIZES)


def test_each_class_brings_its_own_slice_and_a_new_one_begins_as_the_mean_of_defects() -> None:
    old, new = generator(), generator()
    take_over(new, old.state_dict(), Classes(OLD, NEW))
    before, after = (net.state_dict()["last_spade.shared.weight"] for net in (old, new))
    assert torch.equal(after[:, 0], before[:, 0])  # normal is normal, whatever its name
    assert torch.equal(after[:, 1], before[:, 3]) and torch.equal(after[:, 3], before[:, 1])
    assert_close(after[:, 2], before[:, 1:].mean(1))
    assert torch.equal(new.state_dict()["stem.0.weight"], old.state_dict()["stem.0.weight"])


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3)])
def test_weights_of_colour_images_serve_gray_ones_and_the_other_way_round(
    before: int, after: int
) -> None:
    """A gray image, in one channel or in three alike, is answered as before: the mean over the
    channels of what is painted, the same mask and the same code.
    """
    torch.manual_seed(0)
    old, new = (ExemplarGenerator(c, 4, **SIZES) for c in (before, after))
    nn.init.normal_(old.head.weight, std=0.002)  # far from the ends of the range
    take_over(new, old.state_dict(), Classes(OLD, OLD), (before, after))
    gray, restored = torch.rand(2, 2, 1, 16, 16) - 0.5
    control = torch.eye(4)[[1, 2]][:, :, None, None]
    noise = torch.zeros(2, old.noise_size(16, 16))
    with torch.no_grad():
        first, second = (
            net(gray.expand(-1, c, -1, -1), control, noise)
            for net, c in ((old, before), (new, after))
        )
        codes = [
            net.encoder(*(x.expand(-1, c, -1, -1) for x in (gray, restored)), first.mask)
            for net, c in ((old, before), (new, after))
        ]
    assert_close(second.mask, first.mask)
    assert_close(second.foreground.mean(1, keepdim=True), first.foreground.mean(1, keepdim=True))
    assert_close(*codes)


def test_what_is_carried_over_and_what_is_not_is_said() -> None:
    told = "carried over: c a, new: x, left behind: b"
    assert Classes(OLD, NEW).describe() == told
    assert Classes(OLD, OLD).describe() == "carried over: a b c"


@pytest.mark.parametrize("tower", [True, False])
def test_the_critics_heads_follow_the_classes_also_where_their_number_changes(tower: bool) -> None:
    def critic(classes: int) -> PatchCritic | TowerCritic:
        sizes = {"width": 4, "layers": 3}
        if tower:
            return TowerCritic(3, classes, tower_width=8, **sizes)
        return PatchCritic(3, classes, **sizes)

    old, new = critic(4), critic(3)
    take_over(new, old.state_dict(), Classes(OLD, ("normal", "c", "a")))
    before, after = old.state_dict(), new.state_dict()
    heads = ("tower.head.weight", "tower.head.bias") if tower else ("logits.weight",)
    for name in heads:
        assert torch.equal(after[name], before[name][[0, 3, 1]])
    assert torch.equal(after["score.weight"], before["score.weight"])


def test_where_the_class_stands_beside_the_image_its_channel_follows() -> None:
    """Those of the image stay where they are."""
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (ConcatenatedGenerator(3, 4, **SIZES), ConcatenatedGenerator(3, 3, **SIZES)),
        (
            StarGenerator(3, 4, width=4, residual_blocks=1),
            StarGenerator(3, 3, width=4, residual_blocks=1),
        ),
    ]
    for old, new in pairs:
        take_over(new, old.state_dict(), Classes(OLD, ("normal", "c", "a")))
        (name,) = (name for name, one in class_slices(old).items() if one.first == 3)
        before, after = old.state_dict()[name], new.state_dict()[name]
        assert torch.equal(after, before[:, [0, 1, 2, 3, 6, 4]])


@pytest.mark.parametrize(
    "make",
    [
        lambda k: Generator(3, k, **SIZES),
        lambda k: RobustGenerator(3, k, **SIZES),
        lambda k: ConcatenatedGenerator(3, k, **SIZES),
        lambda k: PatchCritic(3, k, width=4, layers=3),
        lambda k: TowerCritic(3, k, width=4, layers=3, tower_width=8),
        lambda k: StarGenerator(3, k, width=4, residual_blocks=1),
        lambda k: StarCritic(3, k, width=4, layers=3, size=(16, 16)),
        lambda k: UNet(3, k, width=4, size=(16, 16)),
        lambda k: PairCritic(3, k, width=4),
        lambda k: StarGenerator(3, k, width=4, residual_blocks=1, sets=((0, 1), (0, 2))),
        lambda k: MappingNetwork(k, latent=4, style=4, width=8),
        lambda k: StyleEncoder(3, k, width=4, layers=2, size=(16, 16), style=4),
        lambda k: BranchCritic(3, k, width=4, layers=2, size=(16, 16)),
        lambda k: MultiScaleCritic(3, k, width=4, layers=2, scales=2, edges=True),
        lambda k: MultiScaleCritic(3, k, width=4, layers=2, scales=1, spectral=True),
        lambda k: SpadeGenerator(3, k, width=4, stages=2, hidden=4, style=4, size=(16, 16)),
        lambda k: CoarseToFineGenerator(3, k, width=4, stages=1, residual_blocks=1, local_blocks=1),
    ],
)
def test_every_parameter_whose_shape_follows_the_classes_says_so(
    make: Callable[[int], nn.Module],
) -> None:
    few, many = ({name: tuple(t.shape) for name, t in make(k).state_dict().items()} for k in (4, 6))
    assert few.keys() == many.keys()
    assert {name for name in few if few[name] != many[name]} == class_slices(make(4)).keys()


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ModelError, match=r"stem\.0\.weight is .* here and .* there"):
        take_over(generator(), generator(1).state_dict(), Classes(OLD, OLD))


def begin(config: Config, boards: Path, run: Path, *classes: str) -> Job:
    config = config.model_copy(
        update={"training": config.training.model_copy(update={"init_from": str(run)})}
    )
    return Job(config, index_data(boards, DataConfig(classes=classes)))


def test_a_training_begins_with_the_weights_of_another_one(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    """The first checkpoint holds them; with the same classes it is the earlier model."""
    config = tiny_with(method={"warmup_steps": 0})
    job = begin(config, boards, run, *CLASSES)
    stopped = run_job(job, tmp_path / "runs", stop=lambda: True)
    state = load_tensors(stopped.run / "state.safetensors")[0]
    earlier = load_tensors(run / "weights" / "last.safetensors")[0]
    for name, tensor in earlier.items():
        assert torch.equal(state[name], tensor), name
        if name.startswith("generator."):
            assert torch.equal(state[f"raw.{name}"], tensor)


def test_what_taught_the_earlier_weights_has_taught_those_that_go_on_from_them(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    """Through a file alone, whose run is not there, and through a resume."""
    tensors, info = load_tensors(run / "weights" / "last.safetensors")
    alone = tmp_path / "alone.safetensors"
    save_tensors(alone, tensors, replace(info, taught_by=("a" * 64,)))
    job = begin(tiny_with(method={"warmup_steps": 0}), boards, alone, *CLASSES)
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
    job = new_job([boards], "table-full", {"training": {"init_from": str(run)}})
    shape = method_named("robust").Shape
    assert part(shape, job.config.method) == part(shape, tiny.method)
    assert job.config.method.sd_con == load_config("table-full", {}).method.sd_con
    with pytest.raises(ModelError, match="no weights at"):
        new_job([boards], "quick", {"training": {"init_from": str(tmp_path / "none")}})


def test_a_shape_that_was_asked_for_and_the_weights_have_not_is_refused(
    run: Path, boards: Path, tmp_path: Path, tiny: Config
) -> None:
    begin = {"training": {"init_from": str(run)}}
    wider = {"width": 2 * tiny.method.width}
    with pytest.raises(
        SettingError, match=r"method\.width is \d+ in table-full, and \d+ in the wei"
    ):
        new_job([boards], "table-full", begin | {"method": wider})
    own = tmp_path / "own.yaml"
    own.write_text(f"preset: table-full\nmethod: {wider}\n")
    with pytest.raises(SettingError, match=r"leave it out, or begin at random"):
        new_job([boards], own, begin)


def test_weights_of_another_method_are_refused(run: Path, boards: Path) -> None:
    with pytest.raises(SettingError, match=r"weights of the method robust, and paper trains defec"):
        new_job([boards], "paper", {"training": {"init_from": str(run)}})


def test_a_generator_alone_begins_with_a_critic_at_random(boards: Path, tiny: Config) -> None:
    job = Job(tiny, index_data(boards, DataConfig(classes=CLASSES)))
    state = State(tiny, job.method(), device=CPU)
    networks = job.method().networks()
    alone = with_prefix("generator", networks["generator"].state_dict())
    before = state.networks[CRITIC].state_dict()
    assert state.begin_from(alone, Classes(job.index.classes, job.index.classes), 3) == [CRITIC]
    for name, tensor in state.networks[CRITIC].state_dict().items():
        assert torch.equal(tensor, before[name])
    for name, tensor in state.weights().items():
        if name in alone:
            assert torch.equal(tensor, alone[name])
