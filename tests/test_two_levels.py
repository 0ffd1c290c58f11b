import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from defectgan.generation.layer import paint_source
from defectgan.generation.two_levels import nearer, two_colours
from defectgan.images import Levels, Picture
from defectgan.settings.data import DataConfig
from defectgan.views import Viewer

SIDE = 32


def board(dark: float = 0, bright: float = 255, *, noise: float = 0, channels: int = 1) -> Picture:
    """Tracks of two levels."""
    rng = np.random.default_rng(0)
    tracks = np.where(np.arange(SIDE) // 8 % 2, bright, dark)
    pixels = tracks[None, :, None] + noise * rng.standard_normal((SIDE, SIDE, channels))
    return Picture(pixels.round().clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_thresholded_image_has_two_colours_also_with_the_noise_of_a_codec(channels: int) -> None:
    picture = board(20, 230, noise=4, channels=channels)
    found = two_colours(picture.pixels, picture.full)
    assert found is not None and found.shape == (2, channels)
    assert np.abs(found - np.array([[20], [230]])).max() < 2


def spotted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """With a pixel each of black and white, as a hot one of a camera."""
    spotted = pixels.copy()
    spotted[0, 0], spotted[0, 1] = 0, 255
    return spotted


def test_two_colours_of_one_brightness_are_not_told_apart() -> None:
    pixels = board(channels=3).pixels.copy()
    pixels[...] = np.where(pixels > 0, (200, 0, 100), (0, 200, 100))
    assert two_colours(pixels, Levels(0, 255)) is None


def test_photographs_and_images_of_one_level_have_no_two_colours() -> None:
    rng = np.random.default_rng(0)
    for pixels in (
        rng.integers(0, 256, (SIDE, SIDE, 1), dtype=np.uint8),
        board(100, 100, noise=3).pixels,
        board(100, 150).pixels,
        spotted(board(100, 150).pixels),
        board(40, 200, noise=40).pixels,
    ):
        assert two_colours(pixels, Levels(0, 255)) is None


@given(values=st.lists(st.floats(-50, 300, width=32), min_size=1), dark=st.floats(0, 100, width=32))
def test_of_two_colours_the_nearer_one_is_taken(values: list[float], dark: float) -> None:
    colours = np.array([[dark], [200]], np.float32)
    pixels = np.array([values], np.float32)
    found = nearer(pixels, colours)
    distance = np.abs(pixels - colours)
    assert_array_equal(np.abs(pixels[0] - found[0]), distance.min(axis=0))


def painted(picture: Picture) -> NDArray[np.generic]:
    """A gray square, half opaque, in the middle."""
    view = Viewer(DataConfig(image_size=SIDE))(picture.size)
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 10:22, 10:22] = 0.8
    image = torch.zeros(1, SIDE, SIDE)
    return paint_source(picture, view, image - 1, image + 1, mask, picture.full).pixels


def test_what_is_painted_into_an_image_of_two_colours_has_no_other() -> None:
    picture = board()
    pixels = painted(picture)
    assert set(np.unique(pixels)) == {0, 255}
    assert (pixels != picture.pixels).any()
    assert len(np.unique(painted(board(40, 200, noise=40)))) > 2
