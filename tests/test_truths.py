"""True masks in batches: they show what the image shows, and are unknown where nobody drew one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from defectgan.data.dataset import Batches
from defectgan.data.index import index_data
from defectgan.images import Picture, write_picture
from defectgan.training.batches import make_batches
from defectgan.training.job import Job
from tests.conftest import tiny_with


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """Dark images with a bright corner, which the mask marks; of one class nobody drew masks."""
    rng = np.random.default_rng(0)
    for name in ("normal", "tin", "dent"):
        for i in range(4):
            pixels = np.zeros((24, 24, 1), np.uint8)
            if name != "normal":
                high, wide = rng.integers(4, 12, 2)
                pixels[:high, :wide] = 255
            write_picture(tmp_path / name / f"{i}.png", Picture(pixels))
            if name == "tin":
                write_picture(tmp_path / "masks" / "tin" / f"{i}.png", Picture(pixels))
    return tmp_path


def batches(root: Path, *, supervision: float = 1.0, **data: Any) -> Batches:
    config = tiny_with(
        data={"image_size": 16, **data},
        method={"mask_supervision": supervision},
        training={"batch_size": 8},
    )
    job = Job(config, index_data(root, config.data))
    return make_batches(config, job.index, truths=job.learns_truths())


@pytest.mark.parametrize("data", [{}, {"fit": "letterbox"}, {"fit": "crop"}, {"cache": "none"}])
def test_the_mask_lies_where_the_defect_is_seen(marked: Path, data: dict[str, Any]) -> None:
    made = batches(marked, **data)
    for step in range(4):
        batch = made(step, 0)
        tin = batch.label[:, made.images.index.classes.index("tin")] == 1
        assert torch.allclose(batch.truth[tin], (batch.defect[tin] + 1) / 2, atol=0.02)
        assert batch.truth[tin].sum() > 0
        assert batch.truth[~tin].isnan().all()


def test_masks_are_read_only_where_they_are_learned_from(marked: Path) -> None:
    asked, unasked = batches(marked), batches(marked, supervision=0.0)
    assert unasked(0, 0).truth.numel() == 0
    assert torch.equal(asked(0, 0).defect, unasked(0, 0).defect)
    assert asked.images.store.room > unasked.images.store.room
