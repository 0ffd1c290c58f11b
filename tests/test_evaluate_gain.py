"""``defectgan evaluate gain`` as a person calls it."""

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
import yaml
from defectgan_cli.main import app
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from defectgan.data.index import index_data, read_split
from defectgan.errors import DataError
from defectgan.evaluation.arms import ARMS, GOOD_ONLY
from defectgan.evaluation.frozen import FROZEN
from defectgan.evaluation.gan_training import train_generator
from defectgan.evaluation.real import SplitPlan, split_real
from defectgan.files import read_json_lines, sha256
from defectgan.images import Picture, read_picture, write_picture
from defectgan.locks import held
from defectgan.methods.config import Config, load_config
from defectgan.model.file import read_info
from defectgan.networks.imagenet import weights_of
from defectgan.runs import RunFolder
from defectgan.settings.data import DataConfig
from tests.conftest import CPU, TINY, Silent

QUICK = "--steps 1 --seeds 2 --image-size 32 --batch-size 4 --net small"
GAN = "--gan-config tiny.yaml --gan-steps 2 --gan-seeds 1"
runner = CliRunner()

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture
def place(boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(boards, tmp_path / "pcb")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(line: str, *, code: int = 0) -> Any:
    result = runner.invoke(app, ["evaluate", "gain", *line.split()])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def message_of(result: Any) -> str:
    return " ".join(result.stderr.replace("│", " ").split())


def test_without_a_model_one_is_trained_on_the_training_images_and_all_is_reported(
    place: Path,
) -> None:
    line = f"--data pcb {GAN} --arms synthetic --ratio 1 --candidates 1 --out out {QUICK}"
    first = json.loads(call(f"{line} --json").stdout)
    assert first.keys() == {"says", "table", "out", "files"}
    assert [(row["arm"], row["seeds"]) for row in first["table"]] == [("real", 2), ("synthetic", 2)]
    assert {"accuracy", "macro_f1", "macro_f1_gain", "gains"} <= first["table"][1].keys()
    assert all(Path(file).is_file() for file in first["files"].values())
    split = read_split(place / "out/runs/latest/split.json")
    listed = index_data(place / "out" / "labels.csv", DataConfig())
    assert {s.file for s in split.samples} == {s.file for s in listed.samples} != set()
    assert {(s.file, s.split) for s in split.held_out} == {
        (s.file, s.split) for s in listed.held_out
    }
    results = (place / "out/classifiers/results.jsonl").read_text()
    more = call(f"{line} --seeds 3").stdout
    assert (place / "out/classifiers/results.jsonl").read_text().startswith(results)
    assert "synthetic" in more and more.strip().endswith("out/gain.html")
    assert "src='http" not in (place / "out/gain.html").read_text()


def test_generators_of_several_seeds_are_trained_one_by_one_and_told_apart(place: Path) -> None:
    line = f"--data pcb {GAN} --arms synthetic --ratio 1 --candidates 1 --out out {QUICK} --json"
    first = json.loads(call(line).stdout)["table"][1]
    weights = {run: sha256(RunFolder(run).weights) for run in runs_of(place / "out")}
    both = json.loads(call(line.replace("--gan-seeds 1", "--gan-seeds 2")).stdout)["table"][1]
    assert (first["generators"], both["generators"]) == (1, 2)
    runs = runs_of(place / "out")
    assert [load_config(RunFolder(r).config, {}).training.seed for r in runs] == [0, 1]
    assert {run: sha256(RunFolder(run).weights) for run in runs if run in weights} == weights
    rows = read_json_lines(place / "out/classifiers/results.jsonl")
    painted = [row for row in rows if row["arm"] == "synthetic"]
    assert len({row["generator"] for row in painted}) == 2 and len(painted) == 4
    named = " ".join(f"--model {run}" for run in runs)
    given = f"--data pcb {named} --arms synthetic --ratio 1 --candidates 1 --out out {QUICK}"
    before = len(rows)
    call(given)
    assert len(read_json_lines(place / "out/classifiers/results.jsonl")) == before
    assert "the same weights" in message_of(call(f"{given} --model {runs[0]}", code=3))


def runs_of(out: Path) -> list[Path]:
    return sorted(path for path in (out / "runs").iterdir() if not path.is_symlink())


def test_a_generator_that_would_go_on_with_other_images_is_refused(
    place: Path, tiny: Config
) -> None:
    one, other = (split_real(Path("pcb"), tiny.data, SplitPlan(0.3, 0.3, shots=n)) for n in (1, 2))
    options: Any = {"device": CPU, "watcher": Silent(), "stop": lambda: False}
    longer = tiny.model_copy(update={"training": tiny.training.model_copy(update={"steps": 8})})
    run = train_generator(one, tiny, place / "out", **options)
    assert run is not None and train_generator(one, tiny, place / "out", **options) == run
    for config in (tiny, longer):
        with pytest.raises(DataError, match="other images than the split says"):
            train_generator(other, config, place / "out", **options)
    assert read_info(RunFolder(run).weights).step == tiny.training.steps


@pytest.mark.slow
def test_a_run_that_held_the_same_images_out_is_taken_and_another_refused(place: Path) -> None:
    train = ["train", "--data", "pcb", "--config", "tiny.yaml", "--steps", "2"]
    runner.invoke(app, [*train, "--holdout", "0.3", "--val-fraction", "0.2"])
    fair = (place / "runs" / "latest").resolve()
    call(f"--data pcb --model latest --arms synthetic --ratio 1 {QUICK}")
    runner.invoke(app, train)
    refused = call(f"--data pcb --model runs/latest --arms synthetic {QUICK}", code=3)
    assert "has seen" in message_of(refused) and "of the test images" in message_of(refused)
    alone = place / "alone.safetensors"
    shutil.copy(fair / "weights/last.safetensors", alone)
    refused = call(f"--data pcb --model alone.safetensors --arms synthetic {QUICK}", code=3)
    assert "nobody can tell" in message_of(refused)
    trusted = "--model alone.safetensors --trust-model"
    call(f"--data pcb {trusted} --arms synthetic --ratio 1 --candidates 1 {QUICK}")


def test_what_is_added_can_be_chosen_among_candidates(place: Path) -> None:
    line = f"--data pcb {GAN} --arms synthetic --ratio 1 --out out {QUICK}"
    for candidates in (3, 2):
        call(f"{line} --candidates {candidates}")
        assert json.loads((place / "out/gain.json").read_text())["candidates"] == candidates
    made = [json.loads(job.read_text()) for job in place.glob("out/generated/*/*/job.json")]
    assert sorted({job["candidates"] for job in made}) == [2, 3]
    rows = read_json_lines(place / "out/classifiers/results.jsonl")
    assert sorted(row["candidates"] for row in rows if row["generator"]) == [2, 2, 3, 3]


def test_how_many_images_are_added_is_chosen_without_a_look_at_test_images(place: Path) -> None:
    line = f"--data pcb {GAN} --ratio 0.5 1 --arms classical+synthetic --out out {QUICK} --json"
    table = json.loads(call(line).stdout)["table"]
    tried = read_json_lines(place / "out/choice/results.jsonl")
    kinds = {(row["arm"], row["ratio"], row["candidates"]) for row in tried}
    asked = [("classical+synthetic", ratio, n) for ratio in (0.5, 1) for n in (1, 8)]
    assert kinds == {("classical", 0, 0), *asked}
    assert not any("accuracy" in row for row in tried)
    for row in tried:
        assert load_file(place / "out/choice" / row["predictions"]).keys() == {"val"}
    best = max(row["val"] for row in tried if row["ratio"])
    (chosen,) = {row["ratio"] for row in table if row["ratio"]}
    assert chosen in {row["ratio"] for row in tried if row["val"] == best}
    tested = read_json_lines(place / "out/classifiers/results.jsonl")
    assert {row["ratio"] for row in tested} == {0, chosen}
    told = json.loads((place / "out/gain.json").read_text())["chosen on validation images"]
    assert told.startswith(f"{chosen:g} images for each real one")


@pytest.mark.slow
@pytest.mark.skipif(weights_of("lite2") is None, reason="the extra features is not installed")
@pytest.mark.long
def test_one_command_gives_the_whole_report(place: Path) -> None:
    """Both networks, the detector, the choice, and the guard."""
    line = f"--data pcb {GAN} --ratio 1 2 --shots 1 --out out {QUICK} --json"
    made = json.loads(call(line.replace(" --net small", "")).stdout)
    kinds = {(row["net"], row["arm"]) for row in made["table"]}
    arms = {name for name in ARMS if name not in ("synthetic", "procedural", GOOD_ONLY)}
    assert kinds == {(net, arm) for net in ("small", FROZEN) for arm in arms} | {
        (FROZEN, GOOD_ONLY)
    }
    tried = read_json_lines(place / "out/choice/results.jsonl")
    assert {row["net"] for row in tried} == {FROZEN}
    page = Path(made["files"]["html"]).read_text()
    assert html.escape(made["says"][0]) in page and "good parts alone" in made["says"][-2]
    harms = made["says"][0].startswith("Do not add")
    code = 4 if harms else 0
    again = call(f"{line.replace(' --net small', '')} --fail-on harm", code=code)
    assert ("Do not add these images" in again.stderr) == harms


def test_arms_without_a_generator_may_come_first_and_one_test_at_a_time_is_in_a_folder(
    place: Path,
) -> None:
    call(f"--data pcb --arms classical --out out {QUICK}")
    results = (place / "out/classifiers/results.jsonl").read_text()
    line = f"--data pcb {GAN} --ratio 1 --candidates 1 --out out {QUICK}"
    call(f"{line} --arms classical+synthetic")
    more = (place / "out/classifiers/results.jsonl").read_text()
    assert more.startswith(results) and more.count('"arm": "classical+synthetic"') == 2
    line = f"--data pcb --arms procedural --out out {QUICK}"
    with held(place / "out"):
        assert "another job is at work in out" in message_of(call(line, code=3))
    call(line)


def test_a_damaged_image_is_found_before_a_generator_is_trained(place: Path) -> None:
    """Its head and its end are sound."""
    victim = place / "pcb/tin/0000.png"
    whole = victim.read_bytes()
    middle = len(whole) // 2
    victim.write_bytes(whole[:middle] + bytes(20) + whole[middle + 20 :])
    line = f"--data pcb {GAN} --arms synthetic --out out {QUICK}"
    assert "0000.png is damaged" in message_of(call(line, code=3))
    assert not (place / "out/runs").exists()


def test_the_classes_are_those_of_the_model_and_none_that_it_does_not_know(place: Path) -> None:
    train = ["train", "--data", "pcb", "--config", "tiny.yaml", "--steps", "2"]
    runner.invoke(app, [*train, "--holdout", "0.3", "--val-fraction", "0.2"])
    shutil.copytree(place / "pcb/tin", place / "pcb/new")
    for file in (place / "pcb/new").iterdir():
        picture = read_picture(file)
        write_picture(file, replace(picture, pixels=picture.pixels[::-1].copy()))
    line = f"--data pcb --model latest --arms synthetic --ratio 1 --candidates 1 {QUICK}"
    table = json.loads(call(f"{line} --json").stdout)["table"]
    recall = table[0]["figures"]["recall"]
    assert "tin" in recall and "new" not in recall
    assert "has no defect class new" in message_of(call(f"{line} --classes new --out o", code=3))
    assert not (place / "o/generated").exists()


def test_candidates_are_chosen_by_validation_and_images_as_they_come_by_request(
    place: Path,
) -> None:
    def candidates(line: str, out: str) -> Any:
        call(f"--data pcb {line} --ratio 1 --out {out} {QUICK}")
        return json.loads((place / out / "gain.json").read_text()).get("candidates")

    train = ["train", "--data", "pcb", "--config", "tiny.yaml", "--steps", "2"]
    runner.invoke(app, [*train, "--holdout", "0.3", "--val-fraction", "0.2"])
    runner.invoke(app, ["export", "--format", "safetensors", "--out", "alone"])
    alone = "--model alone/generator.safetensors --trust-model"
    chosen = candidates("--model latest --arms synthetic", "chosen")
    tried = read_json_lines(place / "chosen/choice/results.jsonl")
    assert sorted(row["candidates"] for row in tried) == [0, 1, 8] and chosen in (1, 8)
    refused = call(f"--data pcb {alone} --arms synthetic --out no {QUICK}", code=3)
    assert "to test images as they come: --candidates 1" in message_of(refused)
    assert not (place / "no").exists()
    assert candidates(f"{alone} --candidates 1 --arms synthetic", "plain") == 1
    assert candidates("--arms real", "without") is None
    refused = call(f"--data pcb {alone} --candidates 2 --arms synthetic --out no {QUICK}", code=3)
    assert "the generator alone" in message_of(refused)


def test_classes_and_the_rule_of_pieces_are_those_of_the_settings_or_of_the_run(
    place: Path,
) -> None:
    """Two good boards each show one piece; a class is left out."""
    for name in ("normal", "thread", "tin", "wound"):
        for file in sorted((place / "pcb" / name).iterdir()):
            number = int(file.stem) // (2 if name == "normal" else 1)
            file.rename(file.with_name(f"{file.stem}-{name}{number}.png"))
    rule = r"-(\w+)\.png"
    data = {"classes": ["thread", "tin", "wound"], "group_regex": rule}
    settings = TINY | {"data": TINY["data"] | data}
    (place / "ruled.yaml").write_text(yaml.safe_dump(settings))
    line = f"--data pcb --arms synthetic --ratio 1 {QUICK} --holdout 0.3 --val-fraction 0.3"
    call(f"{line} {GAN.replace('tiny', 'ruled')} --out first")
    call(f"{line} --model first/runs/latest --out second")
    for out in ("first", "second"):
        made = json.loads((place / out / "gain.json").read_text())
        assert list(made["images"]["train"]) == ["normal", "thread", "tin", "wound"]
        assert made["split"]["group_regex"] == rule
        assert f"group_regex {rule}" in (place / out / "gain.md").read_text()
    tables = [(place / out / "labels.csv").read_text() for out in ("first", "second")]
    assert tables[0] == tables[1]
    pieces = re.findall(r"(normal\d)\.png,,.*?,(\w+),", tables[0])
    assert len(pieces) == 6 and len(set(pieces)) == 3


def test_segmenters_learn_from_painted_procedural_and_true_masks(place: Path) -> None:
    quick = QUICK.replace(" --net small", "")
    line = f"--data pcb {GAN} --segmentation --out out {quick}"
    made = json.loads(call(f"{line} --json").stdout)
    kinds = [(row["arm"], row["baseline"]) for row in made["table"]]
    assert kinds == [("procedural", None), ("synthetic", "procedural"), ("true", None)]
    assert all(0 <= row["ap"] <= 1 and 0 <= row["iou"] <= 1 for row in made["table"])
    assert made["table"][0]["class_ap"].keys() == {"brushing", "thread", "tin", "wound"}
    for row in made["table"]:
        value, low, high = row["figures"]["ap"][""]
        assert value == pytest.approx(row["ap"]) and low <= value <= high
    assert made["table"][1]["gains"].keys() == {"iou", "ap"}
    assert "luck of its training" in (place / "out/segmentation.md").read_text()
    assert call(line).stdout.strip().endswith("out/segmentation.md")
    shutil.rmtree(place / "pcb" / "masks")
    # Black masks, also of good images, are no better than none.
    for file in (place / "pcb").glob("*/*.png"):
        black = Picture(np.zeros((48, 48, 1), np.uint8))
        write_picture(place / "pcb" / "masks" / file.relative_to(place / "pcb"), black)
    for _ in range(2):
        before = sorted(place.rglob("*"))
        refused = message_of(call(f"--data pcb {GAN} --segmentation", code=3))
        assert "has a true mask that shows anything at 64 x 64 pixels" in refused
        assert sorted(place.rglob("*")) == before
        shutil.rmtree(place / "pcb" / "masks", ignore_errors=True)


def test_segmenters_need_no_validation_images_and_classifiers_do(place: Path) -> None:
    quick = QUICK.replace(" --net small", "")
    line = f"--data pcb {GAN} --val-fraction 0 --out out {quick}"
    assert "no val images" in message_of(call(line, code=3))
    made = json.loads(call(f"{line} --segmentation --json").stdout)
    assert [row["arm"] for row in made["table"]] == ["procedural", "synthetic", "true"]
    assert json.loads((place / "out/segmentation.json").read_text())["images"]["val"]["tin"] == 0


def test_weights_of_another_network_are_named_before_anything_is_made(place: Path) -> None:
    save_file({"x": torch.zeros(1)}, place / "other.safetensors")
    before = sorted(place.rglob("*"))
    refused = call("--data pcb --net resnet18 --net-weights other.safetensors", code=3)
    assert "other.safetensors holds weights of another network" in message_of(refused)
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("", 2, "Missing option"),
        ("--data nowhere", 3, "found nothing"),
        ("--data pcb --arms magic", 2, "no arm magic"),
        ("--data pcb --net vgg", 2, "no network vgg: expected small"),
        ("--data pcb --image-size 50", 2, "cannot see the size 50"),
        ("--data pcb --ratio 0", 2, "0.01"),
        ("--data pcb --ratio 1 half", 2, "--ratio 1 half: expected auto, or numbers"),
        ("--data pcb --segmentation --ratio 1 2", 2, "nothing is chosen for segmenters"),
        ("--data pcb --arms classical+more-real", 2, "left out for fewer shots"),
        ("--data pcb --arms good-only --net small", 2, "fixed features of the network frozen"),
        ("--data pcb --arms real --gan-seeds 2", 2, "--gan-seeds is for generated images"),
        ("--data pcb --model x.safetensors --gan-seeds 2", 2, "trained already"),
        ("--data pcb --val-from moon", 2, "moon"),
        ("--data pcb --holdout 0", 3, "no test images"),
        ("--data pcb --model x.safetensors --gan-steps 3", 2, "trained already"),
        ("--data pcb --segmentation --net small", 2, "--net is for classifiers"),
        ("--data pcb --val-fraction 20", 2, "0.9"),
        ("--data pcb --arms procedural --gan-steps 3", 2, "--gan-steps is for generated images"),
        ("--data pcb --arms real --trust-model", 2, "--trust-model is for generated images"),
        ("--data pcb --arms real --candidates 2", 2, "--candidates is for generated images"),
        ("--data pcb --trust-model", 2, "--trust-model is for a model that you have"),
        ("--data pcb --model latest", 3, "no run under"),
        ("--data pcb --model x.safetensors", 3, "no weights at"),
    ],
)
def test_an_error_is_one_message_with_the_right_exit_code(
    line: str, code: int, message: str, place: Path
) -> None:
    result = call(line, code=code)
    assert message in message_of(result) and "Traceback" not in result.stderr
    assert result.stdout == "" and not (place / "evaluation").exists()


def test_help_explains_each_option_and_ends_with_an_example() -> None:
    assert "Example: defectgan evaluate gain" in " ".join(call("--help").stdout.split())
    group = typer.main.get_command(app).commands["evaluate"]  # type: ignore[attr-defined]
    described = group.commands["gain"].params
    assert all(parameter.help for parameter in described if parameter.name != "help")
