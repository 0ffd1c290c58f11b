import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from defectgan.config import DataConfig
from defectgan.errors import DataError, ModelError, OutOfMemory
from defectgan.files import sha256
from defectgan.generation.layer import model_view, paint_source
from defectgan.generation.plan import find_sources, make_plan
from defectgan.generation.run import Job, already_made, run_job
from defectgan.generation.writers import read_manifest
from defectgan.images import Picture, read_mask, read_picture, suffix_of, write_picture
from defectgan.inspection.subjects import GeneratedSet
from defectgan.models.generator import Generator
from defectgan.training.checkpoint import MASK_THRESHOLD, Model, load_model
from defectgan.views import View, Viewer
from tests.conftest import spoil, start, tiny_with

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    """The tiny model, made to paint: half a step into training its masks would still be gray."""
    model = load_model(run)
    with torch.no_grad():
        model.generator.head.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
        model.generator.last_noise.scale.fill_(0.5)
    return model


def make(
    model: Model, normal: Path, out: Path, *, batch_size: int = 4, **job: Any
) -> list[dict[str, Any]]:
    asked = Job(
        find_sources(str(normal)),
        **({"defects": ("tin", "wound"), "n": 6, "seed": 0, "binary_masks": False} | job),
    )
    run_job(asked, model, out, device=CPU, batch_size=batch_size, done=lambda count: None)
    return read_manifest(out)


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
    rows = make_plan(files, ["a", "b"], n=12, seed=0)
    assert {row.source for row in rows[:5]} == {row.source for row in rows[5:10]} == set(files)
    assert [row.defect for row in rows] == ["a", "b"] * 6
    assert len({row.seed for row in rows}) == 12


def test_a_row_does_not_depend_on_how_many_are_asked_for() -> None:
    files = [Path(f"{i}.png") for i in range(5)]
    assert make_plan(files, ["a"], n=12, seed=0)[:7] == make_plan(files, ["a"], n=7, seed=0)


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
        assert mask[top : top + height, left : left + width].max() > MASK_THRESHOLD * 255
        assert row["mask_area"] == round(float((mask > MASK_THRESHOLD * 255).mean()), 6)


def test_the_same_seed_makes_the_same_images_whatever_the_batch_size(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    for size in (1, 4, 6):
        make(model, boards / "normal", tmp_path / str(size), batch_size=size)
    rows = read_manifest(tmp_path / "1")
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
    job = Job(find_sources(str(boards / "normal")), ("tin", "wound"), 6, 0, False)
    assert already_made(job, model, tmp_path / "set") == 4
    assert make(model, boards / "normal", tmp_path / "set") == whole
    assert already_made(job, model, tmp_path / "set") == 6


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
    without = replace(model, critic=None)
    with pytest.raises(ModelError, match="the generator alone"):
        make(without, boards / "normal", tmp_path / "set", candidates=2)
    assert not (tmp_path / "set").exists()
    assert len(make(without, boards / "normal", tmp_path / "set")) == 6


def test_binary_masks_are_white_wherever_a_pixel_was_painted(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    for row in make(model, boards / "normal", tmp_path / "set", binary_masks=True):
        mask = read_mask(tmp_path / "set" / row["mask"])
        before = read_picture(Path(row["source"])).pixels
        after = read_picture(tmp_path / "set" / row["output"]).pixels
        assert set(np.unique(mask)) == {0, 255}
        assert np.array_equal(before[mask == 0], after[mask == 0])


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
    assert made["clear"].icc == b"icc" and np.array_equal(made["clear"].alpha, alpha)


def test_in_the_place_of_a_damaged_source_the_next_one_is_painted_on(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(boards / "normal", tmp_path / "imgs")
    sources = find_sources(str(folder))
    victim = make_plan(sources.files, ["tin"], n=6, seed=0)[4].source
    spoil(victim)
    job = Job(sources, ("tin",), n=6, seed=0, binary_masks=False)
    out = tmp_path / "set"
    damaged = run_job(job, model, out, device=CPU, batch_size=2, done=lambda count: None)
    assert list(damaged) == [victim] and "is damaged" in damaged[victim]
    rows = read_manifest(out)
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
    rows = make(replace(model, critic=None), boards / "normal", tmp_path / "set", n=1)
    assert "critic_score" not in rows[0]


def test_a_model_of_windows_paints_one_on_a_large_image(boards: Path, tmp_path: Path) -> None:
    """Trained on windows round the defects, it generates and is inspected at that scale."""
    config = tiny_with(data={"fit": "crop"})
    outcome = start(config, boards, tmp_path / "runs")
    model = load_model(outcome.run)
    with torch.no_grad():
        model.generator.head.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
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
    job = Job(
        find_sources(str(boards / "normal")), ("tin", "wound"), n=6, seed=0, binary_masks=False
    )
    out = tmp_path / "halved"
    run_job(job, model, out, device=CPU, batch_size=4, done=lambda count: None, say=said.append)
    assert len(said) == 1 and said[0].startswith("4 images at once do not fit into memory")
    for row, expected in zip(read_manifest(out), rows, strict=True):
        assert (pixels_of(out, row) == pixels_of(tmp_path / "whole", expected)).all()


def test_a_single_image_that_does_not_fit_is_an_error_and_no_traceback(
    model: Model, boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(monkeypatch, 0)
    with pytest.raises(OutOfMemory, match="not even one of the images fits"):
        make(model, boards / "normal", tmp_path / "out")
