"""Defects without a model: what is pasted, where, and that the rest stays."""

import numpy as np
import pytest

from defectgan.evaluation.procedural import BLOB_ABOVE, LEAST, Donor, deface, perlin

SIZE = (32, 48)


def flat(value: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def box_mask(size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros((*size, 1), np.uint8)
    mask[10:14, 20:27] = 255
    return mask


@pytest.mark.parametrize("size", [SIZE, (40, 40)])
def test_a_defect_is_pasted_whole_and_nothing_else_changes(size: tuple[int, int]) -> None:
    """A white donor, of which a box of 4 x 7 is cut out, on black images."""
    made = deface([flat(0, size)], [Donor(flat(255, size), box_mask(size))], 20, seed=0)
    places = set()
    for image, region in made:
        rows, columns = np.nonzero(region)
        assert region.sum() == 28
        assert {np.ptp(rows) + 1, np.ptp(columns) + 1} == {4, 7}
        assert np.array_equal(image, np.where(region[..., None], 255, 0).repeat(3, axis=2))
        places.add((rows.min(), columns.min()))
    assert len(places) > 10


def test_a_pixel_that_a_mask_covers_in_part_is_pasted_whole_and_is_defect_from_half_on() -> None:
    """It shows that share of the defect already: laid over by it, it would show its square."""
    mask = box_mask()
    mask[10, 20:27], mask[13, 20:27] = 127, 128
    for image, region in deface([flat(0)], [Donor(flat(200), mask)], 8, seed=0):
        assert set(np.unique(image)) == {0, 200}
        assert (image[..., 0] == 200).sum() == 28 and region.sum() == 21


def test_only_a_square_image_is_turned_by_a_quarter() -> None:
    regions = [one.region for one in deface([flat(0)], [Donor(flat(255), box_mask())], 20, seed=0)]
    assert {np.ptp(np.nonzero(region)[0]) + 1 for region in regions} == {4}


def test_where_any_donor_has_a_mask_those_alone_give() -> None:
    donors = [Donor(flat(255), None), Donor(flat(100), box_mask())]
    assert all(one.image.max() == 100 for one in deface([flat(0)], donors, 8, seed=1))


def test_an_empty_mask_is_as_good_as_none() -> None:
    empty = Donor(flat(255), np.zeros((*SIZE, 1), np.uint8))
    ours, theirs = (
        deface([flat(0)], [donor], 3, seed=1) for donor in (empty, Donor(flat(255), None))
    )
    assert all(np.array_equal(a.image, b.image) for a, b in zip(ours, theirs, strict=True))


def test_without_masks_blobs_of_the_defect_image_are_laid_over() -> None:
    for image, region in deface([flat(0)], [Donor(flat(200), None)], 12, seed=2):
        assert region.mean() >= LEAST
        assert (image[~region] == 0).all()
        (opacity,) = np.unique(image[region])
        assert 0.1 * 200 - 1 <= opacity <= 200


def test_image_i_depends_on_seed_and_i_alone_and_good_images_come_in_turn() -> None:
    normals = [flat(value) for value in (0, 50, 100)]
    donors = [Donor(flat(255), box_mask())]
    few, many = (deface(normals, donors, count, seed=3) for count in (4, 7))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(few, many, strict=False))
    grounds = [int(np.median(one.image)) for one in many]
    assert sorted(grounds[:3]) == sorted(grounds[3:6]) == [0, 50, 100]
    other = deface(normals, donors, 4, seed=4)
    assert not all(np.array_equal(a.image, b.image) for a, b in zip(few, other, strict=True))


def test_gradient_noise_is_0_at_the_corners_of_its_grid_and_its_slope_is_the_gradient() -> None:
    noise = perlin((40, 60), (4, 6), np.random.default_rng(0))
    assert np.abs(noise[::10, ::10]).max() < 1e-6
    assert noise.min() < -BLOB_ABOVE and noise.max() > BLOB_ABOVE
    assert np.abs(noise).max() <= 1
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, (5, 7))
    fine = perlin((4000, 6), (4, 6), np.random.default_rng(0))
    slope = fine[1, 0] / (np.sqrt(2) * 4 / 4000)
    assert slope == pytest.approx(np.sin(angles[0, 0]), abs=1e-2)
