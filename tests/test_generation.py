import json
import os
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from defectgan.data.masks import is_defect
from defectgan.errors import DataError, ModelError, OutOfMemory
from defectgan.files import sha256, write_json_lines
from defectgan.generation import shelf
from defectgan.generation.choose import CAP
from defectgan.generation.layer import paint_source
from defectgan.generation.mask_threshold import COVERED, _highest
from defectgan.generation.plan import find_sources, make_plan
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import GenerateOutcome, run_job
from defectgan.images import (
    Picture,
    as_channels,
    read_mask,
    read_picture,
    suffix_of,
    to_signed,
    write_picture,
)
from defectgan.inspection.subjects import GeneratedSet
from defectgan.inspection.tally import Tally
from defectgan.manifest import MANIFEST, read_manifest
from defectgan.model.file import Model, load_model
from defectgan.model.info import MASK_THRESHOLD
from defectgan.model.pixels import INVISIBLE, model_view
from defectgan.networks.generator import Generator
from defectgan.settings.data import DataConfig
from defectgan.views import View, Viewer
from tests.conftest import (
    CLASSES,
    ROOT,
    generator_of,
    rows_of,
    spoil,
    start,
    tiny_with,
    without_critic,
)

CPU = torch.device("cpu")


def make(
    model: Model, normal: Path, out: Path, *, batch_size: int = 4, **job: Any
) -> list[dict[str, Any]]:
    make_set(model, normal, out, batch_size=batch_size, **job)
    return rows_of(out)


def make_set(
    model: Model, normal: Path, out: Path, *, batch_size: int = 4, **job: Any
) -> GenerateOutcome:
    """Six images as they come, unless the job is asked for something else."""
    usual: dict[str, Any] = {"defects": ("tin", "wound"), "n": 6, "seed": 0, "binary_masks": False}
    asked = GenerateJob(find_sources(str(normal)), **(usual | {"candidates": 1} | job))
    return run_job(asked, model, out, device=CPU, batch_size=batch_size)


def pixels_of(out: Path, row: dict[str, Any]) -> Any:
    return read_picture(out / row["output"]).pixels.astype(int)


def seen(source: Picture, **data: Any) -> View:
    """The view of a source in the middle of where it may lie."""
    return Viewer(DataConfig(**data))(source.size)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.sampled_from([1, 3]),
    model_channels=st.sampled_from([1, 3]),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    fit=st.sampled_from(["resize", "letterbox", "crop"]),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=60)
def test_pixels_under_a_zero_mask_keep_their_value_exactly(
    size: tuple[int, int],
    channels: int,
    model_channels: int,
    dtype: type,
    fit: str,
    seed: int,
) -> None:
    """Whatever the size, colour and depth of the source, and however it is seen."""
    rng = np.random.default_rng(seed)
    white = 1000.0 if dtype == np.float32 else np.iinfo(dtype).max
    source = Picture(rng.uniform(0, white, (*size, channels)).astype(dtype))
    before = source.pixels.copy()
    view = seen(source, image_size=(16, 32), fit=fit)
    image = model_view(source, view, model_channels, source.full)
    foreground = torch.from_numpy(rng.uniform(-1, 1, image.shape).astype(np.float32))
    mask = torch.from_numpy(rng.uniform(0, 1, (1, 16, 32)).astype(np.float32))
    mask[:, :, :8] = 0
    painted = paint_source(source, view, image, foreground, mask, source.full)
    assert painted.pixels.dtype == dtype and painted.pixels.shape == source.pixels.shape
    assert painted.mask.shape == size
    untouched = painted.mask == 0
    assert np.array_equal(painted.pixels[untouched], before[untouched])
    assert np.array_equal(source.pixels, before)


def test_a_window_is_painted_at_the_images_own_scale_and_nothing_beside_it() -> None:
    rng = np.random.default_rng(0)
    source = Picture(rng.integers(0, 256, (300, 400, 1), dtype=np.uint8))
    view = Viewer(DataConfig(image_size=64, fit="crop"))(source.size, rng=rng)
    image = model_view(source, view, 1, source.full)
    layer = mask = torch.ones(1, 64, 64)
    painted = paint_source(source, view, image, layer, mask, source.full)
    left, top, width, height = view.window
    assert (width, height) == (64, 64)
    assert (painted.mask > 0).sum() == 64 * 64
    assert (painted.pixels[top : top + 64, left : left + 64] == 255).all()
    painted.pixels[top : top + 64, left : left + 64] = source.pixels[top : top + 64, left:][:, :64]
    assert np.array_equal(painted.pixels, source.pixels)


def test_a_full_mask_gives_the_foreground_at_the_models_size() -> None:
    source = Picture(np.full((16, 16, 1), 100, np.uint8))
    view = seen(source, image_size=16)
    image = model_view(source, view, 1, source.full)
    white = torch.ones(1, 16, 16)
    painted = paint_source(source, view, image, white, white, source.full)
    assert (painted.pixels == 255).all() and (painted.mask == 255).all()


def test_the_grain_of_a_large_source_survives_under_a_translucent_layer() -> None:
    grain = np.random.default_rng(0).integers(90, 110, (128, 128, 1), dtype=np.uint8)
    source = Picture(grain)
    view = seen(source, image_size=16)
    image = model_view(source, view, 1, source.full)
    half = torch.full((1, 16, 16), 0.5)
    painted = paint_source(source, view, image, image + 0.5, half, source.full)
    shift = painted.pixels.astype(int) - grain
    assert abs(shift.mean() - 0.5 * 0.5 * 127.5) < 1 and np.ptp(shift) <= 1


def test_an_opacity_that_nobody_sees_is_cut_off() -> None:
    source = Picture(np.full((16, 16, 3), 100, np.uint8))
    view = seen(source, image_size=16)
    image = model_view(source, view, 3, source.full)
    faint = torch.full((1, 16, 16), 0.03)
    painted = paint_source(source, view, image, -image, faint, source.full)
    assert not painted.mask.any() and (painted.pixels == 100).all()


def test_every_source_comes_once_before_any_comes_twice() -> None:
    files = [Path(f"{i}.png") for i in range(5)]
    rows = [row for row, *_ in make_plan(files, ["a", "b"], n=12, seed=0)]
    assert {row.source for row in rows[:5]} == {row.source for row in rows[5:10]} == set(files)
    assert [row.defect for row in rows] == ["a", "b"] * 6
    assert len({row.seed for row in rows}) == 12


def test_a_row_does_not_depend_on_how_many_are_asked_for() -> None:
    files = [Path(f"{i}.png") for i in range(5)]
    few, more = (
        list(make_plan(files, ["a"], n=n, seed=0, candidates=k)) for n, k in ((7, 3), (12, 6))
    )
    assert few == [tries[:3] for tries in more[:7]]


@given(
    files=st.integers(1, 30),
    n=st.integers(1, 100),
    candidates=st.integers(1, 12),
    choices=st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=60)
def test_whatever_is_chosen_no_source_is_used_more_than_four_times_a_lap(
    files: int, n: int, candidates: int, choices: random.Random
) -> None:
    """And in each whole lap every source is among the candidates equally often."""
    paths = [Path(f"{i}.png") for i in range(files)]
    plan = list(make_plan(paths, ["a", "b"], n=n, seed=1, candidates=candidates))
    favourite = choices.choice(paths)
    for first in range(0, n, files):
        lap = plan[first : first + files]
        for pick in (favourite, choices.choice(paths)):
            assert sum(any(row.source == pick for row in tries) for tries in lap) <= CAP
        offered = Counter(row.source for tries in lap for row in tries)
        if len(lap) == files:
            assert set(offered.values()) == {candidates}
    assert len({row.seed for tries in plan for row in tries}) == n * candidates


def test_sources_are_a_folder_a_file_or_a_pattern(boards: Path) -> None:
    normal = boards / "normal"
    assert len(find_sources(str(normal)).files) == 6
    assert find_sources(str(normal / "0001.png")).files == (normal / "0001.png",)
    assert len(find_sources(str(normal / "000[0-2].png")).files) == 3
    with pytest.raises(DataError, match="expected a folder, a file or a pattern"):
        find_sources(str(normal / "*.gif"))


def test_sources_that_cannot_be_read_are_rejected_with_their_reason(
    boards: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(boards / "normal", tmp_path / "imgs")
    (folder / "bad.png").write_bytes(b"nonsense")
    sources = find_sources(str(folder))
    assert len(sources.files) == 6 and sources.rejected[0][0].name == "bad.png"


def test_a_set_holds_images_masks_and_a_manifest_that_tells_all(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    rows = make(model, boards / "normal", tmp_path / "set")
    assert [row["number"] for row in rows] == list(range(6))
    for row in rows:
        image, source = tmp_path / "set" / row["output"], Path(row["source"])
        assert image.parent == tmp_path / "set" / "images" / row["class"]
        assert row["output_sha256"] == sha256(image) and row["source_sha256"] == sha256(source)
        assert row["model_sha256"] == model.sha256
        assert 0 <= row["class_confidence"] <= 1 and "critic_score" in row
        mask = read_mask(tmp_path / "set" / row["mask"])
        assert mask.shape == read_picture(image).pixels.shape[:2]
        untouched = mask == 0
        before, after = read_picture(source).pixels, read_picture(image).pixels
        assert np.array_equal(before[untouched], after[untouched])
        left, top, width, height = row["box"]
        found = is_defect(mask, row["threshold"])
        assert np.array_equal(np.argwhere(found).min(axis=0), (top, left))
        assert np.array_equal(np.argwhere(found).max(axis=0), (top + height - 1, left + width - 1))
        assert row["mask_area"] == round(float(found.mean()), 6)


def test_the_same_seed_makes_the_same_images_whatever_the_batch_size(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    for size in (1, 4, 6):
        make(model, boards / "normal", tmp_path / str(size), batch_size=size)
    rows = rows_of(tmp_path / "1")
    for row in rows:
        first = pixels_of(tmp_path / "1", row)
        for other in ("4", "6"):
            assert np.abs(first - pixels_of(tmp_path / other, row)).max() <= 1


def test_another_seed_makes_other_images(model: Model, boards: Path, tmp_path: Path) -> None:
    source = boards / "normal" / "0000.png"
    one = make(model, source, tmp_path / "one", n=2, defects=("tin",))
    assert one[0]["output_sha256"] != one[1]["output_sha256"]
    other = make(model, source, tmp_path / "other", n=1, defects=("tin",), seed=1)
    assert other[0]["output_sha256"] != one[0]["output_sha256"]


def test_a_job_that_was_cut_short_goes_on_and_ends_the_same(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    whole = make(model, boards / "normal", tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    manifest = tmp_path / "cut" / "manifest.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:2]) + lines[2][:20])
    (tmp_path / "cut" / whole[4]["output"]).unlink()
    again = make(model, boards / "normal", tmp_path / "cut")
    assert [row["output_sha256"] for row in again] == [row["output_sha256"] for row in whole]
    assert (tmp_path / "cut" / whole[4]["output"]).is_file()


def test_what_was_taken_out_of_a_finished_set_is_made_again(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    whole = make(model, boards / "normal", tmp_path / "set")
    (tmp_path / "set" / whole[1]["output"]).unlink()
    (tmp_path / "set" / whole[4]["mask"]).unlink()
    for there in (4, 6):
        result = make_set(model, boards / "normal", tmp_path / "set")
        assert (result.there, result.made) == (there, 6 - there)
        assert rows_of(tmp_path / "set") == whole


def test_a_set_that_is_extended_equals_one_made_at_once(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    """Whatever the batches, its masks too; and asking for fewer makes nothing and takes none."""
    normal = boards / "normal"
    job: dict[str, Any] = {"candidates": None, "binary_masks": True}
    whole = make(model, normal, tmp_path / "whole", n=9, **job)
    assert make_set(model, normal, tmp_path / "grown", n=5, **job)[:2] == (0, 5)
    assert make_set(model, normal, tmp_path / "grown", n=9, **job)[:2] == (5, 4)
    assert rows_of(tmp_path / "grown") == whole
    for row in whole:
        for kind in ("output", "mask"):
            assert sha256(tmp_path / "grown" / row[kind]) == sha256(tmp_path / "whole" / row[kind])
    assert make_set(model, normal, tmp_path / "grown", n=3, **job)[:2] == (9, 0)
    assert rows_of(tmp_path / "grown") == whole


def as_of_the_first_version(out: Path, **job: Any) -> None:
    """Bring a set of six into the form that it had in 0.1.0."""
    record = json.loads((out / "job.json").read_text())
    threshold = set(record.pop("thresholds").values())
    (out / "job.json").write_text(json.dumps(record | {"n": 6} | job, indent=1))
    rows = [{k: v for k, v in r.items() if k not in NEW} for r in rows_of(out)]
    assert threshold == {row["threshold"] for row in rows}
    write_json_lines(out / "manifest.jsonl", rows)


NEW = ("mask_sha256", "binary")


def test_a_set_of_an_older_version_goes_on_as_it_was_begun(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    """Its job counted the images, which came one candidate each, with one threshold for all."""
    calibrated = replace(model, info=replace(model.info, calibrated=0.3))
    made = make(calibrated, boards / "normal", out := tmp_path / "set", n=6)
    as_of_the_first_version(out)
    result = make_set(model, boards / "normal", out, n=8, candidates=None)
    assert (result.there, result.made) == (6, 2)
    assert [row["threshold"] for row in rows_of(out)] == [0.3] * 8
    whole = make(calibrated, boards / "normal", tmp_path / "whole", n=8)
    assert [r["output_sha256"] for r in rows_of(out)] == [r["output_sha256"] for r in whole]
    assert [r["number"] for r in made] == list(range(6))


@pytest.mark.parametrize("job", [{"binary_masks": True}, {"candidates": 8}])
def test_what_an_older_version_made_in_another_way_is_not_mixed_with_new_images(
    model: Model, boards: Path, tmp_path: Path, job: dict[str, Any]
) -> None:
    calibrated = replace(model, info=replace(model.info, calibrated=0.3))
    make(calibrated, boards / "normal", out := tmp_path / "set")
    as_of_the_first_version(out, **job)
    with pytest.raises(DataError, match="in another way: name another folder"):
        make(model, boards / "normal", out, n=8, candidates=None)


@pytest.mark.parametrize("record", ["{}", '{"n": 6}', '{"job": "of another program"}'])
def test_a_record_that_is_none_of_a_job_is_refused(
    record: str, model: Model, boards: Path, tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(record)
    with pytest.raises(DataError, match=r"job\.json is not the record of a job: name another"):
        make(model, boards / "normal", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


def test_a_file_that_a_power_cut_has_torn_is_made_again_and_an_edited_one_left(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    whole = make(model, boards / "normal", out := tmp_path / "set")
    torn, empty, edited = whole[0], whole[2], out / whole[4]["output"]
    image = (out / torn["output"]).read_bytes()
    (out / torn["output"]).write_bytes(image[: len(image) // 2])
    (out / empty["mask"]).write_bytes(b"")
    write_picture(edited, Picture(255 - read_picture(edited).pixels))
    by_hand = edited.read_bytes()
    result = make_set(model, boards / "normal", out)
    assert (result.there, result.made) == (4, 2)
    assert rows_of(out) == whole and edited.read_bytes() == by_hand
    assert sha256(out / torn["output"]) == torn["output_sha256"]
    assert sha256(out / empty["mask"]) == empty["mask_sha256"]


def test_nothing_is_read_twice_and_the_disk_is_not_waited_for_image_by_image(
    model: Model, boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    synced: list[int] = []
    read_bytes, fsync = Path.read_bytes, os.fsync

    def noted_read(path: Path) -> bytes:
        read.append(path)
        return read_bytes(path)

    def noted_sync(file: int) -> None:
        synced.append(file)
        fsync(file)

    monkeypatch.setattr(Path, "read_bytes", noted_read)
    monkeypatch.setattr(os, "fsync", noted_sync)
    make_set(model, boards / "normal", tmp_path / "set", n=12, batch_size=16, candidates=8)
    assert sorted(read) == sorted(find_sources(str(boards / "normal")).files)
    # The job, the empty manifest, and the rows of each two images that a batch decides about.
    assert len(synced) == 2 + 12 // 2


def test_sources_that_find_no_room_are_read_again(
    model: Model, boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = make(model, boards / "normal", tmp_path / "kept", candidates=4)
    monkeypatch.setattr(shelf, "ROOM", 0)
    assert make(model, boards / "normal", tmp_path / "again", candidates=4) == kept


def test_the_rest_of_the_time_is_said_once_after_the_speed_is_known(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    said: list[tuple[int, float]] = []
    job = GenerateJob(find_sources(str(boards / "normal")), ("tin",), 6, 0, False, candidates=8)
    for out in ("set", "set"):
        run_job(
            job,
            model,
            tmp_path / out,
            device=CPU,
            batch_size=16,
            expect=lambda paintings, seconds: said.append((paintings, seconds)),
        )
    ((paintings, seconds),) = said
    assert paintings == 6 * 8 - 2 * 16 and seconds > 0


def test_a_plan_of_any_length_is_made_row_by_row() -> None:
    plan = make_plan([Path("0.png")], ["a"], n=10**12, seed=0, candidates=8)
    assert [len(tries) for tries, _ in zip(plan, range(3), strict=False)] == [8] * 3


def test_images_of_another_job_are_never_overwritten(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    make(model, boards / "normal", tmp_path / "set")
    with pytest.raises(DataError, match="holds the images of another job"):
        make(model, boards / "normal", tmp_path / "set", seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(DataError, match="is not empty"):
        make(model, boards / "normal", tmp_path / "mine")


def test_of_several_candidates_the_one_that_the_critic_is_surest_of_is_kept(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    normal, sizes = boards / "normal", (1, 2, 6)
    sets = {k: make(model, normal, tmp_path / str(k), candidates=k) for k in sizes}
    sure = {k: [row["class_confidence"] for row in rows] for k, rows in sets.items()}
    for few, more in ((1, 2), (2, 6)):
        for i, (before, after) in enumerate(zip(sure[few], sure[more], strict=True)):
            same = sets[few][i]["output_sha256"] == sets[more][i]["output_sha256"]
            assert same if after == before else after > before
    assert sum(sure[6]) > sum(sure[1])


def test_candidates_do_not_depend_on_the_batch_that_they_are_painted_in(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    one, all_at_once = (
        make(model, boards / "normal", tmp_path / str(size), batch_size=size, candidates=3)
        for size in (1, 6)
    )
    for alone, among in zip(one, all_at_once, strict=True):
        assert alone["class_confidence"] == pytest.approx(among["class_confidence"], abs=1e-3)


def test_weights_without_a_critic_cannot_choose_among_candidates(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    without = without_critic(model)
    with pytest.raises(ModelError, match="the generator alone"):
        make(without, boards / "normal", tmp_path / "set", candidates=2)
    assert not (tmp_path / "set").exists()
    assert len(make(without, boards / "normal", tmp_path / "set")) == 6


def test_a_binary_mask_is_white_where_its_soft_one_is_above_the_recorded_threshold(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    soft, binary = (
        make(model, boards / "normal", tmp_path / str(asked), binary_masks=asked)
        for asked in (False, True)
    )
    for by_soft, row in zip(soft, binary, strict=True):
        opacity = read_mask(tmp_path / "False" / by_soft["mask"])
        mask = read_mask(tmp_path / "True" / row["mask"])
        assert np.array_equal(mask, np.uint8(255) * is_defect(opacity, row["threshold"]))
        assert row["mask_area"] == round(float((mask > 0).mean()), 6) == by_soft["mask_area"]
        assert row["box"] == by_soft["box"] and row["threshold"] == by_soft["threshold"]
        assert row["output_sha256"] == by_soft["output_sha256"]
        assert row["binary"] and not by_soft["binary"]


@given(written=st.integers(0, 255), threshold=st.floats(0, 1))
def test_an_opacity_is_defect_or_not_in_whatever_form_it_stands(
    written: int, threshold: float
) -> None:
    """51 of 255 is 0.2 and not above it, although a product of floats may lie above."""
    forms = (np.uint8(written), np.float32(written / 255), np.uint16(written * 257))
    assert len({bool(is_defect(np.array([form]), threshold)[0]) for form in forms}) == 1
    exact = is_defect(np.arange(256, dtype=np.uint8), written / 255)
    assert exact.tolist() == [False] * (written + 1) + [True] * (255 - written)


@given(seed=st.integers(0, 10**6), pixels=st.integers(0, 3000), softness=st.floats(0.1, 8))
@settings(deadline=None)
def test_a_found_threshold_is_the_highest_that_leaves_the_promised_share_above_it(
    seed: int, pixels: int, softness: float
) -> None:
    drawn = np.random.default_rng(seed).beta(softness, 2, pixels) * 255
    visible = np.bincount(drawn.astype(np.int64), minlength=256)
    opacities = np.repeat(np.arange(256, dtype=np.uint8), visible)
    least = COVERED * len(opacities)
    found = _highest(visible)
    if not len(opacities):
        assert found == MASK_THRESHOLD
    elif found > INVISIBLE:
        assert is_defect(opacities, found).sum() >= least
        assert is_defect(opacities, found + 1 / 255).sum() < least


def test_the_masks_of_the_shipped_weights_cover_the_visible_change_and_hardly_more(
    tmp_path: Path,
) -> None:
    """At least 95 % of what went 10 of 255 or more, by no more than 1.3 times that area."""
    shipped = load_model(ROOT / "sample_data/pcb64.safetensors")
    normal = ROOT / "sample_data/normal"
    rows = make(shipped, normal, out := tmp_path / "set", defects=CLASSES, n=80, binary_masks=True)
    tally = Tally(threshold={row["class"]: row["threshold"] for row in rows})
    for subject in GeneratedSet(out, read_manifest(out)):
        assert not tally.add(subject).flags
    for row in tally.finish(CLASSES).summary.values():
        assert row["unmasked"] <= 0.05 and row["excess"] <= 1.3


def test_an_unknown_class_is_answered_with_the_known_ones(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"class bruhsing: found thread.* mean brushing\?"):
        make(model, boards / "normal", tmp_path / "set", defects=("bruhsing",))
    assert not (tmp_path / "set").exists()


def test_depth_alpha_and_profile_of_the_source_are_kept(model: Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    deep = Picture(rng.integers(0, 65535, (20, 30, 1), dtype=np.uint16))
    alpha = rng.integers(0, 255, (20, 30), dtype=np.uint8)
    clear = Picture(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8), alpha=alpha, icc=b"icc")
    rich = Picture(rng.integers(0, 65535, (20, 30, 3), dtype=np.uint16), icc=b"icc")
    real = Picture(rng.uniform(0, 1, (20, 30, 1)).astype(np.float32))
    for name, picture in (("deep", deep), ("clear", clear), ("rich", rich), ("real", real)):
        write_picture(tmp_path / "in" / f"{name}{suffix_of(picture)}", picture)
    rows = make(model, tmp_path / "in", tmp_path / "out", n=4)
    made = {Path(r["source"]).stem: read_picture(tmp_path / "out" / r["output"]) for r in rows}
    assert made["deep"].pixels.dtype == np.uint16
    assert made["rich"].pixels.dtype == np.uint16 and made["rich"].pixels.shape == (20, 30, 3)
    assert made["real"].pixels.dtype == np.float32
    assert made["rich"].icc == b"icc"
    clear = made["clear"]
    assert clear.icc == b"icc" and clear.alpha is not None and np.array_equal(clear.alpha, alpha)


def test_in_the_place_of_a_damaged_source_the_next_one_is_painted_on(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(boards / "normal", tmp_path / "imgs")
    sources = find_sources(str(folder))
    victim = list(make_plan(sources.files, ["tin"], n=6, seed=0))[4][0].source
    assert victim is not None
    spoil(victim)
    job = GenerateJob(sources, ("tin",), n=6, seed=0, binary_masks=False, candidates=1)
    out = tmp_path / "set"
    damaged = run_job(job, model, out, device=CPU, batch_size=2).damaged
    assert list(damaged) == [victim] and "is damaged" in damaged[victim]
    rows = rows_of(out)
    assert len(rows) == 6 and all((out / row["output"]).is_file() for row in rows)
    following = sources.files[(sources.files.index(victim) + 1) % 6]
    assert rows[4]["source"] == str(following)


def test_nothing_is_painted_where_all_sources_are_damaged(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(boards / "normal", tmp_path / "imgs")
    for path in folder.iterdir():
        spoil(path)
    with pytest.raises(DataError, match="all sources are damaged"):
        make(model, folder, tmp_path / "set", n=2)


def test_the_generator_alone_generates_without_a_verdict(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    rows = make(without_critic(model), boards / "normal", tmp_path / "set", n=1)
    assert "critic_score" not in rows[0]


def test_a_model_of_windows_paints_one_on_a_large_image(boards: Path, tmp_path: Path) -> None:
    """Trained on windows round the defects, it generates and is inspected at that scale."""
    config = tiny_with(data={"fit": "crop"})
    outcome = start(config, boards, tmp_path / "runs")
    model = load_model(outcome.run)
    with torch.no_grad():
        generator_of(model).head.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    (tmp_path / "imgs").mkdir()
    large = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    write_picture(tmp_path / "imgs" / "large.png", Picture(large))
    rows = make(model, tmp_path / "imgs", tmp_path / "set", n=4)
    assert len({tuple(row["window"]) for row in rows}) == 4
    for row in rows:
        left, top, width, height = row["window"]
        assert (width, height) == (32, 32)
        changed = (read_picture(tmp_path / "set" / row["output"]).pixels != large).any(axis=2)
        assert changed.any()
        changed[top : top + height, left : left + width] = False
        assert not changed.any()
    seen = list(GeneratedSet(tmp_path / "set", read_manifest(tmp_path / "set")))
    assert all(subject.mask.shape == subject.after.shape[:2] == (32, 32) for subject in seen)


def short_of_memory(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """A device with room for so many images at once."""
    forward = Generator.forward

    def limited(self: Generator, image: torch.Tensor, *given: torch.Tensor) -> Any:
        if len(image) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, image, *given)

    monkeypatch.setattr(Generator, "forward", limited)


def test_a_batch_that_does_not_fit_is_halved_which_is_said_once_and_changes_no_image(
    model: Model, boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make(model, boards / "normal", tmp_path / "whole", batch_size=1)
    short_of_memory(monkeypatch, 1)
    said: list[str] = []
    job = GenerateJob(
        find_sources(str(boards / "normal")), ("tin", "wound"), 6, 0, False, candidates=1
    )
    out = tmp_path / "halved"
    run_job(job, model, out, device=CPU, batch_size=4, say=said.append)
    assert len(said) == 1 and said[0].startswith("4 images at once do not fit into memory")
    for row, expected in zip(rows_of(out), rows, strict=True):
        assert (pixels_of(out, row) == pixels_of(tmp_path / "whole", expected)).all()


def test_a_single_image_that_does_not_fit_is_an_error_and_no_traceback(
    model: Model, boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(monkeypatch, 0)
    with pytest.raises(OutOfMemory, match="not even one of the images fits"):
        make(model, boards / "normal", tmp_path / "out")


def test_of_a_large_colour_source_a_gray_model_sees_its_window_alone() -> None:
    """The same values as if all of the source had been made gray."""
    rng = np.random.default_rng(0)
    source = Picture(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8))
    view = Viewer(DataConfig(image_size=32, fit="crop"))(source.size, rng=rng)
    whole = to_signed(view.see(as_channels(source, 1)), source.full).transpose(2, 0, 1)
    np.testing.assert_array_equal(model_view(source, view, 1, source.full).numpy(), whole)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("mask", ..., "mask is nothing, field required"),
        ("mask_area", "big", "mask_area is 'big', "),
        ("threshold", float("nan"), "threshold is nan, "),
    ],
)
def test_a_row_of_a_manifest_that_is_none_of_an_image_is_named_and_made_again(
    model: Model, boards: Path, tmp_path: Path, field: str, value: Any, said: str
) -> None:
    out = tmp_path / "out"
    make_set(model, boards / "normal", out, n=2)
    rows = rows_of(out)
    rows[1] = {k: v for k, v in (rows[1] | {field: value}).items() if v is not ...}
    write_json_lines(out / MANIFEST, rows)
    with pytest.raises(DataError) as caught:
        read_manifest(out)
    text = str(caught.value)
    assert text.startswith(f"line 2 of {out / MANIFEST} is damaged: {said}")
    assert text.endswith("mend or remove the line")
    make_set(model, boards / "normal", out, n=2)
    assert [row["number"] for row in rows_of(out)] == [0, 1]
