"""Pairs: who belongs to whom, that no split tears them apart, and that both are seen alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from defectgan.data.dataset import Batches, ImageSet
from defectgan.data.index import Index, index_data, read_split, write_split
from defectgan.errors import DataError, SettingError
from defectgan.images import save_png
from defectgan.methods.config import parse_config
from defectgan.settings.data import AugmentConfig, DataConfig
from defectgan.training.job import Job, new_job
from tests.conftest import TINY, spoil


def texture(seed: int, size: tuple[int, int] = (20, 20)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 1), dtype=np.uint8)


def write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(path, Image.fromarray(pixels[..., 0]))


@pytest.fixture
def paired(tmp_path: Path) -> Path:
    """Two classes of six images in ``data``, the negative of each in ``twins``."""
    for i in range(12):
        name = f"{('dent', 'hole')[i % 2]}/{i}.png"
        write(tmp_path / "data" / name, texture(i))
        write(tmp_path / "twins" / name, 255 - texture(i))
    write(tmp_path / "data/good/0.png", texture(99))
    return tmp_path


def index(folder: Path, **settings: Any) -> Index:
    pairs = str(folder / "twins")
    return index_data(folder / "data", DataConfig(pairs=pairs, image_size=16, **settings))


def batches(index: Index, augment: AugmentConfig | None = None, **view: Any) -> Batches:
    images = ImageSet(index, DataConfig(image_size=16, **view))
    return Batches(images, batch_size=8, augment=augment or AugmentConfig(), seed=3)


def test_the_twins_are_the_good_images_and_belong_to_those_of_their_name(paired: Path) -> None:
    made = index(paired)
    assert made.paired and made.counts() == {"good": 12, "dent": 6, "hole": 6}
    for sample in made.samples:
        if sample.labels:
            assert sample.twin == paired / "twins" / sample.file.relative_to(paired / "data")
    assert "12 pairs: the good images are those of" in made.notes[0]
    assert "the 1 good image of" in made.notes[1]


def test_what_has_no_partner_is_left_out_and_counted(paired: Path) -> None:
    (paired / "twins/dent/0.png").unlink()
    (paired / "data/hole/1.png").unlink()
    made = index(paired)
    assert made.counts() == {"good": 10, "dent": 5, "hole": 5}
    reasons = {path.name: reason for path, reason in made.skipped}
    assert "dent/0.png has no twin in" in reasons["0.png"]
    assert any("1 image of" in note and "hole/1.png" in note for note in made.notes)


def test_twins_of_another_size_are_left_out_with_both_sizes(paired: Path) -> None:
    write(paired / "twins/dent/0.png", texture(0, (20, 24)))
    made = index(paired)
    assert made.counts() == {"good": 11, "dent": 5, "hole": 6}
    ((file, reason),) = made.skipped
    assert file.name == "0.png" and "is 20 x 20 and its twin" in reason and "24 x 20" in reason


def test_a_damaged_twin_takes_its_image_along(paired: Path) -> None:
    (paired / "twins/dent/0.png").write_bytes(b"no image")
    made = index(paired)
    assert made.counts() == {"good": 11, "dent": 5, "hole": 6}
    assert any("the twin of" in reason for _, reason in made.skipped)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.rename(f.with_name("gone")), "no images in"),
        (
            lambda f: [p.rename(p.with_name(f"x{p.name}")) for p in [*f.rglob("*.png")]],
            "no image in .* is called like one of a defect",
        ),
        (lambda f: write(f / "dent/0_mask.png", texture(0)), r"0\.png has several twins"),
    ],
)
def test_a_folder_without_twins_is_refused(paired: Path, change: Any, message: str) -> None:
    change(paired / "twins")
    with pytest.raises(DataError, match=message):
        index(paired)


def test_no_split_tears_a_pair_apart(paired: Path) -> None:
    made = index(paired, val_fraction=0.3)
    assert len(made.held_out) in (8, 10)
    split = {sample.file: sample.split for sample in made.all_samples}
    assert all(split[s.twin] == s.split for s in made.all_samples if s.twin is not None)


def test_a_twin_lies_in_the_split_of_its_image(paired: Path) -> None:
    """And two pairs that begin with the same bare board are no leak."""
    for i in range(4):
        for split in ("train", "test"):
            write(paired / "data" / split / f"dent/{split}{i}.png", texture(100 * len(split) + i))
            write(paired / "twins" / split / f"dent/{split}{i}.png", texture(0))
    for name in ("dent", "hole", "good"):
        for file in (paired / "data" / name).iterdir():
            file.unlink()
        (paired / "data" / name).rmdir()
    write(paired / "data/train/good/0.png", texture(99))
    made = index(paired, layout="folders")
    assert made.split_counts() == {"train": 8, "test": 8} and not made.skipped
    assert not [note for note in made.notes if "the same image" in note]


def test_a_resumed_run_has_the_same_pairs(paired: Path, tmp_path: Path) -> None:
    made = index(paired)
    write_split(tmp_path / "split.json", made)
    again = read_split(tmp_path / "split.json")
    assert {s.file: s.twin for s in again.samples} == {s.file: s.twin for s in made.samples}
    one, other = batches(made)(5, 1), batches(again)(5, 1)
    assert torch.equal(one.normal, other.normal) and torch.equal(one.defect, other.defect)


@pytest.mark.parametrize("fit", ["resize", "letterbox", "crop"])
def test_a_pair_has_the_same_window_flip_and_rotation(paired: Path, fit: str) -> None:
    """A twin is the negative of its image here: so it is in every batch, whatever is drawn."""
    made = batches(index(paired, fit=fit), fit=fit)
    for step in range(12):
        batch = made(step, 0)
        torch.testing.assert_close(batch.normal, -batch.defect, atol=1e-2, rtol=0)
    assert len({tuple(made(step, 0).defect[0].flatten().tolist()) for step in range(12)}) > 8


def test_a_pair_has_the_same_exposure(paired: Path) -> None:
    for file in (paired / "data").rglob("*.png"):
        if file.parent.name != "good":
            write(paired / "twins" / file.relative_to(paired / "data"), texture(int(file.stem)))
    strong = AugmentConfig(contrast=0.5, brightness=0.5, gamma=1)
    batch = batches(index(paired), strong)(0, 0)
    assert torch.equal(batch.normal, batch.defect)


def test_without_pairs_good_images_are_drawn_independently_of_the_defects(paired: Path) -> None:
    """Of 4 x 4 combinations most turn up: a shared index would show 4."""
    folder = paired / "plain"
    for i in range(4):
        for name in ("good", "dent"):
            write(folder / name / f"{i}.png", np.full((16, 16, 1), 40 * i, np.uint8))
    images = ImageSet(index_data(folder, DataConfig(image_size=16)), DataConfig(image_size=16))
    made = Batches(images, batch_size=2, augment=AugmentConfig(), seed=0)
    drawn = [made(step, 0) for step in range(80)]
    seen = {(float(one.normal.mean()), float(one.defect.mean())) for one in drawn}
    assert len(seen) > 12


def test_a_pair_of_which_one_turns_out_damaged_is_replaced_by_the_next(paired: Path) -> None:
    made = index(paired)
    spoil(paired / "twins/dent/0.png")
    drawn = batches(made)
    for step in range(8):
        batch = drawn(step, 0)
        torch.testing.assert_close(batch.normal, -batch.defect, atol=1e-2, rtol=0)
    assert [file.name for file in drawn.images.damaged] == ["0.png"]


def test_pairs_and_method_must_go_together(paired: Path) -> None:
    data, twins = paired / "data", str(paired / "twins")
    with pytest.raises(SettingError, match="pix2pix needs paired data: with each image") as caught:
        new_job([data], "pix2pix", {})
    assert caught.value.mend == ("pairs", "FOLDER")
    assert new_job([data], "pix2pix", {"data": {"pairs": twins}}).index.paired
    with pytest.raises(SettingError, match=r"exemplar does not learn from pairs: leave data\.pair"):
        new_job([data], "quick", {"data": {"pairs": twins}})
    with pytest.raises(SettingError, match="pix2pix needs paired data"):
        tree = TINY | {"method": {"name": "pix2pix"}}
        Job(parse_config(tree, origin="tests"), index_data(data, DataConfig()))
    with pytest.raises(SettingError, match="each say what the good images are"):
        parse_config({"data": {"pairs": "x", "normal_from_background": True}}, origin="tests")


def test_cyclegan_learns_one_kind_of_defect(paired: Path) -> None:
    with pytest.raises(SettingError, match="learns 1 kind of defect, and there are 2, dent, hole"):
        new_job([paired / "data"], "cyclegan", {})
    job = new_job([paired / "data"], "cyclegan", {"data": {"classes": ("hole",)}})
    assert job.index.classes == ("good", "hole")
