from pathlib import Path

import pytest

from defectgan.errors import SettingError
from defectgan.methods.base import Task
from defectgan.methods.config import Config, dump_config, load_config
from defectgan.methods.registry import method_named
from defectgan.networks.critic import PatchCritic
from defectgan.networks.generator import Generator
from defectgan.settings.load import default_preset, preset_folder
from defectgan.training.job import new_job

PRESETS = sorted(p.stem for p in preset_folder().glob("*.yaml"))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_opens_with_what_it_is_for(name: str) -> None:
    load_config(name, {})
    assert (preset_folder() / f"{name}.yaml").read_text().startswith("# For ")


def test_a_training_that_names_no_preset_takes_that_of_its_device() -> None:
    assert [default_preset(device) for device in ("cpu", "cuda")] == ["quick", "standard"]


def test_the_preset_for_a_gpu_is_quick_at_twice_the_size_and_width() -> None:
    standard, quick = load_config("standard", {}), load_config("quick", {})
    assert standard.data.image_size == (128, 128)
    assert standard.training.batch_size >= 16
    assert standard.method.width == 2 * quick.method.width
    assert standard.method.critic_layers == quick.method.critic_layers + 1
    shape = set(method_named("robust").Shape.model_fields)
    weights = [c.method.model_dump(exclude=shape | {"tower_lr"}) for c in (standard, quick)]
    assert weights[0] == weights[1] and weights[0].keys() > {"sd_con", "n_critic", "warmup_steps"}
    assert standard.augment == quick.augment


@pytest.mark.parametrize(("steps", "longest"), [(30, 120), (500, 2000), (2000, 2000)])
def test_the_warm_up_is_bounded_by_the_steps_that_are_asked_for(
    steps: int, longest: int, boards: Path
) -> None:
    job = new_job([boards], "quick", {"training": {"steps": steps}})
    assert (job.config.method.warmup_steps, job.warmup_steps()) == (2000, longest)


def test_the_preset_paper_is_the_published_recipe() -> None:
    config = load_config("paper", {})
    s = config.method
    assert (config.data.image_size, config.training.batch_size) == ((128, 128), 4)
    assert config.training.steps * s.n_critic == 500_000
    assert (config.optim.lr, config.optim.final_lr, config.optim.betas) == (
        2e-4,
        1e-6,
        (0.5, 0.999),
    )
    assert (s.cls_r, s.cls_f, s.rec, s.sd_cyc, s.sd_con, s.gp) == (2, 5, 5, 5, 1, 10)
    assert s.name == "defectgan" and s.adv == 1 and not s.sparsity_warmup
    networks = method_named(s.name)(s, Task(3, 5, config.data.image_size)).networks()
    assert [type(network) for network in networks.values()] == [Generator, PatchCritic]


def test_a_config_that_is_written_down_reads_the_same(tmp_path: Path) -> None:
    config = load_config("quick", {"training": {"steps": 7}})
    (tmp_path / "c.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "c.yaml", {}) == config


def test_overrides_win_and_none_leaves_the_file_alone() -> None:
    config = load_config("quick", {"training": {"steps": 7, "seed": None}, "optim": {"lr": 1e-3}})
    assert config.training.steps == 7 and config.training.seed == 0 and config.optim.lr == 1e-3


def test_a_value_from_the_command_line_is_not_blamed_on_a_file() -> None:
    with pytest.raises(SettingError) as caught:
        load_config("quick", {"training": {"batch_size": 3}})
    assert str(caught.value) == (
        "training.batch_size: found 3; input should be a multiple of 2 "
        "(the command line or the environment)"
    )
    with pytest.raises(SettingError, match=r"(?s)^data.image_size: found '?50'?; [^\n]*$"):
        load_config("quick", {"data": {"image_size": "50"}})


def test_a_value_of_a_file_is_blamed_on_the_file_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("training: {batch_size: 3}\n")
    with pytest.raises(SettingError, match=r"\(.*mine\.yaml\)$"):
        load_config(tmp_path / "mine.yaml", {"training": {"steps": 3}})


def test_a_file_may_begin_with_a_preset(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("preset: quick\nmethod: {rec: 7}\naugment: {}\n")
    mine, quick = (
        load_config(tmp_path / "mine.yaml", {"method": {"adv": 2}}),
        load_config("quick", {}),
    )
    assert mine.method == quick.method.model_copy(update={"rec": 7.0, "adv": 2.0})
    assert mine.model_copy(update={"method": quick.method}) == quick


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {stesp: 3}", r"unknown setting training\.stesp .* did you mean steps\?"),
        ("trainig: {}", r"unknown setting trainig .* did you mean training\?"),
        ("training: {batch_size: 3}", r"training\.batch_size: found 3; .* multiple of 2"),
        ("optim: {lr: fast}", r"optim\.lr: found 'fast'"),
        ("optim: {lr: 1.0e-7}", r"final_lr 1e-06 is larger than lr 1e-07"),
        ("data: {image_size: 16}", r"6 critic layers leave nothing of 16 px"),
        ("preset: quik", r"no configuration quik: .* presets .*quick"),
        ("method: 3", r"method: found 3"),
        ("method: {name: robsut}", r"no method robsut: .* did you mean robust\?"),
        ("method: {name: robust, sd_cno: 1}", r"unknown setting method\.sd_cno .* mean sd_con\?"),
        ("method: {name: defectgan, cls_s: 1}", r"unknown setting method\.cls_s in .*bad\.yaml"),
        ("[1, 2]", r"holds a list; expected sections"),
        ("a: [", r"is not valid YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_what_was_meant(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(SettingError, match=message):
        load_config(tmp_path / "bad.yaml", {})


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match=r"no configuration fast: .* paper, .*quick"):
        load_config("fast", {})


def test_settings_cannot_be_changed_afterwards(tiny: Config) -> None:
    with pytest.raises(ValueError, match="frozen"):
        tiny.training = tiny.training  # type: ignore[misc]
