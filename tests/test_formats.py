"""Files of past formats, as they were written then. Never make them anew: they are what users have.

How each came about: tiny networks, the tensors' values made constant so that they compress.
"""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from defectgan.data.index import index_data
from defectgan.errors import ModelError
from defectgan.files import sha256, write_json_lines
from defectgan.generation.plan import Sources
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import run_job
from defectgan.images import Levels
from defectgan.manifest import JOB
from defectgan.methods.config import Config, parse_config
from defectgan.model.file import (
    MODEL,
    identities,
    load_model,
    load_tensors,
    read_info,
    record_threshold,
    save_tensors,
    tensors_digest,
)
from defectgan.model.form import Form
from defectgan.model.formats import CONVERTERS, FORMAT, REFUSED
from defectgan.model.info import ModelInfo
from defectgan.runs import RunFolder
from defectgan.settings.data import DataConfig
from defectgan.training.job import Job
from defectgan.training.warmup import NO_YARDSTICK
from tests.conftest import CLASSES, CPU, ROOT, Silent, go_on, rows_of
from tests.conftest import run_job as train
from tests.test_names import in_table

FORMATS = ROOT / "tests" / "formats"
AWKWARD = ("good", "Tin", "tin", "con", "crack/rust", "x" * 300, "\u88c2\u7eb9")


def unpacked(name: str, folder: Path) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.decompress((FORMATS / f"{name}.gz").read_bytes()))
    return path


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def with_header(path: Path, changes: dict[str, str | None]) -> Path:
    """The file with other entries in its header; None takes one away."""
    merged = {k: v for k, v in {**header(path), **changes}.items() if v is not None}
    save_file(load_file(path), path, metadata=merged)
    return path


def test_every_past_format_has_a_file_here_and_is_read_or_refused_by_rule() -> None:
    kept = {p.name.split(".")[0] for p in FORMATS.glob("*.safetensors.gz")}
    assert kept >= {FORMAT, *CONVERTERS, *REFUSED}
    assert not {*CONVERTERS} & {*REFUSED}


@pytest.mark.parametrize("name", [FORMAT, *CONVERTERS])
def test_weights_of_each_format_that_is_read_say_the_same(name: str, tmp_path: Path) -> None:
    model = load_model(unpacked(f"{name}.safetensors", tmp_path))
    info = model.info
    assert info.classes == ("good", "crack", "dent") and info.channels == 1 and info.step == 2
    assert info.levels == Levels(5, 250) and info.threshold == 0.25 and not info.multi_label
    form = info.form
    assert (form.view.image_size, form.view.fit, form.view.crop_size) == ((16, 32), "crop", 48)
    assert form.poses.flip and not form.poses.rotate
    assert (form.reading.normal_class, form.reading.levels) == ("good", "minmax")
    assert form.reading.group_regex == r"^(\d+)"
    assert form.generator.width == 4 and form.critic.class_tower and model.critic is not None
    assert json.loads(info.training)["training"]["steps"] == 3


def test_weights_of_a_format_that_means_nothing_today_are_refused_with_the_reason(
    tmp_path: Path,
) -> None:
    for name, reason in REFUSED.items():
        path = unpacked(f"{name}.safetensors", tmp_path)
        with pytest.raises(ModelError) as caught:
            load_model(path)
        assert str(path) in str(caught.value) and reason in str(caught.value)


@pytest.mark.parametrize("name", [FORMAT, *CONVERTERS])
def test_settings_of_the_training_alone_may_have_any_name(name: str, tmp_path: Path) -> None:
    """Those that build networks may not: they would be other networks."""
    path = unpacked(f"{name}.safetensors", tmp_path)
    key = "training" if name == FORMAT else "config"
    tree: dict[str, Any] = json.loads(header(path)[key])
    tree |= {"optim": {"renamed": 1}, "gone": {"lr": "fast"}}
    tree["data"] |= {"renamed": 1}
    assert read_info(with_header(path, {key: json.dumps(tree)})).step == 2
    key = "form" if name == FORMAT else "config"
    tree = json.loads(header(path)[key])
    tree["generator"] |= {"renamed": 1}
    with pytest.raises(ModelError, match=r"unknown setting generator\.renamed in .*safetensors"):
        read_info(with_header(path, {key: json.dumps(tree)}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "defectgan-99"}, "of the format defectgan-99: it is of a newer version"),
        ({"format": "sd-1"}, f"holds weights of another program; expected {FORMAT}"),
        ({"format": None}, f"holds weights of another program; expected {FORMAT}"),
        ({"form": None}, r"is damaged: its header lacks 'form'"),
        ({"form": "{"}, "cannot be read: "),
        ({"form": "[]"}, "cannot be read: "),
        ({"channels": "three"}, "cannot be read: "),
        ({"classes": '["good"]'}, "expected a normal class and one defect or more"),
        ({"classes": '["good", "tin", "tin"]'}, "name one twice"),
        ({"classes": '["good", 3, "tin"]'}, "3 is not a text"),
        ({"classes": '["good", "/abs/x", "tin"]'}, "'/abs/x' is a path"),
        ({"classes": '["good", "../../x", "tin"]'}, "is a path"),
        ({"classes": '["good", "a\\u0000b", "tin"]'}, "control character"),
        ({"classes": '["good", " ", "tin"]'}, "is empty"),
        ({"classes": '[".", "a", "tin"]'}, "is a path"),
    ],
)
def test_what_is_wrong_in_a_header_is_said_in_one_sentence(
    changes: dict[str, str | None], message: str, tmp_path: Path
) -> None:
    path = with_header(unpacked(f"{FORMAT}.safetensors", tmp_path), changes)
    with pytest.raises(ModelError, match=message):
        load_model(path)


def test_the_shipped_weights_are_read() -> None:
    info = read_info(ROOT / "sample_data" / "pcb64.safetensors")
    assert info.classes == ("normal", "brushing", "thread", "tin", "wound")
    assert info.form.view.image_size == (64, 64) and info.form.poses.rotate


def state_settings() -> Config:
    return parse_config(
        {
            "data": {"image_size": 16},
            "generator": {"width": 4, "residual_blocks": 0, "spade_hidden": 4},
            "critic": {"width": 4, "layers": 2},
            "training": {"steps": 3, "batch_size": 2, "n_critic": 1},
        },
        origin="tests",
    )


def test_a_run_whose_state_is_of_a_past_format_goes_on(boards: Path, tmp_path: Path) -> None:
    job = Job(state_settings(), index_data(boards, DataConfig(classes=tuple(CLASSES))))
    folder = job.begin(tmp_path / "runs", "old")
    unpacked("defectgan-2-state.safetensors", tmp_path).rename(folder.state)
    assert go_on(folder.path).steps == 3
    assert header(folder.state)["format"] == FORMAT and read_info(folder.weights).step == 3


def test_a_state_without_what_the_warm_up_came_to_goes_on_and_says_what_is_missing(
    boards: Path, tmp_path: Path
) -> None:
    config = state_settings()
    training = config.training.model_copy(update={"lead_steps": 1})
    index = index_data(boards, DataConfig(classes=tuple(CLASSES)))
    folder = Job(config.model_copy(update={"training": training}), index).begin(tmp_path, "old")
    unpacked("defectgan-2-state.safetensors", tmp_path).rename(folder.state)
    watcher = Silent()
    assert go_on(folder.path, watcher=watcher).steps == 3 and not folder.best.exists()
    assert NO_YARDSTICK in watcher.warnings


def test_a_run_whose_state_is_refused_says_why(boards: Path, tmp_path: Path) -> None:
    job = Job(state_settings(), index_data(boards, DataConfig(classes=tuple(CLASSES))))
    folder = job.begin(tmp_path / "runs", "old")
    unpacked("defectgan-1.safetensors", tmp_path).rename(folder.state)
    with pytest.raises(ModelError, match=r"state\.safetensors .* defectgan-1: .* train again"):
        go_on(folder.path)


def test_a_state_of_other_networks_is_refused(boards: Path, tmp_path: Path) -> None:
    index = index_data(boards, DataConfig(classes=("tin", "thread")))
    folder = Job(state_settings(), index).begin(tmp_path / "runs", "old")
    unpacked("defectgan-2-state.safetensors", tmp_path).rename(folder.state)
    with pytest.raises(
        ModelError, match=r"state\.safetensors is not of a training with the settings"
    ):
        go_on(folder.path)


# --- identity


def test_a_models_identity_is_its_tensors(tmp_path: Path) -> None:
    path = unpacked(f"{FORMAT}.safetensors", tmp_path)
    before, bytes_before = load_model(path).sha256, path.read_bytes()
    record_threshold(path, 0.125)
    assert path.read_bytes() != bytes_before
    assert load_model(path).sha256 == before
    tensors, _ = load_tensors(path)
    name = sorted(tensors)[0]
    for other in (
        {**tensors, name: tensors[name] + 1},
        {**tensors, name: tensors[name].half()},
        {**tensors, name: tensors[name][None]},
        {n + "x" if n == name else n: t for n, t in tensors.items()},
    ):
        assert tensors_digest(other) != before


def sources(boards: Path) -> Sources:
    return Sources(tuple(sorted((boards / "normal").iterdir())), ())


def make(model: Path, boards: Path, out: Path, *defects: str, n: int = 2) -> list[dict[str, Any]]:
    job = GenerateJob(sources(boards), defects, n, 0, binary_masks=False)
    loaded = load_model(model)
    run_job(job, loaded, out, device=CPU, batch_size=2)
    return rows_of(out)


def test_a_set_goes_on_after_its_model_was_calibrated(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "w.safetensors"
    save_tensors(weights, *load_tensors(RunFolder(run).weights))
    rows = make(weights, boards, tmp_path / "set", "tin")
    record_threshold(weights, 0.5)
    job = GenerateJob(sources(boards), ("tin",), 2, 0, binary_masks=False)
    made = run_job(job, load_model(weights), tmp_path / "set", device=CPU, batch_size=2)
    assert (made.there, made.made) == (2, 0)
    assert {row[MODEL] for row in rows} == {load_model(weights).sha256}


def test_a_set_that_was_made_when_the_files_digest_was_the_identity_goes_on(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    weights, out = RunFolder(run).weights, tmp_path / "set"
    first, last = make(weights, boards, out, "tin")
    old = {MODEL: sha256(weights)}
    (out / JOB).write_text(json.dumps(json.loads((out / JOB).read_text()) | old))
    write_json_lines(out / "manifest.jsonl", [first | old])
    (out / last["output"]).unlink()
    assert make(weights, boards, out, "tin") == [first, last]
    assert json.loads((out / JOB).read_text())[MODEL] == load_model(weights).sha256


def test_a_run_is_found_by_either_identity_of_its_weights(run: Path) -> None:
    weights = RunFolder(run).weights
    assert identities(weights) == {load_model(run).sha256, sha256(weights)}


def test_weights_of_a_format_that_is_not_read_are_known_all_the_same(tmp_path: Path) -> None:
    path = unpacked("defectgan-1.safetensors", tmp_path)
    assert identities(path) == {tensors_digest(load_file(path)), sha256(path)}
    path.write_bytes(b"damaged")
    assert identities(path) == {sha256(path)}


# --- names of classes, through weights


def test_whatever_a_models_classes_are_called_nothing_lands_outside_its_folder(
    boards: Path, tmp_path: Path, tiny: Config
) -> None:
    info = ModelInfo(Form.of(tiny), AWKWARD, 3)
    weights = tmp_path / "w" / "w.safetensors"
    torch.manual_seed(0)
    tensors = {f"generator.{n}": t for n, t in info.generator().state_dict().items()}
    save_tensors(weights, tensors, info)
    out = tmp_path / "out"
    rows = make(weights, boards, out, *AWKWARD[1:], n=12)
    assert [row["class"] for row in rows[:6]] == list(AWKWARD[1:])
    assert {p.name for p in tmp_path.iterdir()} == {"w", "out"}
    for kind in ("output", "mask"):
        by_class = {row["class"]: Path(row[kind]).parent for row in rows}
        assert len({str(p).casefold() for p in by_class.values()}) == len(AWKWARD) - 1
        for row in rows:
            file = (out / row[kind]).resolve()
            assert file.is_file() and file.is_relative_to(out.resolve())
            assert len(Path(row[kind]).parts) == 3


def test_a_source_with_a_long_name_gives_a_file_that_can_be_written(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    source = tmp_path / f"{'s' * 250}.png"
    source.write_bytes(next((boards / "normal").iterdir()).read_bytes())
    job = GenerateJob(Sources((source,), ()), ("tin",), 1, 0, binary_masks=False)
    run_job(job, load_model(run), tmp_path / "o", device=CPU, batch_size=1)
    assert (tmp_path / "o" / rows_of(tmp_path / "o")[0]["output"]).is_file()


def test_a_training_on_awkward_classes_leads_to_a_set(
    boards: Path, tmp_path: Path, tiny: Config
) -> None:
    root = in_table(boards, tmp_path / "data", "crack/rust")
    run = train(Job(tiny, index_data(root, DataConfig())), tmp_path / "runs").run
    (row, _) = make(run, boards, tmp_path / "out", "crack/rust")
    assert row["class"] == "crack/rust" and row["output"].startswith("images/crack-rust/")
    assert replace(load_model(run).info, step=0).label_of("crack/rust") == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("calibrated", "NaN"), ("calibrated", "7"), ("step", '"x"'), ("channels", "0"), ("step", "x")],
)
def test_a_header_with_a_value_that_cannot_be_is_refused_by_the_name_of_its_field(
    field: str, value: str, tmp_path: Path
) -> None:
    path = with_header(unpacked(f"{FORMAT}.safetensors", tmp_path), {field: value})
    with pytest.raises(ModelError, match=f"cannot be read: {field} of its header is "):
        read_info(path)
