"""Generated images are seen as real ones are."""

from pathlib import Path

import numpy as np
import pytest

from defectgan.data.dataset import ImageSet
from defectgan.data.index import Index, index_data
from defectgan.errors import DataError
from defectgan.evaluation.pools import batches, generated_index, pixels, see, views
from defectgan.files import read_json_lines, write_json_lines
from defectgan.images import Picture, unit, write_mask, write_picture
from defectgan.settings.data import DataConfig


@pytest.fixture
def index(boards: Path) -> Index:
    return index_data(boards, DataConfig())


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Three 16-bit images of 40 x 60 with a white square, which their masks and boxes tell of."""
    rows = []
    for n, (left, top) in enumerate(((0, 0), (44, 24), (20, 12))):
        image = np.zeros((40, 60, 1), np.uint16)
        image[top : top + 16, left : left + 16] = 65535
        write_picture(tmp_path / f"{n}.png", Picture(image))
        write_mask(tmp_path / f"{n}-mask.png", (image[..., 0] > 0).astype(np.uint8) * 200)
        row = {"output": f"{n}.png", "mask": f"{n}-mask.png", "class": "tin"}
        rows.append(row | {"box": [left, top, 16, 16], "model_sha256": "0"})
    write_json_lines(tmp_path / "manifest.jsonl", rows)
    return tmp_path


def test_a_window_lies_round_what_was_painted(made: Path, index: Index) -> None:
    generated = generated_index(made, index)
    assert generated.counts()["tin"] == 3 and generated.counts()["normal"] == 0
    seen = see(generated, DataConfig(image_size=(16, 16), fit="crop"), truths=True)
    for one in seen[index.classes.index("tin")]:
        assert one.image.shape == (16, 16, 3) and (unit(one.image) == 1).all()
        assert one.truth is not None and (one.truth == 255).all()


def test_a_painted_mask_means_what_lies_above_the_opacity_recorded_with_it(
    made: Path, index: Index
) -> None:
    """Nothing where the mask is fainter, however much of it is near its own maximum."""
    rows = read_json_lines(made / "manifest.jsonl")
    mask = np.zeros((40, 60), np.uint8)
    mask[:16, :16], mask[:8, :16] = 80, 250
    write_mask(made / rows[0]["mask"], mask)
    write_mask(made / rows[1]["mask"], np.minimum(mask, 70))
    for threshold, counts in ((0.3, [256, 0, 256]), (0.5, [128, 0, 256]), (0.2, [256, 256, 256])):
        marked = [row | {"threshold": threshold} for row in rows]
        write_json_lines(made / "manifest.jsonl", marked)
        generated = generated_index(made, index)
        images = ImageSet(generated, DataConfig(fit="crop"), truths=True)
        truths = [images.truth(sample) for sample in generated.samples]
        assert [int((t > 0).sum()) for t in truths if t is not None] == counts


def test_a_whole_image_is_seen_in_the_range_and_channels_of_the_real_ones(
    made: Path, index: Index
) -> None:
    (first, *_) = see(generated_index(made, index), DataConfig(image_size=(32, 32)))[
        index.classes.index("tin")
    ]
    assert first.image.shape == (32, 32, 3) and first.truth is None
    image = unit(first.image)
    assert image[0, 0, 0] == 1 and image[-1, -1, 0] == 0


def test_images_come_in_parts_as_they_come_at_once(index: Index) -> None:
    config = DataConfig(image_size=(32, 32))
    whole = pixels(see(index, config))
    images = ImageSet(index, config)
    for k, members in enumerate(whole):
        parts = list(batches(views(images, k), size=3))
        assert [len(part) for part in parts[:-1]] == [3] * (len(parts) - 1)
        np.testing.assert_array_equal([i for part in parts for i in part], members)


def test_a_folder_without_a_manifest_is_no_generated_set(tmp_path: Path, index: Index) -> None:
    with pytest.raises(DataError, match=r"no images named by .*manifest\.jsonl"):
        generated_index(tmp_path, index)
