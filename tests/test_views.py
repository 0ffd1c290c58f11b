from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from defectgan.errors import SettingError
from defectgan.methods.config import parse_config
from defectgan.settings.data import DataConfig
from defectgan.views import Viewer

SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """An image whose pixels tell their column."""
    row = np.arange(width, dtype=np.uint8)[None, :, None]
    return np.repeat(row, height, axis=0)


@given(
    shape=SIZES,
    fit=st.sampled_from(["resize", "letterbox", "crop"]),
    frame=st.sampled_from([(16, 16), (16, 48), (32, 16)]),
    seed=st.integers(0, 99),
)
def test_every_view_fills_the_frame_from_within_the_image(
    shape: tuple[int, int], fit: str, frame: tuple[int, int], seed: int
) -> None:
    view = Viewer(DataConfig(image_size=frame, fit=fit))(shape, rng=np.random.default_rng(seed))
    assert view.see(ramp(*shape)).shape == (*frame, 1)
    for (left, top, width, height), (rows, columns) in ((view.window, shape), (view.inside, frame)):
        assert left >= 0 and top >= 0 and width >= 1 and height >= 1
        assert left + width <= columns and top + height <= rows


def test_resize_shows_all_of_an_image_and_letterbox_keeps_its_proportions() -> None:
    shape = (40, 80)
    assert Viewer(DataConfig(image_size=16))(shape).inside == (0, 0, 16, 16)
    boxed = Viewer(DataConfig(image_size=16, fit="letterbox"))(shape)
    assert boxed.window == (0, 0, 80, 40) and boxed.inside == (0, 4, 16, 8)


def test_beside_a_letterboxed_image_its_border_is_repeated() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 16, 1), dtype=np.uint8)
    seen = Viewer(DataConfig(image_size=16, fit="letterbox"))((8, 16)).see(image)
    assert np.array_equal(seen[4:12], image)
    assert (seen[:4] == image[0]).all() and (seen[12:] == image[-1]).all()


def test_a_window_at_the_images_own_scale_is_the_images_own_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    viewer = Viewer(DataConfig(image_size=(16, 32), fit="crop"))
    view = viewer((50, 70), rng=np.random.default_rng(1))
    left, top, width, height = view.window
    assert (width, height) == (32, 16)
    assert np.array_equal(view.see(image), image[top : top + 16, left : left + 32])


def test_a_window_takes_as_many_image_pixels_as_it_is_told() -> None:
    view = Viewer(DataConfig(image_size=(16, 32), fit="crop", crop_size=40))((200, 200))
    assert view.window[2:] == (80, 40) and view.inside == (0, 0, 32, 16)


@given(seed=st.integers(0, 500), left=st.integers(0, 180), top=st.integers(0, 80))
def test_a_window_holds_the_defect_it_lies_round(seed: int, left: int, top: int) -> None:
    viewer = Viewer(DataConfig(image_size=32, fit="crop"))
    box = (float(left), float(top), 20.0, 20.0)
    window = viewer((100, 200), rng=np.random.default_rng(seed), around=box).window
    assert window.left <= left and left + 20 <= window.left + 32
    assert window.top <= top and top + 20 <= window.top + 32
    assert window.holds_centre(box)


@given(seed=st.integers(0, 500))
def test_a_window_round_a_larger_defect_lies_within_it(seed: int) -> None:
    viewer = Viewer(DataConfig(image_size=16, fit="crop"))
    window = viewer(
        (100, 100), rng=np.random.default_rng(seed), around=(20.0, 30.0, 60.0, 50.0)
    ).window
    assert 20 <= window.left <= 80 - 16 and 30 <= window.top <= 80 - 16


def test_windows_lie_anywhere_where_no_defect_is_known() -> None:
    viewer = Viewer(DataConfig(image_size=16, fit="crop"))
    starts = {viewer((20, 20), rng=np.random.default_rng(i)).window[:2] for i in range(400)}
    assert len(starts) == 25


@pytest.mark.parametrize(
    ("given", "size"), [(64, (64, 64)), ("64x96", (64, 96)), ("64", (64, 64)), ([32, 48], (32, 48))]
)
def test_a_size_is_a_number_or_height_and_width(given: Any, size: tuple[int, int]) -> None:
    assert DataConfig(image_size=given).image_size == size


@pytest.mark.parametrize("given", ["64x", "64x96x3", "wide", 60])
def test_a_size_that_cannot_be_is_refused(given: Any) -> None:
    with pytest.raises(SettingError, match="image_size"):
        parse_config({"data": {"image_size": given}}, origin="tests")


def test_the_size_of_windows_is_refused_where_there_are_none() -> None:
    with pytest.raises(SettingError, match="with the fit crop alone"):
        parse_config({"data": {"crop_size": 64}}, origin="tests")
