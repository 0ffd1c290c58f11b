import json
import multiprocessing
import os
import shutil
import signal
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from defectgan.data.dataset import Batches, ImageSet
from defectgan.data.index import index_data
from defectgan.data.loader import Loader, worker_count
from defectgan.data.store import Store
from defectgan.errors import DataError
from defectgan.images import Picture, write_picture
from defectgan.methods.config import Config
from defectgan.settings.data import DataConfig
from defectgan.training.distributed import _in_company
from tests.conftest import spoil, wait_for

CPU = torch.device("cpu")
SHAPES = [(4, 5, 3), (2, 2, 1), (6, 6, 3)]


def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in SHAPES]


def assert_held(store: Any, i: int, image: NDArray[Any]) -> None:
    held = store.get(i)
    assert held is not None and np.array_equal(held, image)


@pytest.mark.parametrize("cache", ["auto", "ram", "disk"])
def test_what_is_put_into_a_slot_comes_back(cache: str, tmp_path: Path) -> None:
    store = Store(SHAPES, DataConfig(cache=cache), tmp_path)
    assert store.whole and store.kind == ("disk" if cache == "disk" else "ram")
    for i, image in enumerate(images()):
        assert store.get(i) is None
        store.put(i, image)
    for i, image in enumerate(images()):
        assert_held(store, i, image)
    assert not list(tmp_path.iterdir())


def test_nothing_is_kept_where_nothing_may_be(tmp_path: Path) -> None:
    store = Store(SHAPES, DataConfig(cache="none"), tmp_path)
    store.put(0, images()[0])
    assert store.get(0) is None and not store.whole and store.room == 0


def test_the_first_images_get_the_slots_where_memory_is_short(tmp_path: Path) -> None:
    megabyte = (1024, 1024, 1)
    store = Store([megabyte] * 4, DataConfig(cache="ram", cache_mib=3), tmp_path)
    for i in range(4):
        store.put(i, np.full(megabyte, i, np.uint8))
    assert [store.get(i) is not None for i in range(4)] == [True, True, True, False]


def test_what_does_not_fit_into_memory_goes_to_the_disk_by_itself(tmp_path: Path) -> None:
    store = Store([(1024, 1024, 1)] * 4, DataConfig(cache_mib=3), tmp_path)
    assert store.kind == "disk" and store.whole


def test_a_disk_that_is_too_small_is_an_error_before_the_first_step(tmp_path: Path) -> None:
    huge = (2**31, 2**31, 1)
    with pytest.raises(DataError, match=r"no room for .* MiB of decoded images"):
        Store([huge], DataConfig(cache="disk"), tmp_path)


def test_a_forked_process_fills_the_same_slots(tmp_path: Path) -> None:
    store = Store(SHAPES, DataConfig(), tmp_path)
    child = os.fork()
    if child == 0:
        store.put(2, images()[2])
        os._exit(0)
    os.waitpid(child, 0)
    assert_held(store, 2, images()[2])


def batches(root: Path, tiny: Config, folder: Path | None = None, **data: object) -> Batches:
    config = DataConfig(image_size=16, **data)
    made = ImageSet(index_data(root, config), config, folder=folder)
    return Batches(made, batch_size=8, augment=tiny.augment, seed=0)


@pytest.mark.parametrize("cache", ["auto", "disk", "none"])
@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_the_same_however_they_are_made(
    cache: str, workers: int, boards: Path, tiny: Config, tmp_path: Path
) -> None:
    plain = batches(boards, tiny)
    keys = list(product(range(3), range(2)))
    made = batches(boards, tiny, tmp_path, cache=cache)
    with Loader(made, keys, workers=workers) as ahead:
        for key in keys:
            for one, other in zip(plain(*key), ahead(*key), strict=True):
                assert torch.equal(one, other)
    assert ahead.waited > 0


def test_processes_keep_what_they_decode_for_all(
    boards: Path, tiny: Config, tmp_path: Path
) -> None:
    made = batches(boards, tiny, tmp_path)
    with Loader(made, [(t, 0) for t in range(20)], workers=2) as ahead:
        for t in range(20):
            ahead(t, 0)
    assert all(made.images.store.get(i) is not None for i in range(len(made.images.index.samples)))


def test_damage_that_a_process_finds_is_told(boards: Path, tiny: Config, tmp_path: Path) -> None:
    root = shutil.copytree(boards, tmp_path / "pcb")
    bad = sorted((root / "tin").iterdir())[1]
    spoil(bad)
    made = batches(root, tiny)
    with Loader(made, [(t, 0) for t in range(12)], workers=1) as ahead:
        for t in range(12):
            ahead(t, 0)
    assert list(made.images.damaged) == [bad]


def test_an_error_of_a_process_is_the_trainers(boards: Path, tiny: Config, tmp_path: Path) -> None:
    root = shutil.copytree(boards, tmp_path / "pcb")
    for path in (root / "tin").iterdir():
        spoil(path)
    with (
        Loader(batches(root, tiny), [(0, 0)], workers=1) as ahead,
        pytest.raises(DataError, match="all images of class tin are damaged"),
    ):
        ahead(0, 0)


def test_a_process_that_dies_is_named_whatever_is_done_meanwhile(
    boards: Path, tiny: Config
) -> None:
    with (
        pytest.raises(DataError, match="a process that reads images has died"),
        Loader(batches(boards, tiny), [(t, 0) for t in range(99)], workers=1) as ahead,
    ):
        ahead(0, 0)
        (reader,) = multiprocessing.active_children()
        os.kill(reader.pid or 0, signal.SIGKILL)
        with _in_company():  # as in an exchange with other processes, which have not ended
            wait_for(lambda: False)


def test_processes_serve_on_a_cpu_only_where_images_are_not_kept(
    boards: Path, tiny: Config
) -> None:
    assert worker_count(None, batches(boards, tiny), CPU) == 0
    assert worker_count(None, batches(boards, tiny, cache="none"), CPU) == 1
    assert worker_count(3, batches(boards, tiny), CPU) == 3


def test_an_image_that_has_changed_its_size_is_named(boards: Path, tmp_path: Path) -> None:
    root = shutil.copytree(boards, tmp_path / "pcb")
    made = ImageSet(index_data(root, DataConfig()), DataConfig(image_size=16, fit="crop"))
    sample = made.index.members[0][0]
    write_picture(sample.file, Picture(np.zeros((20, 20, 3), np.uint8)))
    with pytest.raises(DataError, match="has changed: it is 20 x 20, uint8 now"):
        made.image(sample)


def marked(root: Path, *, crop_size: int | None = None) -> ImageSet:
    """Two classes, each a bright square of its own value at a place that its box tells."""
    for name in ("normal", "a", "b"):
        (root / name).mkdir(parents=True)
    tree: dict[str, list[dict[str, object]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    for i in range(4):
        pixels = np.zeros((100, 120, 1), np.uint8)
        pixels[50, i] = 1  # no two images are the same
        if i:
            for k, left in ((1, 5), (2, 90)):
                pixels[10:20, left : left + 10] = 100 * k
                box = {"image_id": i, "category_id": k, "bbox": [left, 10, 10, 10]}
                tree["annotations"].append(box)
        write_picture(root / f"{i}.png", Picture(pixels))
        tree["images"].append({"id": i, "file_name": f"{i}.png"})
    (root / "annotations.json").write_text(json.dumps(tree))
    config = DataConfig(image_size=16, fit="crop", crop_size=crop_size)
    return ImageSet(index_data(root, config), config)


def test_a_window_shows_the_defect_that_it_was_drawn_for_and_has_its_class_alone(
    tmp_path: Path,
) -> None:
    made = marked(tmp_path / "data")
    rng = np.random.default_rng(0)
    for k, value in ((1, 100), (2, 200)):
        for sample in made.index.members[k]:
            seen, numbers, *_ = made.view(sample, made.image(sample), k, rng=rng)
            assert (seen == value).sum() == 100 and numbers == [k]


def test_a_window_is_scaled_from_its_size_in_image_pixels(tmp_path: Path) -> None:
    """Windows of 32 image pixels in frames of 16: a square of 10 is one of 5, its rim blurred."""
    made = marked(tmp_path / "data", crop_size=32)
    sample = made.index.members[1][0]
    seen, numbers, *_ = made.view(sample, made.image(sample), 1, rng=np.random.default_rng(0))
    assert seen.shape == (16, 16, 1) and numbers == [1]
    assert 16 <= (seen == 100).sum() <= 25
    assert seen.sum() == pytest.approx(2500, rel=0.02)


def test_windows_of_defects_that_nobody_marked_are_announced(boards: Path, tmp_path: Path) -> None:
    for name in ("normal", "tin"):
        shutil.copytree(boards / name, tmp_path / name)
    (note,) = index_data(tmp_path, DataConfig(fit="crop")).notes
    assert note.startswith("windows lie anywhere in 4 images of defects with neither")
