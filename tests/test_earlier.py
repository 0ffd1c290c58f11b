"""Settings of earlier versions: each has its place today, and a mixture of forms none."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from defectgan.errors import SettingError
from defectgan.methods.config import Config, load_config, parse_config
from defectgan.methods.registry import method_named
from defectgan.settings.earlier import (
    ALIEN,
    DEFAULTS,
    EXEMPLAR,
    GONE,
    METHOD,
    MOVED,
    PUBLISHED,
    ROBUST,
    SWITCHES,
    as_today,
)
from defectgan.settings.training import OptimConfig, TrainingConfig
from tests.conftest import ROOT

FORMS = (PUBLISHED, ROBUST)
OLD = ROOT / "tests" / "formats" / "run"
# New with the methods, so that no file of before has it.
NEW = {"optim.constant", "data.pairs"}


def fields(form: str) -> set[str]:
    return {*method_named(form).Settings.model_fields} - {"name"}


def switches(form: str, **changed: Any) -> dict[str, dict[str, Any]]:
    """All switches as one form has them, but for some."""
    tree: dict[str, dict[str, Any]] = {}
    for (section, key), robust in SWITCHES.items():
        value = robust if form == ROBUST else not robust
        tree.setdefault(section, {})[key] = changed.get(key, value)
    return tree


def merged(*trees: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    whole: dict[str, dict[str, Any]] = {}
    for tree in trees:
        for section, values in tree.items():
            whole[section] = whole.get(section, {}) | values
    return whole


def test_every_setting_of_before_is_one_of_today_and_the_other_way_round() -> None:
    new = [name for names in MOVED.values() for name in names.values()]
    assert len(new) == len(set(new))
    assert set(new) == fields(PUBLISHED) | fields(ROBUST)
    for form in (*FORMS, EXEMPLAR):
        assert set(new) - fields(form) == ALIEN[form].keys()
    for section, kind in (("optim", OptimConfig), ("training", TrainingConfig)):
        assert not MOVED[section].keys() & kind.model_fields.keys()


@pytest.mark.parametrize("form", FORMS)
def test_each_setting_keeps_its_value_under_its_name_of_today(form: str) -> None:
    for section, names in MOVED.items():
        for old, new in names.items():
            if new in ALIEN[form]:
                continue
            value = "spade" if new == "control" else 8
            tree = merged(switches(form), {section: {old: value}})
            assert as_today(tree, origin="x")[METHOD][new] == value


@pytest.mark.parametrize("form", FORMS)
def test_the_settings_that_a_run_of_before_wrote_down_are_read_value_by_value(form: str) -> None:
    old = yaml.safe_load((OLD / f"{form}.yaml").read_text())
    today = load_config(OLD / f"{form}.yaml", {}).model_dump(mode="json")
    seen = set()
    for section, values in old.items():
        for key, value in values.items():
            if (section, key) in SWITCHES or (section, key) in GONE:
                continue
            new = MOVED.get(section, {}).get(key)
            if new is None:
                assert today[section][key] == value
                seen.add(f"{section}.{key}")
            elif new not in ALIEN[form]:
                assert today[METHOD][new] == value
                seen.add(f"{METHOD}.{new}")
    assert today[METHOD]["name"] == form
    there = {f"{section}.{key}" for section, values in today.items() for key in values}
    assert there - seen == NEW | {"method.name"}


def test_what_is_of_today_comes_back_as_it_is() -> None:
    tree = load_config("quick", {}).model_dump(mode="json")
    assert as_today(tree, origin="x") is tree
    tree = {"optim": {"lr": 1.0}, "odd": 3}
    assert as_today(tree, origin="x") is tree


def read(tree: dict[str, Any], folder: Path) -> Config:
    (folder / "mine.yaml").write_text(yaml.safe_dump(tree))
    return load_config(folder / "mine.yaml", {})


def test_what_a_file_without_a_preset_left_out_is_as_it_was_then(tmp_path: Path) -> None:
    """Some defaults of the robust form are others today."""
    config = read(switches(ROBUST), tmp_path)
    then = DEFAULTS | {"tower_lr": 2e-4}
    assert {key: getattr(config.method, key) for key in DEFAULTS} == then
    assert any(value != getattr(parsed(ROBUST).method, key) for key, value in then.items())
    config = read(merged(switches(PUBLISHED), {"generator": {"width": 8}}), tmp_path)
    assert config.method == parsed(PUBLISHED).method.model_copy(update={"width": 8})


def parsed(form: str) -> Config:
    return parse_config({METHOD: {"name": form}, "data": {"image_size": 128}}, origin="x")


def test_the_towers_rate_was_that_of_all_where_it_had_none_of_its_own(tmp_path: Path) -> None:
    tower = {"optim": {"lr": 3e-4, "tower_lr": None}}
    assert read(merged(switches(ROBUST), tower), tmp_path).method.tower_lr == 3e-4
    below = {"preset": "quick", "optim": {"tower_lr": None}}
    assert read(below, tmp_path).method.tower_lr == load_config("quick", {}).optim.lr


def test_a_file_of_before_is_laid_over_the_preset_that_it_names(tmp_path: Path) -> None:
    for preset in ("quick", "table-full"):
        below = load_config(preset, {})
        tree = {"preset": preset, "loss": {"rec": 7}, "training": {"n_critic": 3, "steps": 9}}
        config = read(tree, tmp_path)
        assert config.method == below.method.model_copy(update={"rec": 7.0, "n_critic": 3})
        assert config.training == below.training.model_copy(update={"steps": 9})
        agreed = {"preset": preset, "generator": {"skips": True}, "critic": {"class_tower": True}}
        assert read(agreed, tmp_path) == below
    assert read({"preset": "paper", "loss": {"cls_s": 0}}, tmp_path) == load_config("paper", {})


@pytest.mark.parametrize(("section", "key"), SWITCHES)
@pytest.mark.parametrize("form", FORMS)
def test_a_mixture_of_the_forms_is_refused_with_what_mixes_them(
    form: str, section: str, key: str
) -> None:
    tree = switches(form)
    tree[section][key] = not tree[section][key]
    with pytest.raises(SettingError, match=r"^x mixes the published form and the robust") as caught:
        as_today(tree, origin="x")
    of_robust, others = str(caught.value).split(" are not;")[0].split(", and ")
    alone = of_robust if form == PUBLISHED else others
    assert alone.endswith(f"{section}.{key}") and alone.count(".") == 1


def test_a_file_that_parts_from_the_form_of_its_preset_is_a_mixture(tmp_path: Path) -> None:
    for preset in ("quick", "table-full"):  # of what came of the robust form, and of that
        with pytest.raises(SettingError, match=r"and generator\.skips are not; there is no form"):
            read({"preset": preset, "generator": {"skips": False}}, tmp_path)
    with pytest.raises(SettingError, match=r"of the latter are generator\.skips, and "):
        read({"generator": {"skips": True}}, tmp_path)


def test_where_the_class_stands_beside_the_image_no_block_is_told_it_by_spade() -> None:
    """So the switch for that may be as it likes."""
    for told in (True, False):
        tree = merged(
            switches(ROBUST, spade_residual=told), {"generator": {"control": "concatenated"}}
        )
        found = as_today(tree, origin="x")[METHOD]
        assert (found["name"], found["control"]) == (ROBUST, "concatenated")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"critic": {"class_score": True}}, r"critic\.class_score in .* experiment that was given"),
        ({"critic": {"features": "lite0"}}, r"critic\.features in .* given up: train anew"),
        ({"loss": {"cls_s": 0.5}}, r"cls_s is 0\.5 in .* the method defectgan does not have any"),
        ({"generator": {"control": "concatenated"}}, r"control is concatenated in .*defectgan"),
        ({"training": {"lead_steps": 5}}, r"warmup_steps is 5 in .* defectgan does not have"),
        (
            {"preset": "quick", "loss": {"sparsity_warmup": 9}},
            r"sparsity_warmup is 9 in .* exemplar",
        ),
        ({"generator": {"widht": 8}}, r"unknown setting generator\.widht in .*; did you mean wid"),
        ({"loss": {"lambda": 8}}, r"unknown setting loss\.lambda in .*mine\.yaml"),
        ({"generator": 3}, r"unknown setting generator in .*mine\.yaml"),
        ({"generator": {"width": 1}}, r"method\.width: found 1; .*greater than or equal to 4"),
    ],
)
def test_what_no_method_has_any_more_is_refused_in_a_sentence(
    tree: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=message):
        read(tree, tmp_path)
