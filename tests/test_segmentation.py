"""A segmenter that learns from masks, on defects that are known to the pixel."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from defectgan.data.augment import Augment
from defectgan.data.dataset import Seen
from defectgan.data.index import index_data
from defectgan.data.samples import Sample
from defectgan.errors import DataError
from defectgan.evaluation.arms import Material
from defectgan.evaluation.gain_intervals import SegmenterAnswers
from defectgan.evaluation.gain_report import SEGMENTERS, cells, compare, with_intervals, write_gain
from defectgan.evaluation.ledger import ResultKey, keep_said
from defectgan.evaluation.painting import NOBODY
from defectgan.evaluation.pools import see
from defectgan.evaluation.procedural import Donor, deface
from defectgan.evaluation.segmentation import (
    SegmentationRecipe,
    answers,
    draw,
    learned_from,
    segment,
    segmentation_loss,
)
from defectgan.evaluation.segmentation_figures import (
    METRICS,
    SaidOfPixels,
    SegmenterFigures,
    pixel_scores,
    said_of,
)
from defectgan.images import Picture, write_picture
from defectgan.metrics.ranking import HALF, average_precision, ious, rank
from defectgan.settings.data import AugmentConfig, DataConfig

SIZE = 32
NAMES = ("normal", "bright", "dark")
TINY = SegmentationRecipe(steps=40, batch_size=8, width=8)


def seen(k: int, rng: np.random.Generator, *, known: bool = True) -> Seen:
    """Gray noise, and on it a bright or a dark square."""
    image = rng.normal(128, 8, (SIZE, SIZE, 1))
    mask = np.zeros((SIZE, SIZE, 1), np.uint8)
    if k:
        top, left = rng.integers(0, SIZE - 8, 2)
        mask[top : top + 8, left : left + 8] = 255
        image[mask > 0] += 90 if k == 1 else -90
    pixels = image.clip(0, 255).astype(np.uint8)
    return Seen(pixels, [k], mask if k and known else None)


def classes(count: int, seed: int, *, known: bool = True) -> list[list[Seen]]:
    rng = np.random.default_rng(seed)
    return [[seen(k, rng, known=known) for _ in range(count)] for k in range(3)]


class Answers(torch.nn.Module):
    """Says where pixels are far from gray; ``sign`` turns the answer round."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = torch.nn.Parameter(torch.tensor(sign))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sign * (x.abs() - 0.4) * 20


def scores_of(net: torch.nn.Module, test: list[list[Seen]]) -> dict[str, Any]:
    return pixel_scores(answers(net, test), NAMES, [len(members) for members in test])


def test_a_segmenter_that_knows_has_1_and_one_that_says_the_opposite_has_0() -> None:
    test = classes(4, 1)
    right, wrong = (scores_of(Answers(s), test) for s in (1.0, -1.0))
    assert right["ap"] == right["iou"] == 1.0
    assert right["class_ap"] == right["class_iou"] == dict.fromkeys(NAMES[1:], 1.0)
    assert wrong["ap"] < 0.05 and wrong["iou"] == 0.0


def test_iou_counts_what_is_found_where_nothing_is() -> None:
    """Of 1 square found twice over, half is wrong; the pixels of good images count as well."""
    marked = seen(1, np.random.default_rng(0))
    beside = np.roll(marked.image, SIZE // 2, axis=1)
    scores = scores_of(Answers(), [[Seen(beside, [0])], [marked], []])
    assert scores["iou"] == pytest.approx(0.5)
    assert scores["class_ap"] == scores["class_iou"] == {"bright": 1.0}


def test_made_and_true_masks_mean_the_pixels_that_they_cover_to_half(tmp_path: Path) -> None:
    """A mask of twice the size, brought to that of the images."""
    rng = np.random.default_rng(0)
    for name in ("normal", "tin", "masks/tin"):
        image = np.zeros((2 * SIZE, 2 * SIZE, 1), np.uint8)
        if name != "normal":
            image[rng.integers(2, size=image.shape) > 0] = 255
            image[:SIZE] = 0
        write_picture(tmp_path / name / "0.png", Picture(image))
    index = index_data(tmp_path, DataConfig())
    (normal,), (defect,) = see(index, DataConfig(image_size=SIZE), truths=True)
    assert defect.truth is not None and len(np.unique(defect.truth)) > 50
    wanted = defect.truth[..., 0] >= 127.5
    still = Augment(AugmentConfig(flip=False, rotate=False))
    _, learned = draw([[normal], [defect]], TINY, 0, still)
    assert all(np.array_equal(truth[0] > 0, wanted) for truth in learned[4:].numpy())
    donor = Donor(defect.image, defect.truth)
    (made,) = deface([normal.image], [donor], 1, seed=0)
    assert made.region.sum() == wanted.sum()

    class Knows(Answers):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            shown = torch.from_numpy(wanted) & (x > -1).flatten(1).any(1)[:, None, None, None]
            return self.sign * torch.where(shown, 9.0, -9.0)

    scores = scores_of(Knows(), [[normal], [defect], []])
    assert scores["iou"] == scores["ap"] == 1.0


COUNTS = (6, 4, 4)


def unsure(seed: int, shift: float) -> SaidOfPixels:
    """What a segmenter says of 4 x 4 pixels of 14 images, the better the larger the shift. One
    defect image has no true mask, another one's shows nothing.
    """
    rng = np.random.default_rng(seed)
    told = []
    for i in range(sum(COUNTS)):
        truth = (np.arange(16) < 5).reshape(4, 4) & (i >= COUNTS[0] + 1)
        logits = rng.normal(size=(4, 4)) + shift * truth
        scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
        told.append(said_of(scores, truth) * np.int16(i != sum(COUNTS) - 1))
    return np.stack(told)


def test_pixels_in_bins_rank_as_the_pixels_themselves_do() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((100, 100)) < 0.1
    scores = (1 / (1 + np.exp(-rng.normal(-6, 4, truth.shape) - 5 * truth))).astype(np.float32)
    told = pixel_scores(said_of(scores, truth)[None], NAMES, (0, 1, 0))
    ranks = rank(scores, truth)
    exact = average_precision(ranks)
    assert exact is not None and 0.2 < exact < 0.9
    assert told["ap"] == pytest.approx(exact, abs=1e-3)
    assert told["iou"] == ious(ranks)[HALF]


def test_pixel_figures_of_a_resample_are_those_of_its_images() -> None:
    """Images twice or not at all: the same as of a set in which they are so often."""
    said = unsure(0, 1.0)
    counts = np.random.default_rng(1).integers(0, 3, (3, len(said)))
    yardstick = SegmenterFigures.of(said, NAMES, COUNTS)
    together = yardstick(said, counts.astype(float))
    for drawn, figures in zip(counts, together, strict=True):
        truth = np.repeat(yardstick.truth, drawn)
        again = pixel_scores(np.repeat(said, drawn, axis=0), NAMES, np.bincount(truth).tolist())
        for part, value in zip(yardstick.parts, figures, strict=True):
            told = again[f"class_{part.name}"][part.of] if part.of else again[part.name]
            assert value == pytest.approx(told), part


def answered(folder: Path, said: dict[tuple[str, str, int], SaidOfPixels]) -> SegmenterAnswers:
    """Rows of segmenters by arm, generator and seed."""
    rows = []
    for (arm, generator, seed), told in said.items():
        key = ResultKey(arm, 1.0, seed, "unet", generator, 1 if generator else 0)
        kept = keep_said(folder, key, {"test": torch.from_numpy(told)})
        rows.append({**key._asdict(), "steps": 1, **kept, **pixel_scores(told, NAMES, COUNTS)})
    members = tuple(
        tuple(Sample(Path(f"{k}-{i}.png"), (name,) if k else ()) for i in range(count))
        for k, (name, count) in enumerate(zip(NAMES, COUNTS, strict=True))
    )
    return SegmenterAnswers(folder, rows, "test", NAMES, members)


def test_the_gain_of_painted_masks_has_the_bounds_that_classifiers_have(tmp_path: Path) -> None:
    said = {("procedural", "", seed): unsure(seed, 1.0) for seed in range(2)}
    said |= {("synthetic", g, seed): unsure(seed, 3.0) for g in "ab" for seed in range(2)}
    answers = answered(tmp_path, said)
    base, ours = with_intervals(compare(answers.rows, SEGMENTERS), answers)
    for metric in METRICS:
        value, low, high = ours["gains"][metric][""]
        assert value == pytest.approx(ours[f"{metric}_gain"]) and 0 < low < value < high
    assert base["figures"]["ap"]["bright"][0] == pytest.approx(base["class_ap"]["bright"])
    assert cells(ours, SEGMENTERS)[-3].startswith(f"{ours['ap_gain']:+.3f} (+")
    text = write_gain(tmp_path, [base, ours], SEGMENTERS, {"title": "x"})["md"].read_text()
    assert "gain in pixel AP (95 %)" in text and "±" not in text


def test_no_resample_is_without_a_mask_where_few_images_show_any(tmp_path: Path) -> None:
    """A class of which a single image shows a defect."""
    said = unsure(0, 1.0)
    said[COUNTS[0] + 2 : COUNTS[0] + COUNTS[1]] = -abs(said[0])
    told = answered(tmp_path, {("procedural", "", 0): said}).level("unet", "procedural")
    assert np.isfinite(
        [told[metric][name] for metric in METRICS for name in ("", *NAMES[1:])]
    ).all()


def test_a_class_that_shows_no_defect_has_no_figures() -> None:
    said = unsure(0, 1.0)
    said[COUNTS[0] + COUNTS[1] :] = -abs(said[0])
    assert pixel_scores(said, NAMES, COUNTS)["class_ap"].keys() == {"bright"}


def test_without_a_true_mask_nothing_can_be_tested_or_learned_from_true_ones() -> None:
    black = [[one._replace(truth=0 * one.image) for one in members] for members in classes(2, 0)]
    for test in (classes(2, 0, known=False), black):
        with pytest.raises(DataError, match="no test image of a defect has a true mask"):
            answers(Answers(), test)
    unknown = classes(2, 0, known=False)
    material = Material(unknown, unknown, unknown, procedural=classes(2, 1))
    with pytest.raises(DataError, match="no training image with a true mask"):
        learned_from(material, "true", 1.0)
    assert [len(p) for p in learned_from(material, "procedural", 0.5)] == [2, 1, 1]


def test_a_segmenter_learns_to_find_squares_from_made_ones() -> None:
    real, made = classes(8, 0), classes(8, 2)
    material = Material(real, real, classes(6, 1), synthetic={NOBODY: made})
    row, said = segment(material, "synthetic", TINY, NAMES)
    assert row["ap"] > 0.9 and row["iou"] > 0.6
    assert (row["arm"], row["ratio"], row["steps"]) == ("synthetic", 1.0, 40)
    assert said.shape == (18, SIZE**2)
    says_nothing = scores_of(Answers(0.0), classes(6, 1))
    assert says_nothing["ap"] == pytest.approx(2 / 3 * 64 / SIZE**2)


def test_a_batch_is_half_good_images_and_a_function_of_seed_and_step() -> None:
    pools, augment = classes(5, 0), Augment(AugmentConfig())
    images, truth = draw(pools, TINY, 3, augment)
    again = draw(pools, TINY, 3, augment)
    torch.testing.assert_close((images, truth), again)
    assert images.shape == truth.shape == (8, 1, SIZE, SIZE)
    assert not truth[:4].any() and (truth[4:].sum((1, 2, 3)) == 64).all()
    torch.testing.assert_close(truth > 0, images.abs() > 0.4)  # they take the same pose
    assert not torch.equal(images, draw(pools, TINY, 4, augment)[0])
    odd, truth = draw(pools, replace(TINY, batch_size=3), 3, augment)
    assert len(odd) == 3 and truth.flatten(1).any(1).tolist() == [False, True, True]


def test_the_loss_is_0_for_a_sure_right_answer_and_its_dice_1_for_a_sure_wrong_one() -> None:
    truth = torch.zeros(2, 1, 8, 8)
    truth[..., :4] = 1
    sure = 100 * (2 * truth - 1)
    assert float(segmentation_loss(sure, truth)) == pytest.approx(0)
    wrong = segmentation_loss(-sure, truth)
    assert float(wrong) == pytest.approx(100 + 1 - 1 / 129)
