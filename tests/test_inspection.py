import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defectgan.config import Config, DataConfig
from defectgan.data.index import index_data
from defectgan.errors import DataError
from defectgan.images import Picture, save_png, write_picture
from defectgan.inspection.measure import Measures, Subject, iou, measure, summarize
from defectgan.inspection.report import ContactSheet, overlay
from defectgan.inspection.run import inspect_generated, inspect_model
from defectgan.inspection.subjects import _shown
from defectgan.training.job import Job
from defectgan.views import Window
from tests.conftest import run_job


def disc(radius: float, size: int = 32) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    y, x = np.indices((size, size)) - size / 2
    return (np.hypot(y, x) < radius).astype(np.float32)


def subject(mask: np.ndarray[tuple[int, ...], np.dtype[np.float32]], defect: str = "a") -> Subject:
    image = np.zeros((*mask.shape, 3), np.uint8)
    return Subject("one", defect, "restored", image, image, mask, disc(8) > 0)


def test_iou_of_a_region_with_itself_its_half_and_nothing() -> None:
    whole = np.ones((4, 4), bool)
    half = whole.copy()
    half[:2] = False
    assert iou(whole, whole) == 1 and iou(whole, half) == 0.5
    assert iou(whole, ~whole) == 0 and iou(~whole, ~whole) == 1


def test_area_counts_the_pixels_above_the_threshold() -> None:
    mask = np.array([[0.2, 0.6], [0.9, 0.4]], np.float32)
    assert measure(mask, None, threshold=0.5).area == 0.5
    assert measure(mask, None, threshold=0.3).area == 0.75


def test_empty_and_full_masks_are_told_apart_from_good_ones() -> None:
    masks = [np.zeros((32, 32), np.float32), np.ones((32, 32), np.float32), disc(8)]
    found = [measure(m, None, threshold=0.5) for m in masks]
    assert [m.empty for m in found] == [True, False, False]
    assert [m.full for m in found] == [False, True, False]


def test_a_summary_counts_and_averages_by_class() -> None:
    blank = np.zeros((32, 32), np.float32)
    subjects = [subject(disc(8)), subject(blank), subject(disc(8), "b")]
    measured: dict[str, list[Measures]] = {"b": [], "a": [], "c": []}
    for item in subjects:
        measured[item.defect].append(measure(item.mask, item.truth, threshold=0.5))
    summary = summarize(measured)
    assert list(summary) == ["b", "a"]
    assert summary["a"]["images"] == 2 and summary["a"]["empty"] == summary["a"]["flagged"] == 1
    assert summary["a"]["iou"] == 0.5 and summary["b"]["iou"] == 1.0


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
        assert sheet.size == (1040, 2 * (18 + 4 * 130 + 2))


def test_a_run_is_inspected_in_both_directions_with_true_masks(run: Path, tmp_path: Path) -> None:
    result = inspect_model(
        run, data=None, out=tmp_path / "look", per_class=2, threshold=0.3, device="cpu"
    )
    assert result.contact_sheet.is_file()
    assert json.loads(result.report.read_text())["summary"] == result.summary
    for row in result.summary.values():
        assert row["images"] == 4 and 0 <= row["iou"] <= 1


def test_weights_alone_need_images_to_be_tried_on(run: Path, boards: Path, tmp_path: Path) -> None:
    weights = run / "weights" / "last.safetensors"
    options = {"out": tmp_path / "look", "per_class": 1, "threshold": 0.5, "device": "cpu"}
    with pytest.raises(DataError, match="weights alone"):
        inspect_model(weights, data=None, **options)  # type: ignore[arg-type]
    assert inspect_model(weights, data=boards, **options).summary  # type: ignore[arg-type]


def test_a_second_inspection_does_not_overwrite_the_first(run: Path) -> None:
    options = {"data": None, "out": None, "per_class": 1, "threshold": 0.5, "device": "cpu"}
    first, second = (inspect_model(run, **options) for _ in range(2))  # type: ignore[arg-type]
    assert first.report != second.report and first.report.is_file()


def test_a_folder_that_generate_did_not_write_is_refused(tmp_path: Path) -> None:
    save_png(tmp_path / "image.png", Image.new("L", (4, 4)))
    with pytest.raises(DataError, match=r"no manifest\.jsonl"):
        inspect_generated(tmp_path, out=None, threshold=0.5)


def test_a_run_that_held_images_out_is_inspected_on_those(
    boards: Path, tiny: Config, tmp_path: Path
) -> None:
    index = index_data(boards, DataConfig(val_fraction=0.25))
    run = run_job(Job(tiny, index), tmp_path / "runs").run
    result = inspect_model(run, data=None, out=None, per_class=9, threshold=0.3, device="cpu")
    assert "held out" in result.subject
    # One of four images of each defect, restored, and one or two normal ones, defaced.
    assert all(row["images"] in (2, 3) for row in result.summary.values())


def test_a_twelve_bit_image_is_not_shown_black(tmp_path: Path) -> None:
    pixels = np.linspace(0, 4095, 64).reshape(8, 8, 1).astype(np.uint16)
    write_picture(tmp_path / "deep.png", Picture(pixels))
    shown = _shown(tmp_path / "deep.png", Window(0, 0, 8, 8))
    assert shown.min() == 0 and shown.max() == 255
    assert _shown(tmp_path / "deep.png", Window(4, 0, 2, 8)).shape == (8, 2, 1)
