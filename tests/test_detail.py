"""What is finer than a model sees: kept cell by cell, and put in the place of the source's own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from defectgan.data.dataset import Batches, ImageSet
from defectgan.data.index import index_data
from defectgan.generation.layer import paint_source
from defectgan.images import Picture, save_png
from defectgan.model.pixels import finer_change, model_view
from defectgan.networks.detail import FINEST, band, finer_by, packed, unpacked
from defectgan.networks.exemplars import CELL, CODE, Bank, Exemplars
from defectgan.settings.data import AugmentConfig, DataConfig
from defectgan.views import Viewer

SIDE = 16
BYTE = 1 / 63.5


def test_detail_reaches_up_to_the_finest() -> None:
    assert [finer_by((side, side)) for side in (32, 64, 96, 128, 256, 512)] == [8, 4, 2, 2, 1, 1]
    assert finer_by((64, 128)) * 128 == FINEST


def test_a_band_and_what_a_model_sees_are_the_image() -> None:
    finer = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = F.avg_pool2d(finer, 4)
    whole = band(finer, seen) + F.interpolate(seen, scale_factor=4, mode="bilinear")
    assert_close(whole, finer)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from([1, 3]), st.floats(0, 1))
def test_detail_is_kept_to_a_byte_where_something_was_taken_away(
    seed: int, channels: int, share: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    bands = 4 * torch.rand(3, channels, 12, 24, generator=rng) - 2
    taken = torch.rand(3, 2, 4, generator=rng) < share
    tiles, number = packed(bands, taken)
    assert len(tiles) == taken.sum() and tiles.dtype == torch.int8
    found = unpacked(tiles, number)
    for e in range(3):
        for row in range(2):
            for column in range(4):
                cell = np.s_[:, 6 * row : 6 * row + 6, 6 * column : 6 * column + 6]
                there = taken[e, row, column]
                assert (found[e, -1:][cell] == float(there)).all()
                expected = bands[e][cell] if there else torch.zeros(channels, 6, 6)
                assert_close(found[e, :-1][cell], expected, rtol=0, atol=BYTE)


def filled(classes: int = 3) -> Bank:
    bank = Bank(1, classes, (SIDE, SIDE), (0,))
    rng = torch.Generator().manual_seed(0)
    codes = [(torch.rand(2, CODE, 4, 4, generator=rng) > 0.5).float() for _ in range(1, classes)]
    bank.fill([Exemplars(code, torch.zeros(2, 1, 4, 4)) for code in codes])
    for k, bands in enumerate(_bands(classes), start=1):
        bank.keep(k, bands)
    return bank


def _bands(classes: int = 3) -> list[Tensor]:
    """The detail of the two exemplars of each class."""
    rng = torch.Generator().manual_seed(1)
    return [torch.rand(2, 1, FINEST, FINEST, generator=rng) - 0.5 for _ in range(1, classes)]


def test_each_exemplar_of_a_bank_has_its_own_detail() -> None:
    bank = filled()
    for k, bands in enumerate(_bands(), start=1):
        for nth in range(2):
            place = bank.draw(torch.tensor([k]), torch.tensor([nth / 2]))
            found = bank.bands(place)
            assert found[:, 1:].any()
            assert_close(found[:, :1], bands[nth] * found[:, 1:], rtol=0, atol=BYTE)


def test_a_bank_comes_back_from_its_weights_whatever_detail_it_has() -> None:
    bank, empty = filled(), Bank(1, 3, (SIDE, SIDE), (0,))
    floats = {name: tensor.float() for name, tensor in bank.state_dict().items()}
    empty.load_state_dict(floats)
    assert torch.equal(empty.tiles, bank.tiles) and torch.equal(empty.number, bank.number)
    assert empty.tiles.dtype == torch.int8


def test_weights_of_before_there_was_detail_are_read_and_have_none() -> None:
    bank = filled()
    earlier = {n: t for n, t in bank.state_dict().items() if n not in ("tiles", "number")}
    bank.load_state_dict(earlier)
    assert not len(bank.tiles) and (bank.number == -1).all()


@pytest.mark.parametrize("fit", ["resize", "letterbox", "crop"])
def test_the_sources_own_detail_changes_nothing_and_none_is_put_where_none_is_known(
    fit: str,
) -> None:
    rng = np.random.default_rng(0)
    source = Picture(rng.integers(0, 256, (90, 70, 3), dtype=np.uint8))
    view = Viewer(DataConfig(image_size=SIDE, fit=fit))(source.size)
    image = model_view(source, view, 3, source.full)
    finer = model_view(source, view.finer(4), 3, source.full)
    own = band(finer[None], image[None])[0]
    known = torch.ones(1, 64, 64)
    change = finer_change(source, view, image, torch.cat([own, known]), source.full)
    assert_close(change, torch.zeros(3, 64, 64))
    change = finer_change(source, view, image, torch.cat([own + 1, 0 * known]), source.full)
    assert not change.any()


def test_under_a_full_mask_the_detail_is_the_exemplars() -> None:
    rng = np.random.default_rng(0)
    source = Picture(rng.integers(90, 110, (64, 64, 1), dtype=np.uint8))
    view = Viewer(DataConfig(image_size=SIDE))(source.size)
    image = model_view(source, view, 1, source.full)
    wave = 0.3 * torch.tensor([1.0, -1.0]).repeat(32)[None, None].expand(1, 64, -1)
    detail = torch.cat([wave, torch.ones(1, 64, 64)])
    full = torch.ones(1, SIDE, SIDE)
    painted = paint_source(source, view, image, image, full, source.full, detail)
    expected = F.interpolate(image[None], size=(64, 64), mode="bilinear")[0] + wave
    pixels = torch.from_numpy(painted.pixels.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1
    assert_close(pixels, expected, rtol=0, atol=0.01)


def test_an_image_is_read_as_fine_as_is_asked_for(tmp_path: Path) -> None:
    """The same window of the same files as the model sees."""
    rng = np.random.default_rng(0)
    for name in ("normal", "scratch"):
        (tmp_path / name).mkdir()
        for i in range(3):
            ramp = np.linspace(0, rng.integers(100, 256), 64).astype(np.uint8)
            pixels = np.broadcast_to(ramp[:, None, None], (64, 64, 3)).copy()
            save_png(tmp_path / name / f"{i}.png", Image.fromarray(pixels))
    config = DataConfig(image_size=SIDE)
    index = index_data(tmp_path, config)
    batches = Batches(ImageSet(index, config), batch_size=4, augment=AugmentConfig(), seed=0)
    finer = batches.finer(1, 3, 4)
    assert finer.shape == (3, index.channels, 64, 64)
    assert_close(F.avg_pool2d(finer, 4), batches.fixed(1, 3), rtol=0, atol=0.02)
    assert CELL * finer_by((SIDE, SIDE)) == FINEST // 4
