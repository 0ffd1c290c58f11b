import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from defectgan.data.dataset import ImageSet
from defectgan.data.index import Index, index_data, read_split, write_split
from defectgan.data.masks import read_region
from defectgan.data.outlines import box_of, outline_of, region_of, with_masks
from defectgan.data.samples import Mark, Sample
from defectgan.errors import DataError
from defectgan.heads import Header
from defectgan.settings.data import DataConfig

HEIGHT, WIDTH = 48, 48
Region = NDArray[np.bool_]


def runs_of(region: Region) -> list[int]:
    """The run lengths of a region down its columns, of what is outside first: a naive encoder."""
    flat = region.T.reshape(-1).tolist()
    runs, now = [0], False
    for value in flat:
        if value != now:
            runs.append(0)
            now = value
        runs[-1] += 1
    return runs


def compressed(runs: list[int]) -> str:
    """As COCO's own tools write them: a naive encoder."""
    text = ""
    for i, run in enumerate(runs):
        value = run - (runs[i - 2] if i > 2 else 0)
        while True:
            code, value = value & 0x1F, value >> 5
            more = value != (-1 if code & 0x10 else 0)
            text += chr(48 + code + (0x20 if more else 0))
            if not more:
                break
    return text


def block(top: int, left: int, bottom: int, right: int) -> Region:
    region = np.zeros((HEIGHT, WIDTH), bool)
    region[top:bottom, left:right] = True
    return region


def polygon(top: int, left: int, bottom: int, right: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def run_lengths(region: Region, *, as_text: bool) -> dict[str, Any]:
    runs = runs_of(region)
    return {"size": list(region.shape), "counts": compressed(runs) if as_text else runs}


regions = st.binary(min_size=7 * 5, max_size=7 * 5).map(
    lambda data: np.frombuffer(data, np.uint8).reshape(7, 5) > 127
)


@given(regions, st.booleans())
def test_run_lengths_are_read_as_an_independent_encoder_wrote_them(
    region: Region, as_text: bool
) -> None:
    outline = json.dumps(run_lengths(region, as_text=as_text))
    assert np.array_equal(region_of(outline, 7, 5), region)


def test_long_runs_are_read(tmp_path: Path) -> None:
    region = np.zeros((900, 700), bool)
    region[100:800, 300:310] = True
    for as_text in (True, False):
        outline = json.dumps(run_lengths(region, as_text=as_text))
        assert np.array_equal(region_of(outline, 900, 700), region)


def test_a_polygon_on_whole_pixels_is_known_exactly() -> None:
    outline = json.dumps(polygon(10, 5, 30, 21))
    assert np.array_equal(region_of(outline, HEIGHT, WIDTH), block(10, 5, 30, 21))


@given(st.lists(st.tuples(st.floats(2, 45), st.floats(2, 45)), min_size=3, max_size=6))
def test_a_polygon_is_what_another_rasteriser_draws_but_for_its_border(
    corners: list[tuple[float, float]],
) -> None:
    outline = json.dumps([[v for corner in corners for v in corner]])
    ours = region_of(outline, HEIGHT, WIDTH)
    sheet = Image.new("L", (WIDTH * 8, HEIGHT * 8))
    draw = ImageDraw.Draw(sheet)
    scaled = [(8 * x, 8 * y) for x, y in corners]
    draw.polygon(scaled, fill=1)
    inside = np.asarray(sheet).reshape(HEIGHT, 8, WIDTH, 8).mean((1, 3))
    draw.line([*scaled, scaled[0]], fill=2, width=24)
    border = (np.asarray(sheet).reshape(HEIGHT, 8, WIDTH, 8) == 2).any((1, 3))
    assert np.array_equal(ours[~border], (inside > 0.5)[~border])


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([[1, 2, 3, 4]], "three corners"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three corners"),
        ([[1, 2, 3, 4, 5, 1e12]], "far outside"),
        ([[1, 2, 3, 4, 5, float("nan")]], "three corners"),
        ({"size": [48, 48], "counts": [5, 7]}, "12 pixels, the image has 2304"),
        ({"size": [48, 48], "counts": [5000, -2696]}, "the image has 2304"),
        ({"size": [48, 48], "counts": "0"}, "0 pixels, the image has 2304"),
        ({"size": [48, 48], "counts": "oooo"}, "cut short"),
        ({"size": [48, 48], "counts": "\u00e9"}, "none of its code"),
        ({"size": [24, 48], "counts": [1152]}, "the image is"),
    ],
)
def test_an_outline_that_is_none_is_left_out_by_its_id_and_its_image_keeps_the_box(
    segmentation: Any, reason: str, boards: Path, tmp_path: Path
) -> None:
    marks = [(0, 1, segmentation), (1, 1, polygon(2, 3, 9, 9))]
    index = index_data(annotated(boards, tmp_path / "data", marks), DataConfig(classes=("tin",)))
    (told,) = (note for note in index.notes if "outline is damaged" in note)
    assert "annotation 100 of " in told and reason in told and not index.skipped
    bad, good = sorted(index.members[1], key=lambda s: s.file.name)
    assert bad.mask is None and bad.marks[0].box == (2, 3, 4, 5) and bad.marks[0].outline is None
    assert good.mask is not None


def annotated(boards: Path, root: Path, marks: list[tuple[int, int, Any]]) -> Path:
    """Two defect images and the good ones; ``marks`` are (image, category, segmentation)."""
    shutil.copytree(boards / "normal", root / "normal")
    (root / "tin").mkdir()
    for path in sorted((boards / "tin").iterdir())[:2]:
        shutil.copy(path, root / "tin")
    defects = sorted((root / "tin").iterdir())
    files = [*defects, *sorted((root / "normal").iterdir())]
    tree = {
        "images": [{"id": i, "file_name": str(f.relative_to(root))} for i, f in enumerate(files)],
        "categories": [{"id": 1, "name": "tin"}, {"id": 2, "name": "dirt"}],
        "annotations": [
            {
                "id": 100 + n,
                "image_id": i,
                "category_id": k,
                "bbox": [2, 3, 4, 5],
                "segmentation": shape,
            }
            for n, (i, k, shape) in enumerate(marks)
        ],
    }
    (root / "annotations.json").write_text(json.dumps(tree))
    return root


def first_mask(index: Index) -> Region:
    sample = min(index.members[1], key=lambda s: s.file.name)
    assert sample.mask is not None
    return read_region(sample.mask)


SHAPES = [
    (0, 1, polygon(2, 3, 10, 12)),
    (0, 1, run_lengths(block(20, 20, 30, 25), as_text=True)),
    (0, 2, polygon(40, 40, 45, 47)),
    (1, 1, run_lengths(block(0, 0, 5, 5), as_text=False)),
]


def test_the_outlines_of_an_image_are_one_mask_of_the_classes_asked_for(
    boards: Path, tmp_path: Path
) -> None:
    root = annotated(boards, tmp_path / "data", SHAPES)
    tin = block(2, 3, 10, 12) | block(20, 20, 30, 25)
    index = index_data(root, DataConfig(classes=("tin",)))
    assert np.array_equal(first_mask(index), tin)
    assert np.array_equal(first_mask(index_data(root, DataConfig())), tin | block(40, 40, 45, 47))
    assert not index.notes and not index.skipped
    truths = ImageSet(index, DataConfig(image_size=48), truths=True)
    assert all(truths.truth(sample) is not None for sample in index.members[1])
    assert all(truths.truth(sample) is None for sample in index.members[0])


def test_boxes_stay_boxes_and_a_mask_of_some_defects_is_none(boards: Path, tmp_path: Path) -> None:
    marks = [(0, 1, polygon(2, 3, 10, 12)), (0, 1, []), (1, 1, None)]
    index = index_data(annotated(boards, tmp_path / "data", marks), DataConfig(classes=("tin",)))
    assert [s.mask for s in index.members[1]] == [None, None]
    assert [len(s.marks) for s in index.members[1]] == [2, 1]
    note, unused = sorted(index.notes)
    assert unused == "no image shows dirt: left out of the classes"
    assert note.startswith("1 image with outlines of some defects and boxes of others")


def test_a_run_finds_its_masks_again_also_where_the_cache_is_gone(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = annotated(boards, tmp_path / "data", SHAPES)
    index = index_data(root, DataConfig(classes=("tin",)))
    write_split(tmp_path / "split.json", index)
    assert read_split(tmp_path / "split.json") == index
    monkeypatch.setenv("DEFECTGAN_CACHE", str(tmp_path / "another"))
    again = read_split(tmp_path / "split.json")
    assert np.array_equal(first_mask(again), first_mask(index))
    tree = json.loads((tmp_path / "split.json").read_text())
    damaged = json.dumps({"size": [48, 48], "counts": [3]})
    row = next(row for row in tree["samples"] if "marks" in row)
    row["marks"][0][2] = damaged
    (tmp_path / "split.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match=r"split\.json is damaged: .*3 pixels, the image has 2304"):
        read_split(tmp_path / "split.json")


def test_the_box_round_run_lengths_is_known() -> None:
    assert box_of(run_lengths(block(2, 3, 10, 12), as_text=True)) == (3, 2, 9, 8)
    with pytest.raises(ValueError, match="empty"):
        box_of(run_lengths(block(0, 0, 0, 0), as_text=True))


def test_an_image_of_many_outlines_takes_no_more_memory_than_one_of_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEFECTGAN_CACHE", str(tmp_path))
    side, count = 1000, 60
    runs = [{"size": [side, side], "counts": [k, 1, side**2 - k - 1]} for k in range(count)]
    marks = tuple(Mark((0, k, 1, 1), "tin", outline_of(one)) for k, one in enumerate(runs))
    header = Header(side, side, 1, 8, 1)
    sample = Sample(tmp_path / "board.png", ("tin",), marks=marks, header=header)
    tracemalloc.start()
    (made,), unclear = with_masks([sample])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.mask is not None and not unclear
    assert read_region(made.mask).sum() == count
    assert peak < 10 * side**2  # of ``count`` regions of a byte a pixel
