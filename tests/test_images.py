from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from defectgan.data.walk import find_images
from defectgan.errors import DataError
from defectgan.heads import probe
from defectgan.images import (
    Levels,
    Picture,
    as_channels,
    encode,
    read_mask,
    read_picture,
    resize,
    suffix_of,
    to_png,
    to_signed,
    write_picture,
)
from tests.conftest import ROOT


def save(path: Path, array: np.ndarray[Any, Any], **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def random_pixels(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, size=shape, dtype=dtype, endpoint=True)


def assert_same_alpha(ours: NDArray[Any] | None, theirs: NDArray[Any] | None) -> None:
    if ours is None or theirs is None:
        assert ours is theirs
    else:
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "array", "channels"),
    [
        ("gray.png", random_pixels((5, 7)), 1),
        ("rgb.png", random_pixels((5, 7, 3)), 3),
        ("rgba.png", random_pixels((5, 7, 4)), 3),
        ("deep.png", random_pixels((5, 7), np.uint16), 1),
        ("gray.bmp", random_pixels((5, 7)), 1),
        ("rgb.tif", random_pixels((5, 7, 3)), 3),
        ("deep.tif", random_pixels((5, 7), np.uint16), 1),
    ],
)
def test_lossless_files_give_their_own_pixels(
    name: str, array: np.ndarray[Any, Any], channels: int, tmp_path: Path
) -> None:
    path = save(tmp_path / name, array)
    picture = read_picture(path)
    expected = array[..., None] if array.ndim == 2 else array[..., :3]
    assert picture.pixels.dtype == array.dtype
    assert np.array_equal(picture.pixels, expected)
    assert probe(path).channels == channels


def test_a_palette_image_gives_its_colours(tmp_path: Path) -> None:
    pixels = random_pixels((6, 6, 3)) // 128 * 255
    Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    assert np.array_equal(read_picture(tmp_path / "p.png").pixels, pixels)


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_colour_keeps_its_bits(name: str, channels: int, tmp_path: Path) -> None:
    import cv2

    path, pixels = tmp_path / name, random_pixels((5, 7, channels), np.uint16)
    cv2.imwrite(str(path), pixels[..., [2, 1, 0, 3][:channels]])
    picture = read_picture(path)
    assert probe(path).channels == 3
    assert np.array_equal(picture.pixels, pixels[..., :3])
    if channels == 4:
        assert picture.alpha is not None
        assert np.array_equal(picture.alpha, pixels[..., 3])


@pytest.mark.parametrize(
    "picture",
    [
        Picture(random_pixels((5, 7, 3), np.uint16), icc=b"profile"),
        Picture(random_pixels((5, 7, 3), np.uint16), alpha=random_pixels((5, 7), np.uint16)),
        Picture(np.linspace(-3, 900, 35, dtype=np.float32).reshape(5, 7, 1)),
    ],
)
def test_what_no_png_can_hold_is_written_as_tiff(picture: Picture, tmp_path: Path) -> None:
    path = tmp_path / f"deep{suffix_of(picture)}"
    write_picture(path, picture)
    again = read_picture(path)
    assert path.suffix == ".tif"
    assert again.pixels.dtype == picture.pixels.dtype
    assert np.array_equal(again.pixels, picture.pixels)
    assert_same_alpha(again.alpha, picture.alpha)
    assert again.icc == picture.icc


def test_of_several_pages_the_first_is_read_and_their_number_is_known(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    pages = [Image.fromarray(random_pixels((4, 6)) // (k + 1)) for k in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    assert probe(path).pages == 3
    assert np.array_equal(read_picture(path).pixels[..., 0], np.asarray(pages[0]))


def test_values_that_are_not_finite_are_named(tmp_path: Path) -> None:
    path = tmp_path / "nan.tif"
    Image.fromarray(np.full((3, 3), np.nan, np.float32)).save(path)
    with pytest.raises(DataError, match=r"nan\.tif holds values that are not finite"):
        read_picture(path)


def test_levels_are_black_and_white_to_the_networks() -> None:
    pixels = np.array([[[0], [1000], [2000], [4095]]], np.uint16)
    assert np.allclose(to_signed(pixels, Levels(1000, 3000))[0, :, 0], [-1, -1, 0, 1])


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "turned.png", random_pixels((4, 6)), exif=exif)
    assert read_picture(tmp_path / "turned.png").pixels.shape == (6, 4, 1)


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    kind=st.sampled_from([(1, "uint8"), (3, "uint8"), (1, "uint16")]),
    alpha=st.booleans(),
)
@settings(deadline=None, max_examples=30)
def test_what_is_written_is_read_again_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    kind: tuple[int, str],
    alpha: bool,
) -> None:
    channels, dtype = kind
    pixels = random_pixels((height, width, channels), np.dtype(dtype).type)
    see_through = random_pixels((height, width)) if alpha and dtype == "uint8" else None
    path = tmp_path_factory.mktemp("round") / "trip.png"
    write_picture(path, Picture(pixels, alpha=see_through, icc=b"profile"))
    again = read_picture(path)
    assert np.array_equal(again.pixels, pixels) and again.icc == b"profile"
    assert_same_alpha(again.alpha, see_through)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.png"):
        read_picture(tmp_path / "bad.png")


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "whole.png", random_pixels((40, 40, 3)))
    (tmp_path / "cut.png").write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"cut\.png is damaged"):
        read_picture(tmp_path / "cut.png")


def test_images_are_found_at_any_depth_whatever_the_case_of_their_ending(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/b/one.PNG", "two.jpeg", "three.txt", "a/four.webp"):
        (tmp_path / name).touch()
    found = [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path).images]
    assert found == ["a/b/one.PNG", "a/four.webp", "two.jpeg"]


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    checker = np.indices((8, 8)).sum(0)[..., None].astype(np.uint8) % 2 * 200
    assert np.abs(resize(checker, 2, 2).astype(int) - 100).max() <= 1


def test_sixteen_bit_values_survive_resizing() -> None:
    assert (resize(np.full((4, 4, 1), 60000, np.uint16), 9, 7) == 60000).all()


def test_gray_and_colour_turn_into_each_other() -> None:
    gray = Picture(np.full((2, 2, 1), 77, np.uint8))
    assert (as_channels(gray, 3) == 77).all()
    assert (as_channels(Picture(as_channels(gray, 3)), 1) == 77).all()


def test_a_mask_is_read_from_any_mode(tmp_path: Path) -> None:
    bits = np.eye(4, dtype=np.uint8) * 255
    Image.fromarray(bits).convert("1").save(tmp_path / "one.png")
    Image.fromarray(np.stack([bits] * 3, 2)).save(tmp_path / "rgb.png")
    for name in ("one.png", "rgb.png"):
        assert np.array_equal(read_mask(tmp_path / name), bits)


def test_a_photograph_is_written_smaller_than_by_a_search_for_repeats() -> None:
    ours = theirs = 0
    for path in sorted((ROOT / "sample_data" / "normal").iterdir())[:8]:
        picture = read_picture(path)
        data = encode(picture)
        assert np.array_equal(read_picture(path, data).pixels, picture.pixels)
        ours, theirs = ours + len(data), theirs + len(to_png(Image.fromarray(picture.pixels)))
    assert ours < theirs
