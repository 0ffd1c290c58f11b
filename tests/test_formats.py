"""Files of past formats, as they were written then. Never make them anew: they are what users have.

How each came about: tiny networks, the tensors' values made constant, or one of three, so that they
compress. ``painted.json``, the runs' lines and the set are what the versions then made of them.
"""

import gzip
import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from defectgan.data.index import index_data
from defectgan.errors import ModelError, SettingError
from defectgan.files import read_json_lines, sha256, write_json_lines
from defectgan.generation.plan import Sources, find_sources
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import run_job
from defectgan.images import Levels, read_picture, save_png
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
    with_prefix,
)
from defectgan.model.form import Form
from defectgan.model.formats import CONVERTERS, FORMAT, REFUSED
from defectgan.model.info import ModelInfo
from defectgan.runs import RunFolder
from defectgan.settings.data import DataConfig
from defectgan.training.job import Job, resumed_job
from defectgan.training.warmup import NO_FEATURES
from tests.conftest import CLASSES, CPU, ROOT, Silent, go_on, rows_of
from tests.conftest import run_job as train
from tests.test_names import in_table

FORMATS = ROOT / "tests" / "formats"
PIECES = ("good", "crack", "dent")
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


def pieces(folder: Path) -> Path:
    """What the runs and the set of format 3 are of: noise, with a bright line or a dark square."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(PIECES):
        for i in range(4):
            pixels = rng.integers(60, 120, (32, 32), dtype=np.uint8)
            if k == 1:
                pixels[8:12] = 230
            if k == 2:
                pixels[16:24, 4:12] = 10
            save_png(folder / name / f"{i:03}.png", Image.fromarray(pixels))
    return folder


def files_of(form: str, formats: Iterable[str] = (FORMAT, *CONVERTERS)) -> list[str]:
    return [f"{name}-{form}" for name in formats]


WEIGHTS = [*files_of("defectgan"), *files_of("robust"), *files_of("stargan", [FORMAT])]


def test_every_past_format_has_a_file_here_and_is_read_or_refused_by_rule() -> None:
    kept = {p.name.split(".")[0] for p in FORMATS.glob("*.safetensors.gz")}
    assert kept >= {*WEIGHTS, *REFUSED}
    assert not {*CONVERTERS} & {*REFUSED}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_each_format_that_is_read_say_the_same(name: str, tmp_path: Path) -> None:
    model = load_model(unpacked(f"{name}.safetensors", tmp_path))
    info = model.info
    assert info.classes == PIECES and info.channels == 1 and info.step == 2
    assert info.levels == Levels(5, 250) and info.threshold == 0.25 and not info.multi_label
    form = info.form
    assert (form.view.image_size, form.view.fit, form.view.crop_size) == ((16, 32), "crop", 24)
    assert form.poses.flip and not form.poses.rotate
    assert (form.reading.normal_class, form.reading.levels) == ("good", "minmax")
    assert form.reading.group_regex == r"^(\d+)"
    method = form.method
    assert method.name == name.split("-")[2] and model.painter.has_critic
    assert (method.width, method.residual_blocks) == (4, 1)
    assert (method.critic_width, method.critic_layers) == (4, 2)
    assert json.loads(info.training)["training"]["steps"] == 4


@pytest.mark.parametrize("name", [*files_of("defectgan"), *files_of("robust")])
def test_weights_of_each_format_paint_and_judge_as_they_did(name: str, tmp_path: Path) -> None:
    painter = load_model(unpacked(f"{name}.safetensors", tmp_path)).painter
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(32.0), indexing="ij")
    image = torch.stack([torch.sin(x / 3), torch.cos(y / 2)])[:, None]
    noise = torch.linspace(-1, 1, 2 * painter.noise_size(16, 32)).reshape(2, -1)
    foreground, mask = painter.layer(image, painter.control([1, 2], CPU), noise)
    made = {
        "foreground": foreground.mean((1, 2, 3)),
        "mask": mask.mean((1, 2, 3)),
        "mask_std": mask.std((1, 2, 3)),
        "score": painter.opinion(image, [1, 2]).score,
        "logits": painter.classify(image),
    }
    expected = json.loads((FORMATS / "painted.json").read_text())[name.split("-")[2]]
    assert made.keys() == expected.keys()
    for what, values in made.items():
        assert values.flatten().tolist() == pytest.approx(expected[what], rel=1e-3, abs=1e-4), what


@pytest.mark.parametrize("name", files_of("mixed", CONVERTERS))
def test_weights_between_the_two_forms_are_refused_with_what_mixes_them(
    name: str, tmp_path: Path
) -> None:
    """The published generator with the critic of the robust form: no preset ever was so."""
    path = unpacked(f"{name}.safetensors", tmp_path)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    said = f"{path} cannot be read: its form mixes the published form and the robust one: of the "
    assert str(caught.value).startswith(said + "latter are critic.class_tower, and generator.resid")


def test_weights_against_fixed_features_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = unpacked("defectgan-3-defectgan.safetensors", tmp_path)
    form = json.loads(header(path)["form"])
    form["critic"]["features"] = "lite0"
    with pytest.raises(ModelError, match=r"critic\.features in its form is of an experiment"):
        read_info(with_header(path, {"form": json.dumps(form)}))


def test_weights_of_a_format_that_means_nothing_today_are_refused_with_the_reason(
    tmp_path: Path,
) -> None:
    for name, reason in REFUSED.items():
        path = unpacked(f"{name}.safetensors", tmp_path)
        with pytest.raises(ModelError) as caught:
            load_model(path)
        assert str(path) in str(caught.value) and reason in str(caught.value)


@pytest.mark.parametrize("name", files_of("robust"))
def test_settings_of_the_training_alone_may_have_any_name(name: str, tmp_path: Path) -> None:
    """Those that build networks may not: they would be other networks."""
    path = unpacked(f"{name}.safetensors", tmp_path)
    whole = name.startswith("defectgan-2")
    key = "config" if whole else "training"
    tree: dict[str, Any] = json.loads(header(path)[key])
    tree |= {"optim": {"renamed": 1}, "gone": {"lr": "fast"}}
    tree["data"] |= {"renamed": 1}
    assert read_info(with_header(path, {key: json.dumps(tree)})).step == 2
    key = "config" if whole else "form"
    section = "method" if name.startswith(FORMAT) else "generator"
    tree = json.loads(header(path)[key])
    tree[section] |= {"renamed": 1}
    message = rf"robust\.safetensors.* unknown setting {section}\.renamed in "
    if section == "method":
        message = r"unknown setting method\.renamed in .*robust\.safetensors"
    with pytest.raises(ModelError, match=message):
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
    path = with_header(unpacked(f"{FORMAT}-robust.safetensors", tmp_path), changes)
    with pytest.raises(ModelError, match=message):
        load_model(path)


def test_the_shipped_weights_are_read() -> None:
    info = read_info(ROOT / "sample_data" / "pcb64.safetensors")
    assert info.classes == ("normal", "brushing", "thread", "tin", "wound")
    assert info.form.view.image_size == (64, 64) and info.form.poses.rotate


def state_settings(name: str = "defectgan", **method: Any) -> Config:
    return parse_config(
        {
            "data": {"image_size": 16},
            "method": {
                "name": name,
                "width": 4,
                "residual_blocks": 0,
                "spade_hidden": 4,
                "critic_width": 4,
                "critic_layers": 2,
                "n_critic": 1,
            }
            | method,
            "training": {"steps": 3, "batch_size": 2, "judge": "classifier"},
        },
        origin="tests",
    )


def test_a_run_whose_state_is_of_a_past_format_goes_on(boards: Path, tmp_path: Path) -> None:
    job = Job(state_settings(), index_data(boards, DataConfig(classes=tuple(CLASSES))))
    folder = job.begin(tmp_path / "runs", "old")
    unpacked("defectgan-2-state.safetensors", tmp_path).rename(folder.state)
    assert go_on(folder.path).steps == 3
    assert header(folder.state)["format"] == FORMAT and read_info(folder.weights).step == 3


def past_run(form: str, folder: Path) -> RunFolder:
    """A run of format 3 that was stopped after two steps of four."""
    run = RunFolder(folder / "run")
    unpacked(f"defectgan-3-{form}-state.safetensors", run.path).rename(run.state)
    shutil.copy(FORMATS / "run" / f"{form}.yaml", run.config)
    shutil.copy(FORMATS / "run" / "split.json", run.split)
    lines = (FORMATS / "run" / f"{form}.jsonl").read_text().splitlines()
    run.stats.write_text("\n".join(lines[:2]) + "\n")
    return run


TIMES = ("seconds", "seconds_per_step", "images_per_second", "data_wait")


@pytest.mark.parametrize("form", ["defectgan", "robust"])
def test_a_run_of_the_version_before_goes_on_to_the_losses_that_it_would_have_had(
    form: str, tmp_path: Path
) -> None:
    """Settings in their old sections, optimisers, average, yardstick: all of it is taken over."""
    run, data = past_run(form, tmp_path), pieces(tmp_path / "pieces")
    job = resumed_job(run.path, {}, data=[data])
    watcher = Silent()
    assert job.run(run, device=CPU, watcher=watcher, stop=lambda: False).steps == 4
    assert not watcher.warnings
    there = read_json_lines(run.stats)
    then = read_json_lines(FORMATS / "run" / f"{form}.jsonl")
    for line, expected in zip(there, then, strict=True):
        assert line.keys() - set(TIMES) >= expected.keys() - set(TIMES)
        for name in expected.keys() - set(TIMES):
            assert line[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-4), name
    assert header(run.state)["format"] == FORMAT


def test_what_a_run_of_the_version_before_may_not_become_is_refused_by_todays_names(
    tmp_path: Path,
) -> None:
    run = past_run("robust", tmp_path)
    with pytest.raises(SettingError, match=r"method\.n_critic is 2 in .* cannot become 3"):
        resumed_job(run.path, {"method": {"n_critic": 3}}, data=[pieces(tmp_path / "pieces")])


def test_a_set_of_the_version_before_goes_on_to_the_images_that_it_would_have_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same model, in whatever format; what is missing is made again."""
    pieces(tmp_path / "pieces")
    monkeypatch.chdir(tmp_path)  # its sources were named from there
    then = rows_of(FORMATS / "set")
    for name in ("defectgan-3-robust", f"{FORMAT}-robust"):
        model = load_model(unpacked(f"{name}.safetensors", tmp_path))
        out = shutil.copytree(FORMATS / "set", tmp_path / name)
        write_json_lines(out / "manifest.jsonl", then[:1])
        (out / then[1]["output"]).unlink()
        job = GenerateJob(find_sources("pieces/good"), ("crack", "dent"), 2, 0, binary_masks=False)
        made = run_job(job, model, out, device=CPU, batch_size=2)
        assert (made.there, made.made) == (1, 1)
        row, expected = rows_of(out)[1], then[1]
        measured = ("output_sha256", "mask_sha256", "mask_area", "critic_score", "class_confidence")
        # How PNG is packed may change; a row has a number of its format now, and its kind of mask.
        changing = {*measured, "source_sha256", "torch", "defectgan", "format", "mask_kind"}
        assert {k: v for k, v in row.items() if k not in changing} == {
            k: v for k, v in expected.items() if k not in changing
        }
        assert [row[k] for k in measured[2:]] == pytest.approx(
            [expected[k] for k in measured[2:]], abs=2e-3
        )
        for kind in ("output", "mask"):
            ours, theirs = (read_picture(f / row[kind]).pixels for f in (out, FORMATS / "set"))
            assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_a_state_without_what_the_warm_up_came_to_goes_on_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    run, data = past_run("robust", tmp_path), pieces(tmp_path / "pieces")
    tensors, info = load_tensors(run.state)
    kept = {k: t for k, t in tensors.items() if not k.startswith(("yardstick", "lowest"))}
    save_tensors(run.state, kept, info)
    watcher = Silent()
    job = resumed_job(run.path, {}, data=[data])
    assert job.run(run, device=CPU, watcher=watcher, stop=lambda: False).steps == 4
    assert not run.best.exists() and NO_FEATURES in watcher.warnings


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
    path = unpacked(f"{FORMAT}-robust.safetensors", tmp_path)
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
    job = GenerateJob(sources(boards), defects, n, 0, binary_masks=False, checks=None)
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
    generator = info.method().networks()["generator"]
    tensors = with_prefix("generator", generator.state_dict())
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
    path = with_header(unpacked(f"{FORMAT}-robust.safetensors", tmp_path), {field: value})
    with pytest.raises(ModelError, match=f"cannot be read: {field} of its header is "):
        read_info(path)
