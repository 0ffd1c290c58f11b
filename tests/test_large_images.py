"""Images of hundreds of megapixels are taken in strips: the same values in little memory."""

import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from defectgan.data.masks import MaskFacts, find_parts, is_defect, look_at_mask
from defectgan.data.truths import look as look_at_truth
from defectgan.files import digest, sha256
from defectgan.generation.layer import paint_source
from defectgan.images import Levels, Picture, as_channels, decoded, read_picture, resize
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


def layer(view: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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


@pytest.mark.parametrize("look", [look_at_mask, look_at_truth], ids=["mask", "truth"])
def test_a_large_mask_is_looked_at_in_at_most_three_times_its_pixels(
    look: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros((4000, 5000), np.uint8)
    mask[3000:3040, 100:160] = mask[1000:1010, 4000:4010] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png", compress_level=1)
    monkeypatch.setattr("defectgan.images.STRIP", 2**18)
    tracemalloc.start()
    seen = look(tmp_path / "mask.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.1 * mask.size  # besides what Pillow decodes
    if look is look_at_mask:
        assert seen == MaskFacts(2, ((100, 3000, 60, 40), (4000, 1000, 10, 10)))
    else:
        assert seen.values == 2 and seen.mask and seen.covered == pytest.approx(2500 / mask.size)


def test_large_images_are_looked_at_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (20, 10)).save(tmp_path / "x.png")
    most = []
    for limit in (10**6, 100):
        monkeypatch.setattr("defectgan.images.LARGE", limit)
        inside: list[int] = [0, 0]

        def look(path: Path, inside: list[int] = inside) -> None:
            with decoded(path):
                inside[0] += 1
                inside[1] = max(inside)
                time.sleep(0.05)
                inside[0] -= 1

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(look, [tmp_path / "x.png"] * 4))
        most.append(inside[1])
    assert most[0] > 1 and most[1] == 1


def test_a_file_is_hashed_in_a_fraction_of_its_size(tmp_path: Path) -> None:
    content = bytes(range(256)) * 2**14
    (tmp_path / "x").write_bytes(content)
    tracemalloc.start()
    found = sha256(tmp_path / "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == digest(content) and peak < len(content) / 4


@pytest.mark.parametrize("seed", range(8))
def test_parts_are_those_of_the_whole_region(seed: int) -> None:
    rng = np.random.default_rng(seed)
    region = rng.random((40, 30)) < (0.02, 0.2)[seed % 2]
    region[rng.integers(40, size=6)] = region[:, rng.integers(30, size=6)] = False
    parts = find_parts(region)
    _, _, whole, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    assert sorted(parts) == sorted(whole[1:].tolist())
    assert [part[4] for part in parts] == sorted((part[4] for part in parts), reverse=True)
