"""Where defects are painted: areas, the regions drawn in them, and what they do to an image."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from defectgan.errors import DataError, ModelError, SettingError
from defectgan.generation.canvas import Canvas
from defectgan.generation.heat import Heat
from defectgan.generation.plan import PlanRow
from defectgan.generation.region import Placed, Placer, control_of
from defectgan.generation.where import LEARNED, Area, read_area
from defectgan.generation.wishes import Amount, Span, Wishes, read_count
from defectgan.images import read_mask, read_picture, write_mask
from defectgan.manifest import read_manifest
from defectgan.methods.base import Painting
from defectgan.methods.exemplar import BANK
from defectgan.model.file import Model, load_model
from defectgan.model.painter import Painter
from defectgan.model.pixels import row_noise
from defectgan.networks.exemplars import CELL, Bank, Exemplars
from defectgan.settings.data import DataConfig
from defectgan.views import View, Viewer, Window
from tests.conftest import generator_of, start, tiny_with
from tests.test_generation import make, make_set, pixels_of


def placer(fit: str = "resize", side: int = 16) -> Placer:
    """One of a model that sees images so; nothing else of the model is used."""
    form = type("Form", (), {"view": DataConfig(image_size=side, fit=fit)})
    info = type("Info", (), {"form": form})
    return Placer(type("Any", (), {"info": info})())


def row(seed: int = 0, **wishes: Any) -> PlanRow:
    return PlanRow(0, Path("a.png"), "tin", seed, Wishes(**wishes))


def area(text: str | Path) -> Area:
    return read_area(str(text), [Path("a.png")])


def whole_region(placed: Placed, size: tuple[int, int]) -> Any:
    region = np.zeros(size, bool)
    placed.view.window.cut(region)[:] = placed.region
    return region


@given(
    size=st.tuples(st.integers(20, 80), st.integers(20, 80)),
    box=st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(8, 60)] * 2),
    low=st.integers(4, 8),
    more=st.integers(0, 12),
    fit=st.sampled_from(["resize", "letterbox", "crop"]),
    seed=st.integers(0, 10**6),
)
@settings(deadline=None, max_examples=80)
def test_a_region_lies_in_what_is_allowed_and_is_as_large_as_asked_where_that_fits(
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    low: int,
    more: int,
    fit: str,
    seed: int,
) -> None:
    """And beside what is forbidden and what is taken; the window that the model sees holds it."""
    wishes: dict[str, Any] = {
        "where": area(",".join(map(str, box))),
        "forbidden": area("0,0,10,10"),
        "size": Span.read(f"{low}..{low + more}"),
    }
    taken = np.zeros(size, bool)
    taken[-5:] = True
    place = placer(fit)
    placed = place(row(seed, **wishes), size, taken)
    allowed = np.zeros(size, bool)
    Window(*box).cut(allowed)[:] = True
    allowed[:10, :10] = False
    allowed &= ~taken
    if placed is None:
        return
    region = whole_region(placed, size)
    assert region.any() and not (region & ~allowed).any()
    left, top, width, height = placed.box
    assert np.array_equal(np.argwhere(region).min(axis=0), (top, left))
    assert max(width, height) <= low + more
    free_box = (box[2], box[3]) if box[0] >= 10 or box[1] >= 10 else (0, 0)
    fits = min(*free_box, size[1] - box[0], size[0] - 5 - box[1], 16) >= low + more
    if fits:
        assert region.sum() == width * height and min(width, height) >= low
    again = place(row(seed, **wishes), size, taken)
    assert again is not None and again.box == placed.box


def test_regions_come_to_lie_everywhere_in_what_is_allowed() -> None:
    place = placer()
    where: dict[str, Any] = {"where": area("8,8,32,16"), "size": Span.read("8")}
    boxes = [placed.box for i in range(300) if (placed := place(row(i, **where), (64, 64), None))]
    assert {(left, top) for left, top, *_ in boxes} <= {
        (x, y) for x in range(8, 33) for y in range(8, 17)
    }
    lefts, tops = [b[0] for b in boxes], [b[1] for b in boxes]
    assert (min(lefts), max(lefts), min(tops), max(tops)) == (8, 32, 8, 16)


def test_where_no_whole_box_fits_it_is_cut_to_what_is_allowed(tmp_path: Path) -> None:
    """As on traces, which are thinner than any defect."""
    lines = np.zeros((64, 64), np.uint8)
    lines[:, 20:24] = 255
    write_mask(tmp_path / "m.png", lines)
    wishes: dict[str, Any] = {"where": area(tmp_path / "m.png"), "size": Span.read("16")}
    placed = placer()(row(**wishes), (64, 64), None)
    assert placed is not None and placed.box[0] == 20 and placed.box[2:] == (4, 16)


def test_without_a_size_the_region_is_all_that_is_allowed_of_what_the_model_sees() -> None:
    wishes: dict[str, Any] = {"where": area("0.5,0.0,0.5,1.0")}
    placed = placer()(row(**wishes), (40, 60), None)
    assert placed is not None and placed.box == (30, 0, 30, 40)
    window = placer("crop")(row(**wishes), (40, 60), None)
    assert window is not None and window.view.window.width == 16
    seen = np.zeros((40, 60), bool)
    window.view.window.cut(seen)[:] = True
    seen[:, :30] = False
    assert np.array_equal(whole_region(window, (40, 60)), seen) and seen.any()


def test_there_is_no_room_where_all_is_forbidden_or_too_small_to_be_seen() -> None:
    assert placer()(row(forbidden=area("0.,0.,1.,1.")), (40, 40), None) is None
    assert placer(side=16)(row(where=area("3,3,1,1")), (64, 64), None) is None


def test_a_control_map_asks_for_the_class_inside_and_for_the_normal_look_outside() -> None:
    cover = torch.zeros(1, 1, 4, 4)
    cover[..., 1:3, 2] = 0.9
    cover[..., 0, 0] = 0.3
    label = torch.eye(3)[2].view(1, 3, 1, 1)
    control = control_of(cover, label)
    expected = torch.eye(3)[0].view(1, 3, 1, 1).repeat(1, 1, 4, 4)
    expected[0, :, 1:3, 2] = torch.eye(3)[2][:, None]
    assert_close(control, expected, atol=0, rtol=0)


def test_a_region_covers_a_frame_as_far_as_it_lies_in_its_pixels() -> None:
    """Beside the image, where a letterbox repeats its border, nothing is covered."""
    view = Viewer(DataConfig(image_size=16, fit="letterbox"))((16, 32))
    region = np.zeros((16, 32), bool)
    region[:, 16:] = True
    cover = Placed(view, region, sized=True).cover()
    assert cover.shape == (1, 16, 16)
    assert cover[0, 4:12, 9:].eq(1).all() and cover[0, 4:12, :7].eq(0).all()
    assert cover[0, :4].eq(0).all() and cover[0, 12:].eq(0).all()


@pytest.mark.parametrize("text", ["1,2,3", "0.1,0.2,1.5,0.1", "0,0,0,5", "-1,2,3,4", "nowhere.png"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises((SettingError, DataError), match=r"expected|to be above 0"):
        read_area(text, [Path("a.png")])


@pytest.mark.parametrize("text", ["", "0", "9..3", "0.1..8", "1.5", "a..b"])
def test_what_is_no_range_of_sizes_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="expected"):
        Span.read(text)


@pytest.mark.parametrize("text", ["0", "3..1", "1.5", "", "-1"])
def test_what_is_no_range_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="expected"):
        read_count(text)


def test_a_decimal_point_makes_a_share_of_an_amount() -> None:
    assert Amount.read("24").of(100) == 24 and Amount.read("0.25").of(100) == 25
    assert Amount.read("1.0").of(100) == 100 and Amount.read("1").of(100) == 1
    assert read_count("2..4") == (2, 4) and read_count("3") == (3, 3)


def test_masks_of_a_folder_are_found_by_the_names_of_the_images(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    files = sorted((boards / "normal").glob("*.png"))
    for i, file in enumerate(files):
        mask = np.zeros((48, 48), np.uint8)
        mask[8 * (i % 4) : 8 * (i % 4) + 16, 16:40] = 255
        write_mask(tmp_path / "masks" / f"{file.stem}_mask.png", mask)
    where = read_area(str(tmp_path / "masks"), files)
    for file in files:
        expected = read_mask(tmp_path / "masks" / f"{file.stem}_mask.png") > 0
        assert np.array_equal(where.of(file, (48, 48)), expected)
    with pytest.raises(DataError, match="a mask has the size of its image"):
        where.of(files[0], (40, 48))
    (tmp_path / "masks" / f"{files[0].stem}_mask.png").unlink()
    with pytest.raises(DataError, match="has no mask for 1 image of 6"):
        read_area(str(tmp_path / "masks"), files)


@pytest.mark.parametrize("count", [(1, 1), (2, 3)])
def test_no_pixel_outside_the_regions_changes(
    model: Model, boards: Path, tmp_path: Path, count: tuple[int, int]
) -> None:
    """The mask and the change of each defect lie in its region, and the regions lie apart."""
    wishes = Wishes(where=area("4,6,40,38"), size=Span.read("10..14"), count=count)
    make(model, boards / "normal", tmp_path / "set", n=8, wishes=wishes, candidates=2)
    rows = read_manifest(tmp_path / "set")
    assert len(rows) == 8
    assert {len(one.instances) for one in rows} == set(range(count[0], count[1] + 1))
    for one in rows:
        inside = np.zeros((48, 48), int)
        for instance in one.instances:
            assert instance.region is not None and instance.box is not None
            left, top, width, height = instance.region
            assert left >= 4 and top >= 6 and left + width <= 44 and top + height <= 44
            assert 10 <= width <= 14 and 10 <= height <= 14
            Window(*instance.region).cut(inside)[:] += 1
        assert inside.max() == 1
        mask = read_mask(tmp_path / "set" / one.mask)
        assert not mask[inside == 0].any()
        before = np.asarray(read_pixels(one.source))
        after = pixels_of(tmp_path / "set", {"output": one.output})
        assert np.array_equal(before[mask == 0], after[mask == 0])
        assert all(Window(*i.region).cut(mask).any() for i in one.instances if i.region)


def read_pixels(source: str | None) -> Any:
    assert source is not None
    return read_picture(Path(source)).pixels.astype(int)


def test_the_whole_image_as_a_region_paints_what_no_region_does(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    """A control map that is the same everywhere means the same, whatever its size."""
    free = make(model, boards / "normal", tmp_path / "free")
    wishes = Wishes(where=area("0.,0.,1.,1."))
    placed = make(model, boards / "normal", tmp_path / "placed", wishes=wishes)
    for a, b in zip(free, placed, strict=True):
        change = pixels_of(tmp_path / "free", a) - pixels_of(tmp_path / "placed", b)
        assert np.abs(change).max() <= 1


def test_several_classes_are_painted_into_one_image_and_told_apart(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    wishes = Wishes(size=Span.read("12..16"), together=True)
    make(model, boards / "normal", tmp_path / "set", n=4, wishes=wishes)
    for one in read_manifest(tmp_path / "set"):
        assert one.defect == "tin+wound" and one.labels == ("tin", "wound")
        assert Path(one.output).parent == Path("images/tin+wound")
        mask = read_mask(tmp_path / "set" / one.mask) / 255 > one.threshold_or(1)
        areas = 0.0
        for instance in one.instances:
            assert instance.region is not None
            part = Window(*instance.region).cut(mask)
            assert round(float(part.sum()) / mask.size, 6) == instance.area > 0
            areas += instance.area
        assert one.mask_area == pytest.approx(areas, abs=1e-5)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.5])
def test_what_is_finer_comes_from_the_origin_of_the_layer(
    model: Model,
    boards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strength: float,
) -> None:
    """Of each of several defects, and nothing of it lies outside its region or under no mask."""
    painting, written = Painter.painting, Canvas.painted
    numbers = model.painter.noise_size(*Viewer(model.info.form.view).frame)
    seeds: list[int] = []

    def origin_of(noise: Any) -> Any:
        return (noise[:, :4] * 2**16).long()

    def painted(self: Painter, image: Any, control: Any, noise: Any, *more: Any) -> Painting:
        layer = painting(self, image, control, noise, *more).layer
        return Painting(layer, origin_of(noise))

    def finer(self: Painter, origin: Any) -> Any:
        size = 1, model.info.channels, *(4 * side for side in Viewer(model.info.form.view).frame)
        bands = torch.rand(size, generator=torch.Generator().manual_seed(0)) - 0.5
        return torch.cat([bands, torch.ones_like(bands[:, :1])], dim=1)

    def composed(self: Canvas, *of: Any) -> Any:
        assert self.origin is not None
        assert torch.equal(self.origin, origin_of(row_noise(self.row.seed, numbers)[None])[0])
        seeds.append(self.row.seed)
        return written(self, *of)

    monkeypatch.setattr(Painter, "painting", painted)
    monkeypatch.setattr(Painter, "detail", finer)
    monkeypatch.setattr(Canvas, "painted", composed)
    wishes = Wishes(size=Span.read("12..16"), together=True, strength=strength)
    make(model, boards / "normal", tmp_path / "set", n=2, wishes=wishes)
    assert len({*seeds}) >= 4
    for one in read_manifest(tmp_path / "set"):
        after = pixels_of(tmp_path / "set", {"output": one.output})
        change = after - read_pixels(one.source)
        mask = read_mask(tmp_path / "set" / one.mask)
        assert not change[mask == 0].any()
        assert bool(change.any()) == bool(mask.any()) == bool(strength)
        inside = np.zeros(mask.shape, bool)
        for instance in one.instances:
            assert instance.region is not None
            Window(*instance.region).cut(inside)[:] = True
        assert not mask[~inside].any()


def test_a_heat_map_is_drawn_from_in_proportion_and_only_where_it_is_free() -> None:
    likely = np.zeros((4, 4))
    likely[1, 2], likely[3, 0] = 3.0, 1.0
    view = View(Window(0, 0, 32, 32), Window(0, 0, 16, 16), (16, 16))
    heat, free = Heat(likely, 8, 8), np.ones((32, 32), bool)
    rng = np.random.default_rng(0)
    drawn = [heat.draw(free, view, rng) for _ in range(400)]
    cells = [(y // 8, x // 8) for y, x in filter(None, drawn)]
    assert len(cells) == 400 and {*cells} == {(1, 2), (3, 0)}
    assert 260 < cells.count((1, 2)) < 340
    assert len({*drawn}) > 60  # all over a cell
    free[8:16] = False
    assert {(y // 8, x // 8) for y, x in filter(None, (heat.draw(free, view, rng),))} == {(3, 0)}
    free[:] = False
    free[0, 0] = True
    assert heat.draw(free, view, rng) is None


def test_only_a_model_that_keeps_real_defects_knows_where_they_are(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="of the method robust, and only one of the method exempl"):
        make_set(model, boards / "normal", tmp_path / "set", wishes=Wishes(where=area(LEARNED)))
    assert not (tmp_path / "set").exists()


@pytest.fixture(scope="module")
def exemplars(boards: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny model of the method exemplar that paints; its bank holds defects of one place."""
    config = tiny_with(method={"name": "exemplar"})
    model = load_model(start(config, boards, tmp_path_factory.mktemp("runs")).run)
    with torch.no_grad():
        generator_of(model).head.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
        bank = cast(Bank, model.painter.networks[BANK])
        code = torch.zeros(2, *bank.code.shape[1:])
        code[..., 5:7, 1:3] = 1
        found = Exemplars(code, torch.zeros(2, *bank.ground.shape[1:]))
        bank.fill([found] * len(bank.count))
    return model


def test_learned_places_lie_where_real_defects_were_found(
    exemplars: Model, boards: Path, tmp_path: Path
) -> None:
    """Two by two cells, with a rim of one on each side."""
    wishes = Wishes(where=area(LEARNED))
    make(exemplars, boards / "normal", tmp_path / "set", n=8, wishes=wishes)
    scale = 48 / 32 * CELL
    for one in read_manifest(tmp_path / "set"):
        (instance,) = one.instances
        assert instance.region is not None
        left, top, width, height = instance.region
        assert (width, height) == (round(4 * scale), round(4 * scale))
        x, y = left + width // 2, top + height // 2
        # Those at the edge of the image were moved into it.
        assert scale <= x < 3 * scale or left == 0
        assert 5 * scale <= y < 7 * scale or top + height == 48
