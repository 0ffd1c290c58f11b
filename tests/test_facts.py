import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from defectgan.data.facts import Facts
from defectgan.data.index import index_data
from defectgan.data.masks import look_at_mask, read_region
from defectgan.errors import DataError
from defectgan.images import Picture, write_mask, write_picture
from defectgan.settings.data import DataConfig
from tests.conftest import spoil


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEFECTGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def old_file(path: Path, text: str, *, age: int = 100) -> Path:
    path.write_text(text)
    os.utime(path, ns=(0, path.stat().st_mtime_ns - age * 10**9))
    return path


class Looks:
    """Looks at files, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, path: Path) -> str:
        self.count += 1
        if not path.is_file():
            raise DataError(f"{path} is gone")
        return path.read_text()


def test_a_file_that_has_not_changed_is_not_looked_at_again(tmp_path: Path) -> None:
    file, look = old_file(tmp_path / "a", "one"), Looks()
    assert [Facts().of("text", [file], look) for _ in range(3)] == [{file: "one"}] * 3
    assert look.count == 1


def test_a_name_that_is_no_text_is_kept_like_any_other(tmp_path: Path) -> None:
    """Latin-1 names come from shares of other systems."""
    file, look = old_file(tmp_path / os.fsdecode(b"f\xfcr"), "one"), Looks()
    facts = [Facts() for _ in range(2)]
    assert [f.of("text", [file], look) for f in facts] == [{file: "one"}] * 2
    assert look.count == 1 and facts[0].problem is None


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    file, look = old_file(tmp_path / "a", "one"), Looks()
    Facts().of("text", [file], look)
    old_file(file, "two", age=50)
    assert Facts().of("text", [file], look) == {file: "two"}


def test_a_file_that_may_still_be_changing_is_looked_at_again(tmp_path: Path) -> None:
    """Its time of change would not tell a second change from the first."""
    file, look = tmp_path / "a", Looks()
    file.write_text("one")
    Facts().of("text", [file], look)
    Facts().of("text", [file], look)
    assert look.count == 2


def test_what_is_wrong_with_a_file_is_not_kept(tmp_path: Path) -> None:
    file, look = tmp_path / "a", Looks()
    assert isinstance(Facts().of("text", [file], look)[file], DataError)
    old_file(file, "here now")
    assert Facts().of("text", [file], look) == {file: "here now"}


def test_facts_of_two_kinds_are_told_apart(tmp_path: Path) -> None:
    file = old_file(tmp_path / "a", "one")
    assert Facts().of("text", [file], Looks()) == {file: "one"}
    assert Facts().of("length", [file], lambda path: len(path.read_text())) == {file: 3}


def test_a_cache_that_cannot_be_used_is_said_and_stops_nothing(
    boards: Path, empty_cache: Path
) -> None:
    empty_cache.write_text("a file where a folder should be")
    index = index_data(boards, DataConfig())
    assert index.counts()["tin"] == 4
    assert any("cannot be kept" in note for note in index.notes)


def test_a_damaged_cache_is_said_and_stops_nothing(boards: Path, empty_cache: Path) -> None:
    empty_cache.mkdir()
    Facts().path.write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(Facts().path).execute("select 1 from facts")
    assert any("cannot be kept" in note for note in index_data(boards, DataConfig()).notes)


def test_the_second_index_is_the_first_and_opens_no_file(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(boards, tmp_path / "pcb")
    for path in root.rglob("*.png"):
        os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**11))
    first = index_data(root, DataConfig())

    def opened(path: Path) -> None:
        raise AssertionError(f"{path} was read again")

    for name in ("checks.probe", "checks.look_at_mask", "truths.look", "truths.probe"):
        monkeypatch.setattr(f"defectgan.data.{name}", opened)
    assert index_data(root, DataConfig()) == first


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 200)])
def test_whatever_two_values_a_mask_has_the_larger_one_is_defect(
    values: tuple[int, int], tmp_path: Path
) -> None:
    bits = np.zeros((12, 16), bool)
    bits[2:5, 3:9] = bits[8:10, 10:12] = True
    write_mask(tmp_path / "m.png", np.where(bits, values[1], values[0]).astype(np.uint8))
    assert np.array_equal(read_region(tmp_path / "m.png"), bits)
    assert look_at_mask(tmp_path / "m.png") == (2, ((3, 2, 6, 3), (10, 8, 2, 2)))


def test_a_mask_with_other_values_than_two_and_an_empty_one_are_named(
    boards: Path, tmp_path: Path
) -> None:
    for name in ("normal", "tin", "masks/tin"):
        (tmp_path / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(3):
        for name in ("normal", "tin"):
            pixels = rng.integers(0, 256, (8, 8, 1), dtype=np.uint8)
            write_picture(tmp_path / name / f"{i}.png", Picture(pixels))
    soft = np.arange(64, dtype=np.uint8).reshape(8, 8)
    write_mask(tmp_path / "masks" / "tin" / "0.png", soft)
    write_mask(tmp_path / "masks" / "tin" / "1.png", np.zeros((8, 8), np.uint8))
    notes = index_data(tmp_path, DataConfig()).notes
    about_soft, about_empty = (note for note in notes if "have no true mask" not in note)
    assert "1 mask with other values than two" in about_soft and "0.png" in about_soft
    assert "1 empty mask of images of defects" in about_empty and "1.png" in about_empty


def test_a_damaged_mask_takes_its_image_out(boards: Path, tmp_path: Path) -> None:
    root = shutil.copytree(boards, tmp_path / "pcb")
    mask = sorted((root / "masks" / "tin").iterdir())[0]
    spoil(mask)
    index = index_data(root, DataConfig())
    assert index.counts()["tin"] == 3 and str(mask) in index.skipped[0][1]
