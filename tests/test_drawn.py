"""Drawn defects: of each it is known where it is and what was there before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from defectgan.data.dataset import drawn_on
from defectgan.data.drawn import KINDS, LEAST, _kind, draw_pair


def surfaces(
    seed: int, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    one, other = (rng.uniform(0.2, 0.8, shape).astype(np.float32) for _ in range(2))
    return one, other


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([(32, 32, 1), (32, 32, 3), (16, 48, 1), (48, 16, 3)]),
)
def test_nothing_changes_but_the_defect(seed: int, shape: tuple[int, int, int]) -> None:
    """Its soft rim apart, which is below a tenth of its opacity."""
    images = surfaces(seed % 100, shape)
    for image, drawn in zip(images, draw_pair(*images, (seed,)), strict=True):
        assert drawn.image.shape == shape and drawn.truth.shape == (*shape[:2], 1)
        assert drawn.image.min() >= 0 and drawn.image.max() <= 1
        assert set(np.unique(drawn.truth)) <= {0, 1}
        elsewhere = np.abs(drawn.image - image) * (1 - drawn.truth)
        assert elsewhere.max() <= 0.15


def test_the_same_defect_is_drawn_on_two_images_at_one_place() -> None:
    flat = np.full((64, 64, 1), 0.5, np.float32)
    for seed in range(20):
        one, other = draw_pair(flat, flat, (seed,))
        assert np.array_equal(one.image, other.image) and one.truth.sum() >= LEAST


def test_a_defect_depends_on_its_seed_alone() -> None:
    images = surfaces(0, (32, 32, 1))
    first, again = (draw_pair(*images, (5,)) for _ in range(2))
    assert np.array_equal(first[0].image, again[0].image)
    assert not np.array_equal(first[0].image, draw_pair(*images, (6,))[0].image)


def test_all_kinds_are_drawn() -> None:
    drawn = {_kind(np.random.default_rng(seed), 1)[0] for seed in range(200)}
    assert drawn == set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_can_be_seen_on_a_surface(kind: object) -> None:
    ground = np.random.default_rng(0).uniform(0.3, 0.7, (64, 64))
    found = 0
    for seed in range(10):
        flaw = kind(np.random.default_rng(seed), ground)  # type: ignore[operator]
        under = ground + flaw.relief if flaw.paint is None else flaw.paint
        found += bool((flaw.opacity * np.abs(under - ground)).max() > 0.03)
    assert found >= 6


def test_a_batch_has_each_defect_on_its_image_and_on_the_next() -> None:
    images = [np.full((32, 32, 1), level, np.float32) for level in (0.2, 0.5, 0.8)]
    tensors = drawn_on(images, [1, 2, 3])
    here, there = tensors["drawn"].chunk(2)
    truth, elsewhere = tensors["drawn_truth"].chunk(2)
    for i in range(3):
        one, other = draw_pair(images[i], images[(i + 1) % 3], (i + 1,))
        assert np.allclose(here[i, 0].numpy(), one.image[..., 0] * 2 - 1)
        assert np.allclose(there[i, 0].numpy(), other.image[..., 0] * 2 - 1)
        assert np.array_equal(truth[i, 0].numpy(), one.truth[..., 0])
        assert np.array_equal(elsewhere[i, 0].numpy(), other.truth[..., 0])
