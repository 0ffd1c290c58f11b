import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from defectgan.data.augment import Augment
from defectgan.data.dataset import Batches, ImageSet
from defectgan.data.index import index_data, read_split, write_split
from defectgan.errors import DataError
from defectgan.images import Picture, read_picture, resize, suffix_of, write_picture
from defectgan.model.pixels import model_view
from defectgan.settings.data import AugmentConfig, DataConfig
from defectgan.views import Viewer
from tests.conftest import CLASSES


def batches(boards: Path, *, cache_mib: int = 64, seed: int = 0, size: int = 8) -> Batches:
    images = ImageSet(
        index_data(boards, DataConfig()), DataConfig(image_size=16, cache_mib=cache_mib)
    )
    augment = AugmentConfig(contrast=0.3, brightness=0.2, gamma=0.3)
    return Batches(images, batch_size=size, augment=augment, seed=seed)


def test_classes_come_in_the_order_asked_for_behind_the_normal_one(boards: Path) -> None:
    index = index_data(boards, DataConfig(classes=("tin", "thread")))
    assert index.classes == ("normal", "tin", "thread")
    assert index.counts() == {"normal": 6, "tin": 4, "thread": 4}
    assert index.channels == 3


def test_all_classes_are_taken_by_default_and_masks_is_none_of_them(boards: Path) -> None:
    assert index_data(boards, DataConfig()).classes == ("normal", *sorted(CLASSES))


@pytest.mark.parametrize("name", ["good", "OK", "Free", "defect-free"])
def test_the_normal_class_is_found_by_its_name(name: str, boards: Path, tmp_path: Path) -> None:
    shutil.copytree(boards / "normal", tmp_path / name)
    shutil.copytree(boards / "tin", tmp_path / "tin")
    assert index_data(tmp_path, DataConfig()).classes == (name, "tin")


def test_the_normal_class_can_be_named(boards: Path) -> None:
    assert index_data(boards, DataConfig(normal_class="tin")).classes[0] == "tin"


def test_true_masks_are_found_by_the_image_they_belong_to(boards: Path) -> None:
    index = index_data(boards, DataConfig())
    sample = index.members[1][2]
    name, stem = sample.file.parent.name, sample.file.stem
    assert sample.mask == boards / "masks" / name / f"{stem}.png"
    assert index.members[0][0].mask is None


def test_an_unknown_class_is_answered_with_the_nearest_one(boards: Path) -> None:
    with pytest.raises(DataError, match=r"no class thraed .* did you mean thread\?"):
        index_data(boards, DataConfig(classes=("thraed",)))


def test_a_folder_without_a_normal_class_lists_what_was_found(boards: Path, tmp_path: Path) -> None:
    shutil.copytree(boards / "tin", tmp_path / "tin")
    with pytest.raises(DataError, match=r"no normal class .* found tin; expected normal, good"):
        index_data(tmp_path, DataConfig())


def test_a_folder_one_level_too_high_is_read_by_its_train_part(
    boards: Path, tmp_path: Path
) -> None:
    shutil.copytree(boards, tmp_path / "train")
    shutil.copytree(boards / "normal", tmp_path / "test" / "normal")
    for file in (tmp_path / "test" / "normal").iterdir():
        file.write_bytes(file.read_bytes() + b"\0")  # other images than those to train on
    index = index_data(tmp_path, DataConfig())
    assert index.counts() == index_data(boards, DataConfig()).counts()
    assert index.split_counts()["test"] == 6
    assert "train/ is learned from" in index.notes[0]


def test_two_normal_folders_are_ambiguous(boards: Path, tmp_path: Path) -> None:
    for name in ("good", "normal"):
        shutil.copytree(boards / "normal", tmp_path / name)
    with pytest.raises(DataError, match="good, normal"):
        index_data(tmp_path, DataConfig())


def test_an_empty_class_is_named(boards: Path, tmp_path: Path) -> None:
    shutil.copytree(boards / "normal", tmp_path / "normal")
    (tmp_path / "tin").mkdir()
    with pytest.raises(DataError, match=r"no images in class tin of .*: expected \.png"):
        index_data(tmp_path, DataConfig())


def test_an_empty_root_and_a_missing_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no class folders"):
        index_data(tmp_path, DataConfig())
    with pytest.raises(DataError, match="found nothing"):
        index_data(tmp_path / "missing", DataConfig())


def test_files_that_cannot_be_read_are_left_out_with_their_reason(
    boards: Path, tmp_path: Path
) -> None:
    shutil.copytree(boards, tmp_path / "pcb")
    (tmp_path / "pcb" / "tin" / "bad.png").write_bytes(b"nonsense")
    index = index_data(tmp_path / "pcb", DataConfig())
    assert index.counts()["tin"] == 4
    assert [path.name for path, _ in index.skipped] == ["bad.png"]


def test_a_class_of_which_no_file_can_be_read_says_why(boards: Path, tmp_path: Path) -> None:
    shutil.copytree(boards / "normal", tmp_path / "normal")
    (tmp_path / "tin").mkdir()
    (tmp_path / "tin" / "bad.png").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"1 could not be read, the first: cannot read .*bad\.png"):
        index_data(tmp_path, DataConfig())


def test_a_split_gives_the_same_index_again_also_where_the_data_has_moved(
    boards: Path, tmp_path: Path
) -> None:
    index = index_data(boards, DataConfig(classes=tuple(CLASSES)))
    write_split(tmp_path / "split.json", index)
    assert read_split(tmp_path / "split.json") == index
    moved = shutil.copytree(boards, tmp_path / "moved")
    assert read_split(tmp_path / "split.json", roots=[moved]).counts() == index.counts()
    (moved / "tin" / index.members[3][0].file.name).unlink()
    with pytest.raises(DataError, match="1 of the images of this run are gone"):
        read_split(tmp_path / "split.json", roots=[moved])


def test_an_image_is_the_file_at_training_size(boards: Path) -> None:
    images = ImageSet(index_data(boards, DataConfig()), DataConfig(image_size=16))
    sample = images.index.members[1][0]
    pixels = read_picture(sample.file).pixels
    assert np.array_equal(images.image(sample), resize(pixels, 16, 16))


def test_a_batch_depends_on_the_step_and_the_part_alone(boards: Path) -> None:
    one, other = batches(boards), batches(boards)
    other(3, 0)
    assert all(torch.equal(a, b) for a, b in zip(one(5, 1), other(5, 1), strict=True))
    assert not torch.equal(one(5, 1).defect, one(5, 0).defect)
    assert not torch.equal(one(5, 1).defect, one(6, 1).defect)
    assert not torch.equal(one(5, 1).defect, batches(boards, seed=1)(5, 1).defect)


def test_the_cache_changes_nothing(boards: Path) -> None:
    cached, decoded = batches(boards), batches(boards, cache_mib=0)
    assert all(torch.equal(a, b) for a, b in zip(cached(2, 0), decoded(2, 0), strict=True))


def test_half_of_a_batch_is_normal_and_classes_are_drawn_evenly(boards: Path) -> None:
    for step in range(5):
        batch = batches(boards, size=16)(step, 0)
        assert batch.normal.shape == batch.defect.shape == (8, 3, 16, 16)
        assert batch.label.sum(0).tolist() == [0, 2, 2, 2, 2]


def test_classes_are_drawn_evenly_however_few_images_one_has(boards: Path, tmp_path: Path) -> None:
    shutil.copytree(boards, tmp_path / "pcb")
    for path in sorted((tmp_path / "pcb" / "tin").iterdir())[1:]:
        path.unlink()
    draw = batches(tmp_path / "pcb", size=2)
    counts = torch.stack([draw(step, 0).label.sum(0) for step in range(400)]).sum(0)
    assert counts[0] == 0 and (counts[1:] > 70).all()


def test_values_lie_in_the_range_of_the_networks(boards: Path) -> None:
    batch = batches(boards)(0, 0)
    for images in (batch.normal, batch.defect):
        assert images.dtype == torch.float32
        assert images.min() >= -1 and images.max() <= 1


def test_exposure_changes_brightness_and_no_setting_changes_nothing() -> None:
    image = np.full((8, 8, 1), 0.5, np.float32)
    still = Augment(AugmentConfig(flip=False, rotate=False))
    assert np.array_equal(still(image, seed=1), image)
    moved = Augment(AugmentConfig(brightness=0.3))
    means = {round(float(moved(image, seed=s).mean()), 4) for s in range(5)}
    assert len(means) == 5


def write_twelve_bit(root: Path) -> Path:
    """Images of a 12-bit camera in 16-bit files, values 1,000 to 3,000."""
    rng = np.random.default_rng(0)
    for name in ("normal", "tin"):
        for i in range(3):
            pixels = rng.integers(1000, 3000, (16, 16, 1), dtype=np.uint16, endpoint=True)
            pixels[0, 0], pixels[0, 1] = 1000, 3000
            write_picture(root / name / f"{i}.png", Picture(pixels))
    return root


def test_the_levels_of_sixteen_bit_images_follow_the_rule(tmp_path: Path) -> None:
    root = write_twelve_bit(tmp_path / "deep")
    assert index_data(root, DataConfig()).levels is None
    index = index_data(root, DataConfig(levels="minmax"))
    assert index.levels == (1000, 3000)
    image = ImageSet(index, DataConfig(image_size=16)).image(index.members[0][0])
    assert image.min() == 0 and image.max() == 65535
    dark = ImageSet(index_data(root, DataConfig()), DataConfig(image_size=16))
    assert dark.image(index.members[0][0]).max() == 3000
    inner = index_data(root, DataConfig(levels="percentile")).levels
    assert inner is not None and 1000 <= inner.black < inner.white <= 3000


def test_sixteen_bit_files_that_use_little_of_their_range_are_said(tmp_path: Path) -> None:
    root = write_twelve_bit(tmp_path / "deep")
    (note,) = index_data(root, DataConfig()).notes
    assert note.startswith("16-bit files use at most 5 % of their range (6 files looked at)")
    assert "data.levels minmax" in note
    assert not index_data(root, DataConfig(levels="minmax")).notes
    bright = np.full((16, 16, 1), 40000, np.uint16)
    write_picture(root / "normal" / "9.png", Picture(bright))
    assert not index_data(root, DataConfig()).notes


def test_the_levels_are_kept_with_the_split(tmp_path: Path) -> None:
    index = index_data(write_twelve_bit(tmp_path / "deep"), DataConfig(levels="minmax"))
    write_split(tmp_path / "split.json", index)
    assert read_split(tmp_path / "split.json") == index


def test_one_rule_cannot_serve_two_depths(tmp_path: Path) -> None:
    root = write_twelve_bit(tmp_path / "deep")
    write_picture(root / "normal" / "9.png", Picture(np.full((16, 16, 1), 9, np.uint8)))
    with pytest.raises(DataError, match=r"different depths"):
        index_data(root, DataConfig(levels="minmax"))


def test_several_pages_are_said(boards: Path, tmp_path: Path) -> None:
    root = shutil.copytree(boards, tmp_path / "pcb")
    pages = [Image.new("RGB", (24, 24), c) for c in ("red", "blue")]
    pages[0].save(root / "tin" / "pages.tif", save_all=True, append_images=pages[1:])
    notes = index_data(root, DataConfig()).notes
    (note,) = (n for n in notes if n.startswith("only the first page is read of 1 file"))
    assert note.endswith("pages.tif")


@pytest.mark.parametrize("levels", ["full", "minmax"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("fit", ["resize", "crop"])
def test_training_sees_an_image_as_precisely_as_generating_does(
    depth: type, levels: Literal["full", "minmax"], fit: Literal["resize", "crop"], tmp_path: Path
) -> None:
    """To half a value of the file's own depth: 4,001 gray values stay 4,001."""
    ramp = np.arange(4096).reshape(64, 64, 1).clip(1, 4001)
    pixels = ramp / 4096 if depth is np.float32 else ramp % 256 if depth is np.uint8 else ramp * 9
    picture = Picture(pixels.astype(depth))
    for name in ("normal", "tin"):
        write_picture(tmp_path / name / f"0{suffix_of(picture)}", picture)
    index = index_data(tmp_path, DataConfig(levels=levels))
    config = DataConfig(image_size=64, fit=fit)
    still = AugmentConfig(flip=False, rotate=False)
    made = Batches(ImageSet(index, config), batch_size=2, augment=still, seed=0)(0, 0).normal[0]
    black_white = index.levels or picture.full
    seen = model_view(picture, Viewer(config)(picture.size), 1, black_white)
    half = 0.5 / 255 if depth is np.uint8 else 0.5 / 65535
    assert torch.allclose(made, seen, rtol=0, atol=2 * half)
    assert len(torch.unique(made)) == len(torch.unique(seen)) == len(np.unique(pixels))


def test_images_of_eight_bits_take_no_more_room_for_deep_ones_beside_them(tmp_path: Path) -> None:
    for name in ("normal", "tin"):
        write_picture(tmp_path / name / "0.png", Picture(np.full((20, 20, 1), 9, np.uint8)))
    config = DataConfig(image_size=16)
    assert ImageSet(index_data(tmp_path, config), config).store.room == 2 * 16 * 16
    write_picture(tmp_path / "tin" / "1.png", Picture(np.full((20, 20, 1), 9, np.uint16)))
    write_picture(tmp_path / "tin" / "2.tif", Picture(np.full((20, 20, 1), 0.5, np.float32)))
    images = ImageSet(index_data(tmp_path, config), config)
    assert images.store.room == (2 + 2 + 4) * 16 * 16
    for sample in images.index.samples:
        assert np.array_equal(images.image(sample), images.image(sample))


def test_a_file_that_changes_its_depth_is_named(tmp_path: Path) -> None:
    for name in ("normal", "tin"):
        write_picture(tmp_path / name / "0.png", Picture(np.full((16, 16, 1), 9, np.uint8)))
    images = ImageSet(index_data(tmp_path, DataConfig()), DataConfig(image_size=16))
    sample = images.index.samples[0]
    write_picture(sample.file, Picture(np.full((16, 16, 1), 9, np.uint16)))
    with pytest.raises(DataError, match="has changed: it is 16 x 16, uint16 now"):
        images.image(sample)
