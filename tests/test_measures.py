"""Numbers of masks that are known beforehand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from defectgan.errors import SettingError
from defectgan.inspection.against import Against
from defectgan.inspection.baseline import local_contrast, otsu
from defectgan.inspection.flags import Gate, duplicates, flags_of, known_flags
from defectgan.inspection.measure import Measures, measure
from defectgan.inspection.subject import DEFACED, GENERATED, Mask, Region, Subject
from defectgan.inspection.tally import Tally
from defectgan.metrics import ranking
from defectgan.metrics.overlap import iou, pairwise_iou


def disc(radius: float, size: int = 32, *, x: float = 0, y: float = 0) -> Mask:
    rows, columns = np.indices((size, size)) - size / 2
    inside: Mask = (np.hypot(rows - y, columns - x) < radius).astype(np.float32)
    return inside


def subject(mask: Mask, defect: str = "a", **known: Any) -> Subject:
    image = np.zeros((*mask.shape, 3), np.uint8)
    known = {"change": 255 * mask} | known
    return Subject("one", defect, "restored", image, image, mask, **known)


def numbers(mask: Mask, *, threshold: float = 0.5, **known: Any) -> Measures:
    return measure(subject(mask, **known), threshold=threshold)


def test_iou_of_a_region_with_itself_its_half_and_nothing() -> None:
    whole = np.ones((4, 4), bool)
    half = whole.copy()
    half[:2] = False
    assert iou(whole, whole) == 1 and iou(whole, half) == 0.5
    assert iou(whole, ~whole) == 0 and iou(~whole, ~whole) == 1


def test_area_counts_the_pixels_above_the_threshold() -> None:
    mask = np.array([[0.2, 0.6], [0.9, 0.4]], np.float32)
    assert numbers(mask).area == 0.5
    assert numbers(mask, threshold=0.3).area == 0.75


def test_parts_are_counted_and_the_largest_is_measured() -> None:
    mask = np.zeros((10, 10), np.float32)
    mask[1:3, 1:3] = mask[6:9, 6:9] = 1
    mask[9, 9] = 1  # touches the second at a corner
    m = numbers(mask)
    assert (m.components, m.largest, m.area) == (2, 0.1, 0.14)


def test_border_contact_is_the_share_of_the_mask_along_the_border() -> None:
    mask = np.zeros((32, 32), np.float32)
    mask[:4] = 1  # the strip is 2 of 32 pixels wide: two rows, and two columns at each end
    assert numbers(mask).border == (2 * 32 + 2 * 4) / (4 * 32)
    assert numbers(disc(8)).border == 0


def test_softness_is_the_share_of_the_mask_that_is_neither_off_nor_on() -> None:
    mask = np.array([[0.05, 0.5], [0.95, 1.0]], np.float32)
    assert numbers(mask).softness == pytest.approx(1 / 3)
    assert numbers(disc(8)).softness == 0


def test_the_centre_is_said_in_shares_of_the_whole_image() -> None:
    mask = np.zeros((4, 4), np.float32)
    mask[0, 3] = 1
    m = numbers(mask)
    assert (m.x, m.y) == (0.875, 0.125)
    m = numbers(mask, place=(0.5, 0.0, 0.5, 0.5))
    assert (m.x, m.y) == (0.9375, 0.0625)
    assert numbers(np.zeros((4, 4), np.float32)).x is None


def test_agreement_is_the_iou_with_the_mask_that_takes_the_defect_away_again() -> None:
    assert numbers(disc(8), again=disc(8)).agreement == 1
    assert numbers(disc(3, x=-8), again=disc(3, x=8)).agreement == 0


def test_ap_and_auroc_are_those_of_every_pair_and_every_threshold() -> None:
    rng = np.random.default_rng(0)
    # Numbers that half precision holds, with ties.
    scores = (rng.integers(0, 32, (20, 20)) / 32).astype(np.float32)
    truth = rng.random((20, 20)) < scores
    ranks = ranking.rank(scores, truth)
    inside, outside = scores[truth], scores[~truth]
    above = (inside[:, None] > outside).mean() + (inside[:, None] == outside).mean() / 2
    assert ranking.auroc_of_ranks(ranks) == pytest.approx(above)
    ap, recall = 0.0, 0.0
    for t in sorted(np.unique(scores), reverse=True):
        found = scores >= t
        gained = truth[found].sum() / truth.sum()
        ap, recall = ap + (gained - recall) * truth[found].mean(), gained
    assert ranking.average_precision(ranks) == pytest.approx(ap)


def test_a_saturated_mask_still_ranks_by_its_last_digits() -> None:
    scores = np.array([[1e-6, 2e-6, 0.5], [1 - 2e-6, 1 - 1e-6, 1]], np.float32)
    for i in range(1, 6):
        truth = (np.arange(6) >= i).reshape(2, 3)
        ranks = ranking.rank(scores, truth)
        assert ranking.auroc_of_ranks(ranks) == ranking.average_precision(ranks) == 1
        best = ranking.best_threshold(ranking.ious(ranks))
        assert scores.ravel()[i - 1] - 1e-7 <= best < scores.ravel()[i]


def test_a_perfect_a_reversed_and_an_indifferent_ranking_are_1_0_and_a_half() -> None:
    truth = disc(8) > 0
    for scores, known in ((disc(8), 1.0), (1 - disc(8), 0.0), (disc(99) * 0.4, 0.5)):
        assert ranking.auroc_of_ranks(ranking.rank(scores, truth)) == known
    indifferent = ranking.rank(disc(99) * np.float32(0.4), truth)
    assert ranking.average_precision(indifferent) == pytest.approx(truth.mean())
    assert ranking.average_precision(ranking.rank(disc(8), truth)) == 1


def test_without_a_true_pixel_there_is_nothing_to_rank() -> None:
    ranks = ranking.rank(disc(8), np.zeros((32, 32), bool))
    assert ranking.average_precision(ranks) is None and ranking.auroc_of_ranks(ranks) is None


def test_the_best_threshold_is_the_one_that_cuts_the_mask_to_the_truth() -> None:
    truth = disc(8) > 0
    mask = disc(12) * np.float32(0.25) + disc(8) * np.float32(0.5)
    assert numbers(mask, threshold=0.1, truth=truth).iou_best == 1
    scores = Against()
    scores.add(mask, truth, threshold=0.1)
    row = scores.row()
    assert 0.25 <= row["threshold_best"] < 0.75 and row["iou_best"] == 1 > row["iou"]


def test_no_threshold_below_the_least_is_the_best() -> None:
    falling = np.linspace(1, 0, ranking.CODES)
    assert ranking.best_threshold(falling) == 0
    assert ranking.best_threshold(falling, least=0.04) == 0.04


def test_otsu_on_local_contrast_finds_a_bright_spot_and_nothing_in_a_gradient() -> None:
    image = np.full((64, 64, 1), 90, np.uint8)
    image[30:34, 40:44] = 250
    scores = local_contrast(image)
    found = scores > otsu(scores)
    assert found[31:33, 41:43].all() and not found[:20].any()


def flags(mask: Mask, **known: Any) -> tuple[str, ...]:
    return flags_of(numbers(mask, **known))


def test_each_flag_is_raised_by_its_own_fault() -> None:
    assert flags(disc(8)) == ()
    assert flags(np.zeros((32, 32), np.float32)) == ("empty",)
    assert flags(np.ones((32, 32), np.float32)) == ("full",)
    edge = np.zeros((32, 32), np.float32)
    edge[:, :2] = 1
    assert flags(edge) == ("border",)
    specks = np.zeros((32, 32), np.float32)
    specks[4:28:4, 4:28:4] = 1
    assert flags(specks) == ("speckled",)


def test_a_mask_disagrees_where_pixels_changed_outside_or_none_inside() -> None:
    moved = disc(8) * 40
    assert flags(disc(8), change=moved) == ()
    assert flags(disc(8), change=moved, strays=1) == ("disagree",)
    assert flags(disc(8), change=moved * 0) == ("disagree",)


def test_only_equal_contents_are_duplicates_and_what_has_no_digest_never_is() -> None:
    assert duplicates(["a", "b", "a", None, None]) == {0, 2}


def test_masks_at_one_place_are_alike_and_masks_apart_are_not() -> None:
    regions: list[Region] = [disc(4, x=x) > 0 for x in (-10, 0, 10)]
    assert pairwise_iou([regions[0]] * 3) == 1 and pairwise_iou(regions) == 0
    assert pairwise_iou(regions[:1]) is None


def test_a_summary_counts_and_averages_by_class_and_direction() -> None:
    tally = Tally(threshold=0.5)
    blank = np.zeros((32, 32), np.float32)
    truth = disc(8) > 0
    for item in (
        subject(disc(8), truth=truth, digest="1"),
        subject(blank, truth=truth, digest="2"),
        subject(disc(8), "b", truth=truth, digest="1"),
    ):
        tally.add(item)
    found = tally.finish(["b", "a", "c"])
    assert list(found.summary) == ["b", "a"] and list(found.groups) == [
        ("b", "restored"),
        ("a", "restored"),
    ]
    a, b = found.summary["a"], found.summary["b"]
    assert (a["images"], a["empty"], a["flagged"]) == (2, 1, 2)
    assert (a["iou"], b["iou"], b["auroc"]) == (0.5, 1, 1)
    assert b["changed"]["ap"] == 1 and b["otsu"]["iou"] == 0  # the image is black all over
    assert found.flags["duplicate"] == 2 and found.flagged == 3
    assert found.heat["a", "restored"].max() == 0.5  # one of two images


def test_a_heat_map_shows_a_window_at_its_place_in_the_image() -> None:
    tally = Tally(threshold=0.5)
    tally.add(subject(np.ones((8, 8), np.float32), place=(0.75, 0.5, 0.25, 0.5)))
    (heat,) = tally.finish(["a"]).heat.values()
    assert heat[16:, 24:].min() == 1 and heat.sum() == 16 * 8


def test_a_gate_lets_pass_up_to_its_share() -> None:
    flagged = [("empty",), ("border", "empty"), ("border",), ()]
    assert Gate(("empty",), 0.5).verdict(flagged)[0]
    passed, sentence = Gate(("empty", "border"), 0.5).verdict(flagged)
    assert not passed and "3 of 4 images (75.0%)" in sentence


def test_a_flag_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(SettingError, match="no flag blurry: expected empty, full"):
        known_flags(["empty", "blurry"])


def test_of_paint_the_visible_change_is_held_against_the_mask() -> None:
    """Ten of 255 are visible, nine are not; a restoration is not asked."""
    change = np.array([[10, 200, 9, 0], [30, 0, 0, 0]], np.float32)
    mask = np.array([[0.2, 0.9, 0.6, 0.7], [0.4, 0, 0, 0]], np.float32)
    known = {"before": None, "after": np.zeros((2, 4, 3), np.uint8), "change": change}
    painted = Subject("one", "a", DEFACED, mask=mask, **known)  # type: ignore[arg-type]
    m = measure(painted, threshold=0.3)
    assert m.visible == 3 / 8 and m.unmasked == pytest.approx(1 / 3) and m.excess == 4 / 3
    assert numbers(mask, change=change).visible is None
    nothing = measure(replace(painted, change=change * 0), threshold=0.3)
    assert (nothing.visible, nothing.unmasked, nothing.excess) == (0, None, None)


def test_of_a_class_the_visible_changes_of_all_images_count_together() -> None:
    """An image that shows next to nothing has hardly a say; the threshold is that of its class."""
    tally = Tally(threshold={"a": 0.5, "b": 0.2})
    mask = np.full((10, 10), 0.3, np.float32)
    mask[:5] = 0.6
    for defect in ("a", "b"):
        for visible in (1, 99):
            change = np.zeros(100, np.float32)
            change[-visible:] = 255
            one = subject(mask, defect, change=change.reshape(10, 10))
            tally.add(replace(one, direction=GENERATED))
    rows = tally.finish(("a", "b")).summary
    assert (rows["a"]["unmasked"], rows["a"]["excess"]) == (0.51, 1.0)
    assert (rows["b"]["unmasked"], rows["b"]["excess"]) == (0.0, 2.0)
