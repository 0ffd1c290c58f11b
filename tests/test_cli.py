"""The commands as a person calls them, each in a process of its own where the exit code matters."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from defectgan_cli.main import app
from typer.testing import CliRunner

from defectgan import __version__
from defectgan.images import Picture, write_picture
from defectgan.manifest import read_manifest
from defectgan.methods.registry import method_named
from defectgan.settings.load import preset_folder
from defectgan.training import watch
from tests.conftest import CLASSES, TINY, VISIBLE, wait_for

COMMANDS = ("train", "generate", "inspect-masks", "export")
DEFECTGAN = str(Path(sys.executable).parent / "defectgan")
runner = CliRunner()

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture
def place(boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with ./pcb, imgs/ and a tiny configuration, where commands run."""
    shutil.copytree(boards, tmp_path / "pcb")
    shutil.copytree(boards / "normal", tmp_path / "imgs")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(VISIBLE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEFECTGAN_CONFIG", "tiny.yaml")
    return tmp_path


def call(line: str, *, code: int = 0) -> Any:
    result = runner.invoke(app, line.split())
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def result_of(line: str) -> dict[str, Any]:
    return dict(json.loads(call(f"{line} --json").stdout))


@pytest.mark.slow
def test_the_four_lines_work_exactly_as_written(place: Path) -> None:
    call("train --data ./pcb --classes thread brushing tin wound")
    call("generate --normal imgs/ --defect brushing --n 500")
    call("inspect-masks")
    call("export")
    (generated,) = (place / "generated").iterdir()
    assert len(list((generated / "images" / "brushing").glob("*.png"))) == 500
    assert len(list((generated / "masks" / "brushing").glob("*.png"))) == 500
    run = (place / "runs" / "latest").resolve()
    assert (run / "inspection" / "contact_sheet.png").is_file()
    assert (run / "export" / "generator.onnx").is_file()


def test_json_of_every_command_has_the_keys_that_scripts_rely_on(place: Path) -> None:
    trained = result_of("train --data pcb")
    assert trained.keys() == {"run", "weights", "steps", "seconds", "images_per_second"}
    assert trained["steps"] == 6 and Path(trained["weights"]).is_file()
    made = result_of("generate --normal imgs --n 4 --out made")
    assert made.keys() == {
        *("out", "into", "formats", "manifest", "images", "made", "candidates", "doubted"),
        *("rejected", "given_up"),
        "seconds",
    }
    assert (made["images"], made["made"], made["candidates"], made["rejected"]) == (4, 4, 8, 0)
    looked = result_of("inspect-masks made")
    assert looked.keys() == {"report", "contact_sheet", "summary"}
    assert {"images", "area", "empty", "flagged"} <= looked["summary"]["tin"].keys()
    exported = result_of("export --format safetensors")
    assert exported["files"][0].keys() == {"path", "format", "max_difference"}


def test_a_job_that_falls_short_ends_with_code_4_and_says_what_is_missing(place: Path) -> None:
    call("train --data pcb")
    line = "generate --normal imgs --n 4 --defect tin wound --out made --min-area 1.0"
    said = call(line, code=4).output
    assert "made 0 of 4 images, 2 of tin, 2 of wound are missing" in " ".join(said.split())
    assert (place / "made" / "rejected.jsonl").is_file()


def test_places_sizes_numbers_and_strength_are_taken_from_the_line(place: Path) -> None:
    call("train --data pcb")
    call(
        "generate --normal imgs --n 3 --where 8,8,40,40 --forbidden 0.,0.,1.,0.3 --size 10..14 "
        "--count-per-image 2 --defect tin --defect wound --together --strength 1.5 --out made"
    )
    for row in read_manifest(place / "made"):
        assert [one.defect for one in row.instances] == ["tin", "wound", "tin", "wound"]
        assert row.strength == 1.5 and row.defect == "tin+wound"
        for left, top, width, height in (one.region or (0, 0, 0, 0) for one in row.instances):
            assert left >= 8 and top >= 14 and left + width <= 48 and top + height <= 48
            assert 10 <= width <= 14 and 10 <= height <= 14
    wrong = call("generate --normal imgs --where learned --out other", code=3).output
    assert "of the method robust" in " ".join(wrong.split())


def test_flags_end_with_code_4_after_the_result_unless_few_enough(place: Path) -> None:
    call("train --data pcb")
    call("generate --normal imgs --defect tin --n 4 --out made")
    first, second, *_ = sorted((place / "made/images/tin").iterdir())
    shutil.copy(first, second)
    result = call("inspect-masks made --fail-on duplicate,empty --json", code=4)
    assert json.loads(result.stdout)["summary"]["tin"]["flags"]["duplicate"] == 2
    flat = " ".join(result.stderr.replace("│", " ").split())
    assert "2 of 4 images (50.0%) are flagged duplicate or empty; 0.0% may be" in flat
    call("inspect-masks made --fail-on duplicate empty --max-flagged 0.5")


def test_the_terminal_calls_measures_as_the_report_does_and_names_each_flag(place: Path) -> None:
    call("train --data pcb")
    said = call("inspect-masks").stdout
    header, *_ = said.splitlines()
    assert header.split("  ")[0] == "class" and "_" not in header
    assert all(name in header for name in ("parts", "at border", "alike"))
    assert all(name in said for name in ("best IoU", "pixel AP", "pixel AUROC"))
    call("generate --normal imgs --defect tin --n 4 --out made")
    first, second, *_ = sorted((place / "made/images/tin").iterdir())
    shutil.copy(first, second)
    said = call("inspect-masks made").stdout
    assert "\nduplicate 2 of 4: another image has the same content\n" in said


def test_a_calibrated_threshold_is_the_default_afterwards(place: Path) -> None:
    call("train --data pcb")
    said = call("inspect-masks --calibrate").stderr
    threshold = said.split("opacity above ")[1].split()[0]
    call("inspect-masks --data pcb --out again")
    assert json.loads((place / "again/summary.json").read_text())["thresholds"] == {
        name: float(threshold) for name in CLASSES
    }


@pytest.mark.slow
def test_windows_of_another_shape_are_trained_painted_inspected_and_exported(place: Path) -> None:
    call("train --data pcb --image-size 32x48 --crop-to-defect 24")
    call("generate --normal imgs --n 4 --out made")
    rows = [json.loads(line) for line in (place / "made/manifest.jsonl").read_text().splitlines()]
    assert all(row["window"][2:] == [36, 24] for row in rows)
    call("inspect-masks")
    call("export")


def test_windows_are_refused_beside_another_fit(place: Path) -> None:
    result = call("train --data pcb --fit letterbox --crop-to-defect 24", code=2)
    assert "crop_size 24 is of use with the fit crop alone" in " ".join(result.stderr.split())


def test_a_dry_run_says_what_would_happen_and_makes_nothing(place: Path) -> None:
    plan = result_of("train --data pcb --classes tin --dry-run")
    assert {"layout", "classes", "skipped", "split", "parameters", "out"} <= plan.keys()
    assert plan["classes"] == {"normal": 6, "tin": 4} and plan["parameters"]["generator"] > 0
    assert (plan["preset"], plan["device"], plan["batch_size"]) == ("tiny.yaml", "cpu", 4)
    assert plan["masks"] == 4 and plan["sizes"] == {"48 wide, 48 high, 8 bits": 10}
    assert not (place / "runs").exists()


def test_people_read_a_plan_line_by_line(place: Path) -> None:
    (place / "pcb/tin/bad.png").touch()
    said = call("train --data pcb --classes tin --image-size 32x48 --dry-run --device cpu").stdout
    lines = dict(line.split("  ", 1) for line in said.splitlines())
    facts = {name: text.strip() for name, text in lines.items()}
    assert facts["images"] == "normal 6, tin 4" and facts["true masks"] == "of 4 images"
    assert facts["sizes"] == "10 of 48 wide, 48 high, 8 bits" and facts["left out"] == "1 file"
    assert facts["networks see"] == "48 wide, 32 high, 3 channels, fit resize"
    assert facts["steps"] == "6, after at most 2 of the classifier alone"
    assert not {"{", "[", "("} & set(said) and max(map(len, said.splitlines())) < 100


def test_the_command_line_wins_over_the_environment_and_this_over_the_file(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps(line: str = "") -> int:
        return int(result_of(f"train --data pcb --dry-run {line}")["steps"])

    assert steps() == 6
    monkeypatch.setenv("DEFECTGAN_STEPS", "30")
    assert steps() == 30
    assert steps("--steps 40") == 40


def test_classes_with_few_images_are_named(place: Path) -> None:
    said = call("train --data pcb --classes tin --dry-run").stderr
    assert "fewer than 10 images to learn from, normal 6, tin 4: --config small-data" in said
    said = call("train --data pcb --classes tin --config small-data --dry-run").stderr
    assert "images to learn from, normal 6, tin 4\n" in said


def test_the_preset_is_quick_on_a_cpu_and_that_is_said(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEFECTGAN_CONFIG")
    result = call("train --data pcb --dry-run --device cpu")
    assert "preset quick" in result.stderr


@pytest.mark.slow
def test_a_run_is_resumed_by_name_or_as_the_newest(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = result_of("train --data pcb")
    monkeypatch.delenv("DEFECTGAN_CONFIG")
    assert result_of("train --resume --steps 7")["run"].endswith(Path(first["run"]).name)
    assert result_of(f"train --resume {first['run']} --steps 8")["steps"] == 8


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("train", 2, "no data"),
        ("train --data pcb --steps 0", 2, "training.steps: found 0"),
        ("generate --normal imgs --batch-size 0", 2, "greater than or equal to 1"),
        ("generate --normal imgs --n 0", 2, "greater than or equal to 1"),
        ("train --data pcb --device tpu", 2, "no device tpu here"),
        ("train --data nowhere", 3, "found nothing"),
        ("train --data pcb --classes dent", 3, "no class dent"),
        ("generate --normal imgs", 3, "train one first"),
        ("generate --n 4", 3, "train one first"),
        ("inspect-masks imgs", 3, "train one first"),
        ("inspect-masks --fail-on blurry", 2, "no flag blurry: expected empty"),
        ("inspect-masks nowhere", 3, "found nothing at nowhere"),
        ("export --model nowhere.safetensors", 3, "no weights at"),
    ],
)
def test_an_error_is_one_message_with_the_right_exit_code(
    line: str, code: int, message: str, place: Path
) -> None:
    result = call(line, code=code)
    flat = " ".join(result.stderr.replace("│", " ").split())
    assert message in flat and "Traceback" not in flat
    assert result.stdout == ""


def test_a_refusal_names_the_option_that_helps_where_the_command_has_it(place: Path) -> None:
    def said(line: str) -> str:
        return " ".join(call(line, code=3).stderr.replace("│", " ").split())

    (place / "pcb/normal").rename(place / "pcb/gut")
    assert "the name of the one with good images: --normal-class NAME" in said("train --data pcb")
    weights = Path(__file__).parent.parent / "sample_data/pcb64.safetensors"
    inspect = f"inspect-masks --model {weights}"
    assert "real images to try them on: --data FOLDER" in said(inspect)
    assert "--normal-class" not in said(f"{inspect} --data pcb")


def test_all_folders_without_images_are_named_at_once_with_the_way_out(place: Path) -> None:
    (place / "pcb/empty").mkdir()
    (place / "pcb/notes").mkdir()
    (place / "pcb/notes/read.me").touch()
    flat = " ".join(call("train --data pcb", code=3).stderr.replace("│", " ").split())
    assert "no images in class empty of pcb" in flat and "no images in class notes" in flat
    way_out = "--classes brushing thread tin wound"
    assert f"remove them, or name the classes to learn: {way_out}" in flat
    call(f"train --data pcb {way_out} --dry-run")


def test_the_traceback_is_there_for_those_who_ask(place: Path) -> None:
    result = runner.invoke(app, ["train", "--data", "nowhere", "--debug"])
    assert type(result.exception).__name__ == "DataError"


def test_quiet_leaves_the_result_alone(place: Path) -> None:
    result = call("train --data pcb --quiet")
    assert result.stdout.startswith("weights: ")
    assert "run folder" not in result.stderr and "step 6/6" not in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_explains_each_option_and_ends_with_an_example(
    command: str,
) -> None:
    text = call(f"{command} --help").stdout
    assert f"defectgan {command}" in text and "Example" in text
    group: Any = typer.main.get_command(app)
    (described,) = [c for c in group.commands.values() if c.name == command]
    assert all(parameter.help for parameter in described.params if parameter.name != "help")


def test_brackets_of_a_help_text_are_shown() -> None:
    assert "pip install 'defectgan[onnx]'" in call("export --help").stdout


def test_the_version_is_printed() -> None:
    assert call("--version").stdout == f"defectgan {__version__}\n"


@pytest.mark.slow
def test_an_interrupted_training_saves_and_says_how_to_go_on(place: Path) -> None:
    arguments = [DEFECTGAN, "train", "--data", "pcb", "--steps", "100000"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (place / "runs" / "latest" / "stats.jsonl").is_file())
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 130
    assert "go on with: defectgan train --resume" in " ".join(said.split())
    assert (place / "runs" / "latest" / "state.safetensors").is_file()


@pytest.mark.slow
def test_a_batch_system_that_ends_generate_is_told_how_to_go_on(place: Path) -> None:
    """SIGTERM is what it sends, where a person presses Ctrl-C."""
    model = Path(__file__).parent.parent / "sample_data" / "pcb64.safetensors"
    command = [DEFECTGAN, "generate", "--model", str(model)]
    arguments = [*command, "--normal", "imgs", "--n", "100000", "--out", "made"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        manifest = place / "made" / "manifest.jsonl"
        wait_for(lambda: manifest.is_file() and manifest.stat().st_size)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 130
    assert "the same command with --out made goes on" in " ".join(said.split())


def test_a_reader_that_leaves_ends_a_command_quietly(place: Path) -> None:
    command = [DEFECTGAN, "train", "--data", "pcb", "--dry-run"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, "--quiet"], stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read().decode()
    assert process.returncode == 141 and "ipe" not in said


def test_help_answers_at_once() -> None:
    """Torch alone takes longer to import than all of help may: it must not be imported for it."""
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(
        [DEFECTGAN, "--help"], capture_output=True, text=True, env=environment, check=True
    )
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "numpy", "albumentations", "pydantic"}


def test_a_preview_shows_each_class_as_the_networks_see_it(place: Path) -> None:
    from PIL import Image

    call("train --data pcb --dry-run --preview sheet.png")
    with Image.open(place / "sheet.png") as sheet:
        assert sheet.size == (8 * 34 - 2, 5 * 34 - 2)
        rows = [np.asarray(sheet.crop((0, y, 270, y + 32))) for y in range(0, 5 * 34, 34)]
    red = [(row == (255, 0, 0)).all(axis=2).sum() for row in rows]
    assert red[0] == 0 and min(red[1:]) > 8  # the masks of defects are outlined
    assert not (place / "runs").exists()
    assert "add --dry-run" in call("train --data pcb --preview sheet.png", code=2).output


def test_a_plan_tells_layout_splits_and_what_is_left_out(place: Path) -> None:
    (place / "pcb" / "tin" / "bad.png").touch()
    plan = result_of("train --data pcb --dry-run --val-fraction 0.5")
    assert plan["layout"] == "folders"
    assert plan["split"] == {"train": 11, "val": 11}
    assert [Path(row["file"]).name for row in plan["skipped"]] == ["bad.png"]
    call("train --data pcb --dry-run --strict", code=3)


def test_a_training_writes_down_what_it_left_out(place: Path) -> None:
    (place / "pcb" / "tin" / "bad.png").touch()
    run = Path(result_of("train --data pcb")["run"])
    assert "bad.png is empty" in (run / "skipped.jsonl").read_text()
    assert "bad.png" in (run / "log.txt").read_text()


def test_a_finished_set_is_completed_and_says_what_was_there(place: Path) -> None:
    call("train --data pcb")
    line = "generate --normal imgs --defect tin --n 4 --out made"
    assert call(line).stdout == "4 images: made\n"
    (victim, *_) = sorted((place / "made/images/tin").iterdir())
    assert call(line).stdout == "nothing to make: 4 images there already: made\n"
    victim.unlink()
    looked = call("inspect-masks made")
    assert "1 of the 4 images that made/manifest.jsonl names is missing" in looked.stderr
    assert call(line).stdout == "4 images, 3 were there already: made\n"
    assert victim.is_file()


def test_the_candidates_are_those_of_gain_wherever_the_weights_can_choose(place: Path) -> None:
    """Said before anything is painted, with the number of paintings."""
    call("train --data pcb")
    call("export --format safetensors --out alone")
    line = "generate --normal imgs --n 3"
    plan = call(f"{line} --dry-run --json")
    assert "of 8 candidates the surest is kept: 24 paintings" in plan.stderr
    assert json.loads(plan.stdout)["paintings"] == 24
    assert "64 paintings come before, to find the threshold of each class" in plan.stderr
    said = call(f"{line} --candidates 1 --dry-run").stderr
    assert "each image is painted once and kept as it comes\n" in said
    said = call(f"{line} --model alone/generator.safetensors --dry-run").stderr
    assert "these weights hold no critic that could choose" in said
    assert "to go: about" in call("generate --normal imgs --n 8 --out made").stderr


def test_a_set_is_extended_by_the_command_that_began_it(place: Path) -> None:
    call("train --data pcb")
    line = "generate --normal imgs --defect tin --candidates 1 --out made"
    call(f"{line} --n 2")
    # The number of candidates is that of the set where the command does not say another one.
    assert call(f"{line.replace('--candidates 1', '')} --n 5").stdout == (
        "5 images, 2 were there already: made\n"
    )
    manifest = (place / "made/manifest.jsonl").read_text()
    fewer = "nothing to make, 3 were asked for: 5 images there already: made\n"
    assert call(f"{line} --n 3").stdout == fewer
    assert (place / "made/manifest.jsonl").read_text() == manifest
    assert result_of(f"{line} --n 3")["images"] == 5
    other = " ".join(call(f"{line} --n 9 --seed 1", code=3).stderr.replace("│", " ").split())
    assert "holds the images of another job (see job.json: seed)" in other


def test_masks_that_cover_the_whole_image_are_said(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from defectgan.inspection import flags

    call("train --data pcb")
    monkeypatch.setattr(flags, "FULL_AREA", -1.0)
    said = call("generate --normal imgs --n 4 --out made").stderr
    assert "4 of 4 masks cover more than" in said and "look at inspect-masks" in said


def test_a_set_whose_classes_the_critic_doubts_is_said_with_what_can_be_done(place: Path) -> None:
    """Six steps teach no class: of five classes each is about as probable as another."""
    call("train --data pcb")
    line = "generate --normal imgs --n 4"
    said = " ".join(call(f"{line} --candidates 2 --out made").stderr.split())
    assert "the critic doubts the class of 4 of 4 images: --candidates 8 keeps better ones" in said
    said = " ".join(call(f"{line} --out other").stderr.split())
    assert "4 of 4 images: --candidates 32 keeps better ones, a longer training makes them" in said
    assert result_of(f"{line} --out other")["doubted"] == 4
    call("export --format safetensors --out alone")
    alone = "--model alone/generator.safetensors"
    assert "doubts" not in call(f"{line} {alone} --out unjudged").stderr
    assert result_of(f"{line} {alone} --out unjudged")["doubted"] is None
    refused = call(f"{line} {alone} --candidates 2 --out none", code=3).stderr
    assert "the generator alone" in " ".join(refused.replace("│", " ").split())


def test_sources_that_use_little_of_their_range_are_said(place: Path) -> None:
    call("train --data pcb")
    dim = np.full((48, 48, 1), 4095, np.uint16)
    write_picture(place / "deep/0.png", Picture(dim))
    said = call("generate --normal deep --n 1 --dry-run").stderr
    assert "16-bit files use at most 6 % of their range (1 file looked at)" in said


@pytest.mark.parametrize("dry", ["", "--dry-run"])
def test_nothing_is_announced_that_is_refused(place: Path, dry: str) -> None:
    call("train --data pcb")
    result = call(f"generate --normal imgs --defect brushin --out made {dry}", code=3)
    flat = " ".join(result.stderr.replace("│", " ").split())
    assert "no defect class brushin" in flat and "did you mean brushing?" in flat
    assert "into made" not in flat


def test_an_interrupted_painting_says_how_far_it_came(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from defectgan.generation import run

    def interrupted(*_: Any, done: Any, **__: Any) -> None:
        done(3)
        raise KeyboardInterrupt

    call("train --data pcb")
    monkeypatch.setattr(run, "run_job", interrupted)
    said = call("generate --normal imgs --n 8 --out made", code=130).stderr
    assert "stopped after 3 of 8 images; the same command with --out made goes on" in said


def test_a_training_that_ends_before_its_first_step_has_no_weights_and_hides_no_others(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Path(result_of("train --data pcb --name done")["run"]).resolve()
    with monkeypatch.context() as patch:
        patch.setattr(watch, "stop_signals", lambda: nullcontext(lambda: True))
        result = call("train --data pcb --name cut", code=130)
    assert result.stdout == ""
    assert "stopped before the first step: there is nothing to save yet" in result.stderr
    assert (place / "runs/latest").resolve().name.endswith("cut")
    for model in ("", "--model latest", "--model runs/latest"):
        assert str(trained) in call(f"generate --normal imgs --dry-run {model}").stderr
    assert "cut" in result_of("train --resume")["run"]


def test_where_no_run_has_weights_the_newest_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "stop_signals", lambda: nullcontext(lambda: True))
    call("train --data pcb --name cut", code=130)
    flat = " ".join(call("export", code=3).stderr.replace("│", " ").split())
    assert "has weights: the newest," in flat and "ended before its first step" in flat


def test_presets_are_listed_with_what_they_are_for_and_the_data_of_their_method() -> None:
    said = call("train --list-presets --json").stdout
    listed = {row["name"]: row for row in json.loads(said)["presets"]}
    assert listed.keys() == {path.stem for path in preset_folder().glob("*.yaml")}
    for row in listed.values():
        assert row["data"] == method_named(row["method"]).needs
        assert 0 < len(row["made_for"]) < 100
    assert listed["quick"]["made_for"] == "a CPU, and for a first look on any machine"
    table = call("train --list-presets").stdout.splitlines()
    assert len(table) == 1 + len(listed)
    for line, row in zip(table[1:], listed.values(), strict=True):
        assert line.startswith(row["name"]) and line.rstrip().endswith(row["data"])


def test_a_model_from_noise_needs_no_good_images_and_says_what_its_masks_are(place: Path) -> None:
    small = {"name": "acgan", "width": 4, "latent": 4, "critic_width": 4, "critic_layers": 3}
    (place / "noise.yaml").write_text(yaml.safe_dump(TINY | {"method": small}))
    call("train --data pcb --config noise.yaml --steps 2")
    made = call("generate --n 2 --candidates 1 --out made")
    assert "2 images: made" in made.stdout
    said = " ".join(made.stderr.split())
    assert "makes whole images from noise: the mask of each is all of it" in said
    assert "cover more than" not in said
    refused = call("generate --normal imgs", code=2).stderr
    assert "nothing to paint on" in " ".join(refused.replace("│", " ").split())
    for what in ("", " made"):
        call(f"inspect-masks{what}", code=3)


def test_a_model_that_paints_asks_for_good_images_by_the_option(place: Path) -> None:
    call("train --data pcb --steps 1")
    refused = call("generate", code=2).stderr.replace("│", " ")
    assert "no good images to paint on: name them: --normal FOLDER" in " ".join(refused.split())
