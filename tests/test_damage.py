"""What is left out of a training, and that it is said."""

import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from defectgan.data.dataset import Batches, ImageSet
from defectgan.data.index import index_data
from defectgan.errors import DataError
from defectgan.files import read_json_lines
from defectgan.methods.config import Config
from defectgan.runs import RunFolder
from defectgan.settings.data import DataConfig
from defectgan.training.job import Job
from tests.conftest import Silent, run_job, spoil


def whole(path: Path) -> bytes:
    return sorted(path.parent.iterdir())[0].read_bytes()


def cut(path: Path) -> None:
    path.write_bytes(whole(path)[:-40])


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("not an image")


def bomb(path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = (("IHDR", head), ("IDAT", zlib.compress(b"")), ("IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(k.encode(), d) for k, d in parts))


def folder(path: Path) -> None:
    path.mkdir()


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere.png"))


def locked(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path.write_bytes(whole(path))
    path.chmod(0)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (cut, "is cut short"),
        (empty, "is empty (0 bytes)"),
        (text, "not an image that is known here"),
        (bomb, "more than 500 megapixels"),
        (folder, "is a folder"),
        (dangling, "No such file"),
        (locked, "Permission denied"),
    ],
)
def test_a_file_that_cannot_be_used_is_left_out_with_its_reason(
    make: Callable[[Path], None], reason: str, boards: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(boards, tmp_path / "pcb")
    bad = root / "tin" / "zzz.png"
    make(bad)
    index = index_data(root, DataConfig())
    assert index.counts()["tin"] == 4
    assert [path for path, _ in index.skipped] == [bad]
    assert reason in index.skipped[0][1]
    with pytest.raises(DataError, match=r"1 file cannot be used, the first: .*zzz\.png"):
        index_data(root, DataConfig(strict=True))


def test_a_link_back_up_ends(boards: Path, tmp_path: Path) -> None:
    root = shutil.copytree(boards, tmp_path / "pcb")
    (root / "tin" / "loop").symlink_to(root / "tin", target_is_directory=True)
    assert index_data(root, DataConfig()).counts()["tin"] == 4


def test_an_image_that_turns_out_damaged_is_replaced_and_written_down(
    tiny: Config, boards: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(boards, tmp_path / "pcb")
    bad = sorted((root / "tin").iterdir())[1]
    spoil(bad)
    watcher = Silent()
    job = Job(tiny, index_data(root, DataConfig()))
    run = run_job(job, tmp_path / "runs", watcher=watcher).run
    rows = read_json_lines(RunFolder(run).skipped)
    assert [row["file"] for row in rows] == [str(bad)]
    assert "is damaged" in rows[0]["reason"]
    assert any(str(bad) in warning for warning in watcher.warnings)


def test_the_replacement_is_the_same_each_time(boards: Path, tmp_path: Path, tiny: Config) -> None:
    root = shutil.copytree(boards, tmp_path / "pcb")
    spoil(sorted((root / "tin").iterdir())[1])

    def draw() -> Batches:
        images = ImageSet(index_data(root, DataConfig()), DataConfig(image_size=16))
        return Batches(images, batch_size=8, augment=tiny.augment, seed=0)

    first, second = draw(), draw()
    first(0, 0)
    for step in range(8):
        assert torch.equal(first(step, 0).defect, second(step, 0).defect)


def test_a_class_whose_images_are_all_damaged_stops_the_run(boards: Path, tmp_path: Path) -> None:
    root = shutil.copytree(boards, tmp_path / "pcb")
    for path in (root / "tin").iterdir():
        spoil(path)
    images = ImageSet(index_data(root, DataConfig()), DataConfig(image_size=16))
    k = images.index.classes.index("tin")
    with pytest.raises(DataError, match="all images of class tin are damaged"):
        images.sound(k, 0)


def test_a_strict_run_stops_at_the_first_damaged_image(boards: Path, tmp_path: Path) -> None:
    root = shutil.copytree(boards, tmp_path / "pcb")
    bad = sorted((root / "tin").iterdir())[0]
    spoil(bad)
    images = ImageSet(index_data(root, DataConfig()), DataConfig(image_size=16, strict=True))
    with pytest.raises(DataError, match=bad.name):
        images.sound(images.index.classes.index("tin"), 0)
