"""Images of hundreds of megapixels are taken in strips: the same values in little memory."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from defectgan.data.masks import is_defect
from defectgan.generation.layer import paint_source
from defectgan.images import Levels, Picture, as_channels, read_picture, resize
from defectgan.settings.data import DataConfig
from defectgan.views import Viewer


def noise(height: int, width: int, channels: int, dtype: type = np.uint8) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    most = np.iinfo(dtype).max
    return rng.integers(0, most, (height, width, channels), dtype=dtype, endpoint=True)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 16), (40, 30), (200, 8), (8, 200)])
def test_resizing_in_strips_changes_no_value_but_by_rounding(
    channels: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(150, 90, channels, np.uint16)
    whole = resize(pixels, *size)
    gray = as_channels(Picture(pixels), 1)
    monkeypatch.setattr("defectgan.images.STRIP", 90 * 7)
    monkeypatch.setattr("defectgan.images.LARGE", 0)
    assert np.abs(resize(pixels, *size).astype(int) - whole).max() <= 1
    assert np.array_equal(as_channels(Picture(pixels), 1), gray)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16"])
def test_decoding_in_strips_changes_no_value(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mode == "I;16":
        image = Image.fromarray(noise(31, 20, 1, np.uint16)[..., 0])
    else:
        image = Image.fromarray(noise(31, 20, 3)).convert(mode)
    image.save(tmp_path / "x.png")
    whole = read_picture(tmp_path / "x.png")
    monkeypatch.setattr("defectgan.images.STRIP", 20 * 4)
    again = read_picture(tmp_path / "x.png")
    assert np.array_equal(again.pixels, whole.pixels)
    assert (again.alpha is None) == (whole.alpha is None)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_shrunk_in_a_fraction_of_its_memory(channels: int) -> None:
    pixels = noise(6000, 5000, channels)
    tracemalloc.start()
    resize(pixels, 128, 128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * 6000 * 5000


def layer(view: Any) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    height, width = view.frame
    image, foreground = (torch.rand(1, height, width, generator=generator) for _ in range(2))
    return image, foreground, torch.rand(1, height, width, generator=generator)


def test_painting_in_bands_is_painting_at_once_but_for_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Picture(noise(300, 200, 3))
    view = Viewer(DataConfig(image_size=(32, 32)))(source.size)
    levels = Levels(0, 255)
    whole = paint_source(source, view, *layer(view), levels)
    monkeypatch.setattr("defectgan.generation.layer.AT_ONCE", 200 * 11)
    bands = paint_source(source, view, *layer(view), levels)
    for one, other in zip(whole, bands, strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
        assert np.mean(one != other) < 0.01


def test_painting_a_large_image_takes_at_most_three_times_its_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Picture(noise(3000, 2000, 3))
    view = Viewer(DataConfig(image_size=(32, 32)))(source.size)
    monkeypatch.setattr("defectgan.generation.layer.AT_ONCE", 2**17)
    tracemalloc.start()
    painted = paint_source(source, view, *layer(view), Levels(0, 255))
    is_defect(painted.mask, 0.3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * source.pixels.nbytes  # besides the source itself
