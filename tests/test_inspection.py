import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from defectgan.data.index import index_data
from defectgan.errors import DataError, OutOfMemory, SettingError
from defectgan.evaluation.pools import generated_rows
from defectgan.files import sha256
from defectgan.generation import run as generation
from defectgan.generation.plan import find_sources
from defectgan.generation.request import GenerateJob
from defectgan.images import Picture, read_mask, read_picture, save_png, write_picture
from defectgan.inspection.calibrate import calibrate
from defectgan.inspection.flags import Gate
from defectgan.inspection.inspect_masks import inspect
from defectgan.inspection.sheet import ContactSheet, overlay
from defectgan.inspection.subjects import GeneratedSet, RealImages, _levels, _shown
from defectgan.inspection.targets import Target, find_target
from defectgan.manifest import MANIFEST, ManifestRow
from defectgan.methods.config import Config
from defectgan.model.file import Model, load_model, load_tensors
from defectgan.model.info import MASK_THRESHOLD
from defectgan.model.painter import Painter
from defectgan.settings.data import DataConfig
from defectgan.training import job as training
from defectgan.views import Window
from tests.conftest import CPU, generator_of, rows_of, run_job
from tests.test_measures import disc, subject


def target_of(what: Path | None = None, **options: Any) -> Target:
    return find_target(
        what, **{"model": None, "data": None, "per_class": 2, "device": "cpu"} | options
    )


def paint(
    model: Model,
    boards: Path,
    defects: tuple[str, ...],
    n: int,
    out: Path,
    *,
    binary: bool = False,
) -> None:
    sources = find_sources(str(boards / "normal"))
    job = GenerateJob(sources, defects, n=n, seed=0, binary_masks=binary, candidates=1, checks=None)
    generation.run_job(job, model, out, device=CPU, batch_size=4)


def bias_of(model: Model) -> torch.Tensor:
    bias = generator_of(model).head.bias
    assert bias is not None
    return bias


@pytest.fixture
def made(run: Path, boards: Path, tmp_path: Path) -> Path:
    """A generated set whose masks are not empty."""
    model = load_model(run)
    with torch.no_grad():
        bias_of(model)[-1] = 2.0
    paint(model, boards, ("tin", "wound"), 6, tmp_path / "made")
    return tmp_path / "made"


def test_the_overlay_is_red_where_the_mask_is_and_unchanged_elsewhere() -> None:
    image = np.full((1, 2, 3), 100, np.uint8)
    mixed = overlay(image, np.array([[0.0, 1.0]], np.float32))
    assert mixed[0, 0].tolist() == [100, 100, 100]
    assert mixed[0, 1, 0] > 150 and mixed[0, 1, 1] < 100


def test_the_sheet_has_a_block_for_each_class_and_keeps_proportions(tmp_path: Path) -> None:
    wide = np.zeros((10, 40), np.float32)
    contact_sheet = ContactSheet()
    for item in [subject(wide, "b"), *[subject(disc(8))] * 9]:
        contact_sheet.add(item)
    contact_sheet.save(tmp_path / "sheet.png", classes=["a", "b"])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (78 + 8 * 132, 2 * (30 + 4 * 132 + 4))


def test_a_run_is_inspected_in_both_directions_with_true_masks(run: Path, tmp_path: Path) -> None:
    result = inspect(target_of(run), out=tmp_path / "look")
    assert result.contact_sheet.is_file() and result.report.is_file()
    record = json.loads(result.summary.read_text())
    assert record["summary"] == result.findings.summary
    assert {(g["class"], g["direction"]) for g in record["groups"]} == set(result.findings.groups)
    for row in result.findings.summary.values():
        assert row["images"] == 4 and 0 <= row["iou"] <= row["iou_best"] <= 1
        assert 0 <= row["agreement"] <= 1
        assert {"ap", "auroc"} <= row["changed"].keys() & row["otsu"].keys()


def test_a_pixel_is_truly_defect_where_at_least_half_of_what_it_shows_is(
    run: Path, tmp_path: Path
) -> None:
    """Masks of twice the size that end in the middle of a pixel, or just beside it."""
    gray = Picture(np.full((64, 64, 3), 128, np.uint8))
    for name, i, edge in (("normal", 0, 0), ("tin", 0, 33), ("tin", 1, 32), ("tin", 2, 34)):
        write_picture(tmp_path / name / f"{i}.png", gray)
        mask = np.zeros((64, 64, 1), np.uint8)
        mask[:, :edge] = 255
        write_picture(tmp_path / "masks" / name / f"{i}.png", Picture(mask))
    index = index_data(tmp_path, DataConfig())
    images = RealImages(load_model(run), index, per_class=3, device=CPU)
    truths = [subject.truth for subject in images.restored()]
    assert [t is not None and t.sum(axis=1).tolist() for t in truths] == [
        [columns] * 32 for columns in (17, 16, 17)
    ]


def test_the_table_has_a_row_for_each_image(run: Path, tmp_path: Path) -> None:
    result = inspect(target_of(run), out=tmp_path / "look")
    with result.masks.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.findings.images) == 16
    restored = [row for row in rows if row["direction"] == "restored"]
    assert all(row["iou"] and not row["agreement"] for row in restored)
    assert all(float(row["softness"]) >= 0 for row in rows)


def test_a_run_its_weights_a_set_and_images_are_told_apart(
    run: Path, boards: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEFECTGAN_RUNS", str(run.parent))
    weights = run / "weights" / "last.safetensors"
    assert target_of(run).title.endswith("learned from")
    assert target_of().title == target_of(run.resolve()).title
    assert target_of(weights, data=boards).weights == weights
    assert target_of(boards).title == f"{run.resolve()} on {boards}"
    assert target_of(made).weights is None and len(target_of(made).subjects) == 6


@pytest.mark.parametrize("twice", ["model", "data"])
def test_what_is_named_twice_is_refused(twice: str, run: Path, boards: Path, made: Path) -> None:
    with pytest.raises(SettingError, match="generated set"):
        target_of(made, **{twice: run})
    with pytest.raises(SettingError, match="name one of them"):
        target_of(run if twice == "model" else boards, **{twice: run})


def test_weights_alone_need_images_to_be_tried_on(run: Path) -> None:
    with pytest.raises(DataError, match="weights alone"):
        target_of(run / "weights" / "last.safetensors")


def test_a_second_inspection_does_not_overwrite_the_first(run: Path) -> None:
    first, second = (inspect(target_of(run, per_class=1)) for _ in range(2))
    assert first.report != second.report and first.report.is_file()
    with pytest.raises(DataError, match=r"report\.html is there already: name another folder"):
        inspect(target_of(run, per_class=1), out=first.report.parent)


def test_a_folder_of_unlabelled_images_is_restored(run: Path, boards: Path, tmp_path: Path) -> None:
    shutil.copytree(boards / "tin", tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").write_bytes(b"")
    target = target_of(tmp_path / "photos", model=run, per_class=9)
    assert len(target.subjects) == 4 and "broken.png" in target.notes[0]
    result = inspect(target, out=tmp_path / "look")
    assert list(result.findings.groups) == [("unlabelled", "restored")]
    with pytest.raises(DataError, match="one folder a class"):
        (tmp_path / "nothing").mkdir()
        target_of(tmp_path / "nothing", model=run)
    with pytest.raises(DataError, match="found nothing at"):
        target_of(tmp_path / "nowhere", model=run)


def test_an_image_that_is_damaged_behind_its_head_is_left_out(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    target = target_of(run, data=boards)
    first = next(iter(target.subjects))
    subjects = target.subjects
    assert isinstance(subjects, RealImages)
    sample, name = subjects._real[0]
    (tmp_path / "broken.png").write_bytes(b"no image")
    subjects._real[0] = (replace(sample, file=tmp_path / "broken.png"), name)
    assert first.name not in [s.name for s in subjects] and len(subjects.damaged) == 1


def test_a_sound_generated_set_has_no_mask_that_disagrees(made: Path, tmp_path: Path) -> None:
    result = inspect(target_of(made), out=tmp_path / "look")
    assert result.findings.flags["disagree"] == result.findings.flags["duplicate"] == 0
    assert {direction for _, direction in result.findings.groups} == {"generated"}


def test_a_pixel_changed_outside_the_mask_and_a_copied_image_are_flagged(
    made: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (made / MANIFEST).read_text().splitlines()]
    first, second, third = rows[:3]
    mask = np.zeros(read_picture(made / first["output"]).size, np.uint8)
    save_png(made / first["mask"], Image.fromarray(mask))  # now all that was painted is a stray
    shutil.copy(made / second["output"], made / third["output"])
    found = inspect(target_of(made), out=tmp_path / "look").findings
    flags = {image.name: image.flags for image in found.images}
    assert "disagree" in flags[first["output"].removeprefix("images/")]
    assert found.flags["duplicate"] == 2


def test_beside_a_binary_mask_more_than_faint_paint_is_flagged(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    """Paint below the threshold goes on beside it: that is no stray."""
    model = load_model(run)
    with torch.no_grad():
        generator_of(model).head.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    known = replace(model, info=replace(model.info, calibrated=0.4))
    paint(known, boards, ("tin",), 3, made := tmp_path / "made", binary=True)
    first = rows_of(made)[0]
    mask = read_mask(made / first["mask"])
    before, after = (read_picture(Path(p)) for p in (first["source"], made / first["output"]))
    assert (before.pixels[mask == 0] != after.pixels[mask == 0]).any()
    assert inspect(target_of(made), out=tmp_path / "sound").findings.flags["disagree"] == 0
    edited = after.pixels.copy()
    edited[mask == 0] = np.where(before.pixels[mask == 0] > 127, 0, 255)
    write_picture(made / first["output"], replace(after, pixels=edited))
    assert inspect(target_of(made), out=tmp_path / "edited").findings.flags["disagree"] == 1


def test_images_that_were_taken_out_of_a_set_are_left_out_and_counted(
    made: Path, tmp_path: Path
) -> None:
    first, second, *rest = rows_of(made)
    (made / first["output"]).unlink()
    (made / second["mask"]).unlink()
    target = target_of(made)
    assert target.notes == (
        f"2 of the 6 images that {made / MANIFEST} names are missing or have no mask: left out",
    )
    assert len(inspect(target, out=tmp_path / "look").findings.images) == len(rest)
    rows, notes = generated_rows(made)
    assert ([row.as_json() for row in rows], notes) == (rest, target.notes)


def test_a_source_that_has_changed_since_is_not_held_against_the_set(
    made: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (made / MANIFEST).read_text().splitlines()]
    for row in rows:
        row["source_sha256"] = "0"
    (made / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in rows))
    subjects = list(target_of(made).subjects)
    assert all(s.before is None and s.change is None for s in subjects)
    assert inspect(target_of(made), out=tmp_path / "look").report.is_file()


def test_a_job_that_has_made_nothing_yet_is_no_set(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    with pytest.raises(DataError, match="has not made any yet"):
        target_of(tmp_path)


def test_a_threshold_is_calibrated_kept_with_the_weights_and_used_from_then_on(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    shutil.copy(run / "weights" / "last.safetensors", weights := tmp_path / "w.safetensors")
    before, _ = load_tensors(weights)
    target = target_of(weights, data=boards)
    assert set(target.thresholds.values()) == {MASK_THRESHOLD}
    _, calibrated = calibrate(target)
    after, info = load_tensors(weights)
    assert info.calibrated == info.threshold == calibrated
    assert all(torch.equal(before[name], after[name]) for name in before | after)
    assert set(target_of(weights, data=boards).thresholds.values()) == {calibrated}

    def iou(threshold: float) -> float:
        result = inspect(target, out=tmp_path / f"{threshold}", threshold=threshold)
        return float(np.mean([row["iou"] for row in result.findings.summary.values()]))

    assert iou(calibrated) >= max(map(iou, (MASK_THRESHOLD, 0.3, 0.5))) - 1e-3


def test_calibration_needs_a_model_and_true_masks(
    run: Path, boards: Path, made: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match="has no true masks"):
        calibrate(target_of(made))
    shutil.copytree(boards, tmp_path / "bare", ignore=shutil.ignore_patterns("masks"))
    with pytest.raises(DataError, match="no true masks"):
        calibrate(target_of(run, data=tmp_path / "bare"))


def test_a_calibrated_threshold_says_what_counts_as_painted(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    model = load_model(run)
    with torch.no_grad():
        bias_of(model)[-1] = 0.0
    areas = []
    for calibrated in (0.1, 0.9):
        given = replace(model, info=replace(model.info, calibrated=calibrated))
        out = tmp_path / str(calibrated)
        paint(given, boards, ("tin",), 2, out)
        target = target_of(out)
        assert target.thresholds == {"tin": calibrated}
        areas.append([s.area for s in (i.measures for i in inspect(target).findings.images)])
        rows = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
        assert [row["mask_area"] for row in rows] == pytest.approx(areas[-1], abs=1e-6)
    assert min(areas[0]) > max(areas[1])


def test_a_restoration_mask_turns_with_the_piece(run: Path, tmp_path: Path) -> None:
    """That of a single pose would not: convolutions know up from down."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    for name, image in {"normal": pixels, "tin": pixels, "wound": pixels[::-1, ::-1]}.items():
        save_png(tmp_path / name / "0.png", Image.fromarray(np.ascontiguousarray(image)))
    model = load_model(run)
    with torch.no_grad():
        generator_of(model).head.weight.normal_()
    index = index_data(tmp_path, DataConfig(classes=("tin", "wound")))
    upright, turned = RealImages(model, index, per_class=1, device=CPU).restored()
    assert upright.mask.std() > 0
    np.testing.assert_allclose(turned.mask[::-1, ::-1], upright.mask, atol=1e-5)


def test_the_gate_is_in_the_result(made: Path, tmp_path: Path) -> None:
    result = inspect(target_of(made), out=tmp_path / "look", gate=Gate(("duplicate",), 0.0))
    assert result.verdict is not None and result.verdict[0]
    assert "Passed" in result.report.read_text()


def test_a_run_that_held_images_out_is_inspected_on_those(
    boards: Path, tiny: Config, tmp_path: Path
) -> None:
    index = index_data(boards, DataConfig(val_fraction=0.25))
    target = target_of(run_job(training.Job(tiny, index), tmp_path / "runs").run, per_class=9)
    assert "held out" in target.title
    # One of four images of each defect, restored, and one or two normal ones, defaced.
    assert all(row["images"] in (2, 3) for row in inspect(target).findings.summary.values())


def test_a_twelve_bit_image_is_not_shown_black(tmp_path: Path) -> None:
    pixels = np.linspace(0, 4095, 64).reshape(8, 8, 1).astype(np.uint16)
    write_picture(tmp_path / "deep.png", Picture(pixels))
    picture = read_picture(tmp_path / "deep.png")
    shown = _shown(picture, Window(0, 0, 8, 8), _levels(picture))
    assert shown.min() == 0 and shown.max() == 255
    assert _shown(picture, Window(4, 0, 2, 8), _levels(picture)).shape == (8, 2, 1)


def test_paint_leaves_the_rest_of_a_twelve_bit_image_as_bright_as_before(tmp_path: Path) -> None:
    before = np.linspace(0, 4095, 64).reshape(8, 8, 1).astype(np.uint16)
    after, mask = before.copy(), np.zeros((8, 8), np.uint8)
    after[0, 0], mask[0, 0] = 65535, 255
    for name, pixels in (("before", before), ("after", after)):
        write_picture(tmp_path / f"{name}.png", Picture(pixels))
    save_png(tmp_path / "mask.png", Image.fromarray(mask))
    row = {
        **{"output": "after.png", "mask": "mask.png", "class": "tin", "window": [0, 0, 8, 8]},
        "threshold": 0.1,
        "source": str(tmp_path / "before.png"),
        "source_sha256": sha256(tmp_path / "before.png"),
    }
    (shown,) = GeneratedSet(tmp_path, [ManifestRow.model_validate(row)])
    assert shown.before is not None and shown.after[0, 0] == 255
    np.testing.assert_array_equal(shown.after[1:], shown.before[1:])


def test_an_image_that_does_not_fit_into_memory_is_said_and_is_not_called_damaged(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    target = target_of(run)
    monkeypatch.setattr(Painter, "paint", ended)
    with pytest.raises(OutOfMemory, match="one image does not fit into memory: end other"):
        list(target.subjects)
    assert not target.subjects.damaged
