"""Masks as people have them, and photographs that were held sideways: the same defect in each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from defectgan.data.index import Index, index_data
from defectgan.data.masks import read_region
from defectgan.data.outlines import upright_box
from defectgan.heads import Header
from defectgan.images import turned
from defectgan.settings.data import DataConfig
from tests.test_shipped_layouts import HIGH, WIDE, box, coco, mask, photo, spot, write, xml

Draw = Callable[[Path, int], None]
FOLDERS = [
    ("masks/crack", "{}.png"),
    ("Masks/crack", "{}_mask.png"),
    ("mask", "{}.bmp"),
    ("ground_truth/crack", "{}_GT.PNG"),
    ("labels/crack", "{}_label.tif"),
    ("gt", "{}-gt.png"),
    ("masks/CRACK", "{}.tiff"),
    ("crack/masks", "{}.png"),
    ("crack/Mask", "{}_mask.png"),
    ("crack", "{}_mask.png"),
    ("crack", "{}_label.bmp"),
    ("crack", "{}.png"),
]


def parts(root: Path) -> Path:
    for i in range(3):
        photo(root / "good" / f"g{i}.jpg")
        photo(root / "crack" / f"Part {i}.jpg")
    return root


def read(root: Path, **settings: Any) -> Index:
    return index_data(root, DataConfig(**settings))


def regions(index: Index) -> list[Any]:
    return [s.mask and read_region(s.mask) for s in index.members[1]]


@pytest.mark.parametrize(("folder", "name"), FOLDERS)
def test_masks_are_found_wherever_they_lie_and_whatever_they_end_in(
    folder: str, name: str, tmp_path: Path
) -> None:
    root = parts(tmp_path / "set")
    for i in range(3):
        mask(root / folder / name.format(f"part {i}" if "CRACK" in folder else f"Part {i}"))
    index = read(root)
    assert index.counts() == {"good": 3, "crack": 3}
    assert [np.array_equal(one, spot() > 0) for one in regions(index)] == [True] * 3
    assert not index.skipped


def test_masks_that_match_nothing_are_said_with_an_example_of_both_names(tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    mask(root / "masks" / "crack" / "annotation-17.png")
    notes = "\n".join(read(root).notes)
    assert "1 file in folders of masks match no image" in notes
    assert "annotation-17.png" in notes and "called like Part 0.jpg" in notes
    assert "3 of 3 images of defects have no true mask" in notes


def test_twins_that_are_both_photographs_are_two_images(tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    photo(root / "crack" / "Part 0.bmp")
    assert read(root).counts() == {"good": 3, "crack": 4}


def numbers(path: Path, i: int) -> None:
    """Classes 1, 2, 3: the spot is of two of them."""
    pixels = spot(3)
    pixels[:, :16][pixels[:, :16] > 0] = 1
    mask(path, pixels)


def gray_levels(path: Path, i: int) -> None:
    pixels = spot(255)
    pixels[:, :16][pixels[:, :16] > 0] = 90
    mask(path, pixels)


def colours(path: Path, i: int) -> None:
    """Dark blue and bright red on black."""
    shown = spot() > 0
    pixels = np.zeros((HIGH, WIDE, 3), np.uint8)
    pixels[shown] = (255, 0, 0)
    pixels[:, :16][shown[:, :16]] = (0, 0, 100)
    mask(path, pixels)


def on_white(path: Path, i: int) -> None:
    pixels = np.full((HIGH, WIDE, 3), 255, np.uint8)
    pixels[spot() > 0] = (255, 0, 0)
    mask(path, pixels)


def palette(path: Path, i: int) -> None:
    image = Image.fromarray(spot(1))
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(path)


def transparent(path: Path, i: int) -> None:
    pixels = np.zeros((HIGH, WIDE, 4), np.uint8)
    pixels[..., 3] = spot()
    mask(path, pixels)


def inverted(path: Path, i: int) -> None:
    mask(path, spot(0, 255))


def one_bit(path: Path, i: int) -> None:
    Image.fromarray(spot()).convert("1").save(path)


def deep(path: Path, i: int) -> None:
    mask(path, spot().astype(np.uint16) * 257)


KINDS: list[tuple[Draw, str]] = [
    (numbers, "numbers of classes"),
    (gray_levels, "numbers of classes"),
    (colours, "colours"),
    (on_white, "colours"),
    (palette, ""),
    (transparent, ""),
    (inverted, "taken for inverted"),
    (one_bit, ""),
    (deep, ""),
]


@pytest.mark.parametrize(("draw", "said"), KINDS, ids=[draw.__name__ for draw, _ in KINDS])
def test_a_mask_of_any_kind_shows_the_defect(draw: Draw, said: str, tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    (root / "masks" / "crack").mkdir(parents=True)
    for i in range(3):
        draw(root / "masks" / "crack" / f"Part {i}.png", i)
    index = read(root)
    assert [np.array_equal(one, spot() > 0) for one in regions(index)] == [True] * 3
    assert said in "\n".join(index.notes)
    assert all(s.marks[0].box == tuple(box()) for s in index.members[1])


def test_what_was_guessed_of_masks_can_be_said_otherwise(tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    for i in range(3):
        mask(root / "masks" / "crack" / f"Part {i}.png", spot(0, 255))
    plain = read(root, mask_values="plain")
    assert [np.array_equal(one, spot(0, 1) > 0) for one in regions(plain)] == [True] * 3
    assert any("3 masks of more than half of the image" in note for note in plain.notes)


def test_a_single_large_mask_is_no_inverted_one_and_said(tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    for i in range(2):
        mask(root / "masks" / "crack" / f"Part {i}.png")
    large = np.full((HIGH, WIDE), 255, np.uint8)
    large[:2] = 0
    mask(root / "masks" / "crack" / "Part 2.png", large)
    index = read(root)
    assert np.array_equal(regions(index)[2], large > 0)
    (note,) = (n for n in index.notes if "more than half" in n)
    assert note.startswith("1 mask ") and "Part 2.png" in note


def test_soft_masks_stay_those_of_what_is_above_half(tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    for i in range(3):
        soft = spot().astype(float)
        soft[5] = soft[14] = 80 * (soft[10] > 0)
        mask(root / "masks" / "crack" / f"Part {i}.png", soft.astype(np.uint8))
    assert [np.array_equal(one, spot() > 0) for one in regions(read(root))] == [True] * 3


@pytest.mark.parametrize("turn", range(1, 9))
def test_an_upright_image_is_what_pillow_makes_of_it_and_so_is_a_box(turn: int) -> None:
    from PIL import ImageOps

    stored = spot()
    exif = Image.Exif()
    exif[0x0112] = turn
    image = Image.fromarray(stored)
    image.info["exif"] = exif.tobytes()
    upright = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(turned(stored, turn), upright)
    height, width = upright.shape
    x, y, w, h = map(int, upright_box(tuple(box()), Header(width, height, 1, 8, 1, turn)))  # type: ignore[arg-type]
    shown = np.zeros_like(upright)
    shown[y : y + h, x : x + w] = 255
    assert np.array_equal(shown, upright)


@pytest.mark.parametrize("turn", [6, 8, 5])
@pytest.mark.parametrize("by", ["mask", "coco", "voc"])
def test_a_photograph_held_sideways_keeps_its_truth(turn: int, by: str, tmp_path: Path) -> None:
    """Labelled as its file holds it; the same labelled upright."""
    expected = turned(spot(), turn) > 0
    for upright in (False, True):
        root = tmp_path / str(upright)
        photo(root / "good" / "0.jpg", turn=turn)
        photo(root / "crack" / "1.jpg", turn=turn)
        shown = turned(spot(), turn) if upright else spot()
        (rows, columns), (high, wide) = np.nonzero(shown), shown.shape
        left, top = int(columns.min()), int(rows.min())
        right, bottom = int(columns.max()) + 1, int(rows.max()) + 1
        if by == "mask":
            mask(root / "masks" / "crack" / "1.png", shown)
        elif by == "coco":
            tree = coco(["good/0.jpg", "crack/1.jpg"], ["crack/1.jpg"], width=wide, height=high)
            corners = [[left, top, right, top, right, bottom, left, bottom]]
            tree["annotations"][0] |= {"segmentation": corners, "bbox": None}
            write(root / "annotations.json", tree)
        else:
            text = xml("1.jpg", "crack", size=(wide, high))
            for name, value in zip(
                ("xmin", "ymin", "xmax", "ymax"), (left, top, right, bottom), strict=True
            ):
                head, _, tail = text.partition(f"<{name}>")
                text = f"{head}<{name}>{value}</{name}>{tail.partition(f'</{name}>')[2]}"
            write(root / "crack" / "1.xml", text)
        layout = "voc" if by == "voc" else None  # class folders would go before it
        (sample,) = index_data(root, DataConfig(layout=layout)).members[1]
        if sample.mask is not None:
            assert np.array_equal(read_region(sample.mask), expected)
        x, y, w, h = map(int, sample.marks[0].box)
        assert expected[y : y + h, x : x + w].all() and w * h == expected.sum()


def test_labels_of_an_image_of_another_size_leave_it_out(tmp_path: Path) -> None:
    for i in range(3):
        photo(tmp_path / "set" / f"{i}.png")
    names = [f"{i}.png" for i in range(3)]
    tree = coco(names, names[:2])
    tree["images"][0] |= {"width": 400, "height": 240}
    write(tmp_path / "set" / "annotations.json", tree)
    index = read(tmp_path / "set")
    ((path, reason),) = index.skipped
    assert path.name == "0.png" and "400 wide and 240 high" in reason
    assert index.counts() == {"normal": 1, "scratch": 1}


@pytest.mark.parametrize(("turn", "said"), [(1, 0), (2, 1), (3, 1), (6, 0)])
def test_labels_of_an_image_that_was_held_otherwise_without_a_sign_of_it_are_said(
    turn: int, said: int, tmp_path: Path
) -> None:
    photo(tmp_path / "0.jpg", turn=turn)
    photo(tmp_path / "1.jpg")
    names = ["0.jpg", "1.jpg"]
    write(tmp_path / "annotations.json", coco(names, names[:1]))
    notes = [note for note in read(tmp_path).notes if "turned or mirrored" in note]
    assert len(notes) == said and all("0.jpg" in note for note in notes)
