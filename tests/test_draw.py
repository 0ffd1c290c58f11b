"""The sample tiles in sample_data are true to their masks and to their seeds."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.conftest import load_script

SIZE = 64
CLASSES = ("thread", "brushing", "tin", "wound")


draw = load_script("sample_data/draw.py")


def _files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_classes_are_the_four_defects() -> None:
    assert draw.CLASSES == CLASSES


def test_one_seed_draws_one_board() -> None:
    board = draw.draw_board((0, 0, 3), SIZE)
    assert board.shape == (SIZE, SIZE, 3)
    assert board.dtype == np.uint8
    np.testing.assert_array_equal(board, draw.draw_board((0, 0, 3), SIZE))


def test_boards_differ_between_seeds() -> None:
    boards = [draw.draw_board((s, 0, i), SIZE) for s in (0, 1) for i in range(3)]
    assert len({board.tobytes() for board in boards}) == len(boards)


@pytest.mark.parametrize("name", CLASSES)
def test_one_seed_draws_one_defect(name: str) -> None:
    first, again = (draw.draw_defect(name, (0, 1, 2), SIZE) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("name", CLASSES)
def test_a_mask_covers_a_small_part_of_the_tile(name: str, size: int) -> None:
    for i in range(3):
        _, mask = draw.draw_defect(name, (0, 1, i), size)
        assert mask.shape == (size, size)
        assert set(np.unique(mask)) == {0, 255}
        assert 0.003 < (mask > 0).mean() < 0.4


@pytest.mark.parametrize("name", CLASSES)
def test_outside_its_mask_a_defect_leaves_the_board_as_it_was(name: str) -> None:
    reach_of_blur = np.ones((5, 5), dtype=np.uint8)
    for i in range(3):
        image, mask = draw.draw_defect(name, (0, 1, i), SIZE)
        board = draw.draw_board((0, 1, i), SIZE)
        outside = cv2.dilate(mask, reach_of_blur) == 0
        np.testing.assert_array_equal(image[outside], board[outside])


@pytest.mark.parametrize("name", CLASSES)
def test_inside_its_mask_a_defect_stands_out_from_the_board(name: str) -> None:
    for i in range(3):
        image, mask = draw.draw_defect(name, (0, 1, i), SIZE)
        change = image.astype(float) - draw.draw_board((0, 1, i), SIZE)
        assert np.abs(change[mask > 0]).mean() > 15


def test_an_image_does_not_depend_on_how_many_are_drawn(tmp_path: Path) -> None:
    draw.draw_set(tmp_path / "few", normal=1, defects=1, size=32, seed=5)
    draw.draw_set(tmp_path / "more", normal=3, defects=2, size=32, seed=5)
    few, more = _files(tmp_path / "few"), _files(tmp_path / "more")
    assert len(few) == 9
    assert len(more) == 3 + 2 * 8
    assert few.items() <= more.items()


def test_saved_masks_lie_beside_their_images_and_are_black_and_white(tmp_path: Path) -> None:
    draw.main(["--out", str(tmp_path), "--normal=0", "--defects=1", "--size=32", "--format=png"])
    for name in CLASSES:
        image, mask = draw.draw_defect(name, (0, CLASSES.index(name) + 1, 0), 32)
        np.testing.assert_array_equal(Image.open(tmp_path / name / "0000.png"), image)
        saved_mask = Image.open(tmp_path / "masks" / name / "0000.png").convert("L")
        np.testing.assert_array_equal(saved_mask, mask)


@pytest.mark.parametrize("folder", ["normal", "tin", "masks/wound"])
def test_a_folder_that_holds_files_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "mine.jpg").touch()
    with pytest.raises(SystemExit, match="give another --out"):
        draw.main(["--out", str(tmp_path), "--normal=1", "--defects=1", "--size=32"])
    assert list(_files(tmp_path)) == [f"{folder}/mine.jpg"]
