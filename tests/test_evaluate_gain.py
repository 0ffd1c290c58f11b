"""``defectgan evaluate gain`` as a person calls it."""

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
from safetensors.torch import save_file
from typer.testing import CliRunner

from defectgan.config import Config, DataConfig
from defectgan.data.index import index_data, read_split
from defectgan.errors import DataError
from defectgan.evaluation.generator import train_generator
from defectgan.evaluation.real import SplitPlan, split_real
from defectgan.images import Picture, read_picture, write_picture
from defectgan.runs import RunFolder
from defectgan.training.checkpoint import read_info
from tests.conftest import CPU, TINY, Silent

QUICK = "--steps 1 --seeds 2 --image-size 32 --batch-size 4"
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
    line = f"--data pcb --gan-config tiny.yaml --gan-steps 2 --arms synthetic --out out {QUICK}"
    first = json.loads(call(f"{line} --json").stdout)
    assert first.keys() == {"table", "out", "files"}
    assert [(row["arm"], row["seeds"]) for row in first["table"]] == [("real", 2), ("synthetic", 2)]
    assert {"accuracy", "macro_f1", "macro_f1_gain", "macro_f1_p"} <= first["table"][1].keys()
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
    assert "synthetic" in more and more.strip().endswith("out/gain.md")
    before = {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}
    refused = message_of(call(line.replace("--gan-steps 2", "--gan-steps 3"), code=2))
    assert "generated is there already" in refused and "nothing was trained" in refused
    assert {file: file.read_bytes() for file in place.rglob("*") if file.is_file()} == before


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
    call(f"--data pcb --model latest --arms synthetic {QUICK}")
    runner.invoke(app, train)
    refused = call(f"--data pcb --model runs/latest --arms synthetic {QUICK}", code=3)
    assert "has seen" in message_of(refused) and "of the test images" in message_of(refused)
    alone = place / "alone.safetensors"
    shutil.copy(fair / "weights/last.safetensors", alone)
    refused = call(f"--data pcb --model alone.safetensors --arms synthetic {QUICK}", code=3)
    assert "nobody can tell" in message_of(refused)
    call(f"--data pcb --model alone.safetensors --trust-model --arms synthetic {QUICK}")


def test_what_is_added_can_be_chosen_among_candidates(place: Path) -> None:
    line = f"--data pcb --gan-config tiny.yaml --gan-steps 2 --arms synthetic --out out {QUICK}"
    call(f"{line} --candidates 3")
    made = [json.loads(job.read_text()) for job in place.glob("out/generated/*/*/job.json")]
    assert made and all(job["candidates"] == 3 for job in made)
    assert json.loads((place / "out/gain.json").read_text())["candidates"] == 3
    assert "with another generator, or with other images by it" in message_of(call(line, code=3))


def test_arms_without_a_generator_may_come_first(place: Path) -> None:
    call(f"--data pcb --arms classical --out out {QUICK}")
    results = (place / "out/classifiers/results.jsonl").read_text()
    line = f"--data pcb --gan-config tiny.yaml --gan-steps 2 --out out {QUICK}"
    call(f"{line} --arms classical+synthetic")
    more = (place / "out/classifiers/results.jsonl").read_text()
    assert more.startswith(results) and more.count('"model_sha256"') == 2
    call(f"--data pcb --arms procedural --out out {QUICK}")


def test_a_damaged_image_is_found_before_a_generator_is_trained(place: Path) -> None:
    """Its head and its end are sound."""
    victim = place / "pcb/tin/0000.png"
    whole = victim.read_bytes()
    middle = len(whole) // 2
    victim.write_bytes(whole[:middle] + bytes(20) + whole[middle + 20 :])
    line = f"--data pcb --gan-config tiny.yaml --arms synthetic --out out {QUICK}"
    assert "0000.png is damaged" in message_of(call(line, code=3))
    assert not (place / "out/runs").exists()


def test_the_classes_are_those_of_the_model_and_none_that_it_does_not_know(place: Path) -> None:
    train = ["train", "--data", "pcb", "--config", "tiny.yaml", "--steps", "2"]
    runner.invoke(app, [*train, "--holdout", "0.3", "--val-fraction", "0.2"])
    shutil.copytree(place / "pcb/tin", place / "pcb/new")
    for file in (place / "pcb/new").iterdir():
        picture = read_picture(file)
        write_picture(file, replace(picture, pixels=picture.pixels[::-1].copy()))
    line = f"--data pcb --model latest --arms synthetic {QUICK}"
    table = json.loads(call(f"{line} --json").stdout)["table"]
    assert "tin" in table[0]["recall"] and "new" not in table[0]["recall"]
    assert "has no defect class new" in message_of(call(f"{line} --classes new --out o", code=3))
    assert not (place / "o/generated").exists()


def test_images_as_they_come_are_tested_only_where_that_is_asked_for(
    place: Path,
) -> None:
    def candidates(line: str, out: str) -> Any:
        call(f"--data pcb {line} --out {out} {QUICK}")
        return json.loads((place / out / "gain.json").read_text()).get("candidates")

    train = ["train", "--data", "pcb", "--config", "tiny.yaml", "--steps", "2"]
    runner.invoke(app, [*train, "--holdout", "0.3", "--val-fraction", "0.2"])
    runner.invoke(app, ["export", "--format", "safetensors", "--out", "alone"])
    alone = "--model alone/generator.safetensors --trust-model"
    assert candidates("--model latest --arms synthetic", "chosen") == 8
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
    line = f"--data pcb --arms synthetic {QUICK} --holdout 0.3 --val-fraction 0.3"
    call(f"{line} --gan-config ruled.yaml --gan-steps 2 --out first")
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
    gan = "--gan-config tiny.yaml --gan-steps 2"
    line = f"--data pcb {gan} --segmentation --out out {QUICK}"
    made = json.loads(call(f"{line} --json").stdout)
    kinds = [(row["arm"], row["baseline"]) for row in made["table"]]
    assert kinds == [("procedural", None), ("synthetic", "procedural"), ("true", None)]
    assert all(0 <= row["ap"] <= 1 and 0 <= row["iou"] <= 1 for row in made["table"])
    assert made["table"][0]["class_ap"].keys() == {"brushing", "thread", "tin", "wound"}
    assert call(line).stdout.strip().endswith("out/segmentation.md")
    shutil.rmtree(place / "pcb" / "masks")
    # Black masks, also of good images, are no better than none.
    for file in (place / "pcb").glob("*/*.png"):
        black = Picture(np.zeros((48, 48, 1), np.uint8))
        write_picture(place / "pcb" / "masks" / file.relative_to(place / "pcb"), black)
    for _ in range(2):
        before = sorted(place.rglob("*"))
        refused = message_of(call(f"--data pcb {gan} --segmentation", code=3))
        assert "has a true mask that shows anything at 64 x 64 pixels" in refused
        assert sorted(place.rglob("*")) == before
        shutil.rmtree(place / "pcb" / "masks", ignore_errors=True)


def test_segmenters_need_no_validation_images_and_classifiers_do(place: Path) -> None:
    line = f"--data pcb --gan-config tiny.yaml --gan-steps 2 --val-fraction 0 --out out {QUICK}"
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
