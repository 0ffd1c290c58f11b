"""From what networks say of images to the answer: figures, intervals, the verdict, the page."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from defectgan.data.dataset import Seen
from defectgan.data.samples import Sample
from defectgan.evaluation.arms import ASKED, GOOD_ONLY, Material
from defectgan.evaluation.frozen import FROZEN
from defectgan.evaluation.gain_figures import ClassifierFigures, defect_scores, scores, shares_of
from defectgan.evaluation.gain_intervals import Answers
from defectgan.evaluation.gain_page import write_gain_page
from defectgan.evaluation.gain_report import catching, compare, with_intervals
from defectgan.evaluation.gain_verdict import judge
from defectgan.evaluation.ledger import ResultKey

CLASSES = ("good", "hole", "scratch")
# Good images and those of the two defects.
COUNTS = (100, 20, 20)
NASTY = "<script>alert(1)</script>.png"
Logits = NDArray[np.float32]


def said_with(right: tuple[float, float, float], seed: int) -> Logits:
    """Logits of images of which such shares of each class are called what they are; of those that
    are not, good ones are called holes, defects good.
    """
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), COUNTS)
    logits = rng.normal(0, 0.1, (len(truth), 3))
    for k, (count, share) in enumerate(zip(COUNTS, right, strict=True)):
        members = rng.permutation(np.flatnonzero(truth == k))
        known = members[: round(share * count)]
        logits[known, k] += 4
        others = np.setdiff1d(members, known)
        logits[others, 0 if k else 1] += 4
    return logits.astype(np.float32)


def members() -> tuple[tuple[Sample, ...], ...]:
    names = [(f"{k}-{i}.png" for i in range(count)) for k, count in enumerate(COUNTS)]
    labels = [(), *((name,) for name in CLASSES[1:])]
    made = [
        tuple(Sample(Path(NASTY if n == "1-0.png" else n), label) for n in some)
        for some, label in zip(names, labels, strict=True)
    ]
    return tuple(made)


def answered(
    folder: Path,
    arms: dict[tuple[str, str], tuple[tuple[float, float, float], tuple[float, float, float]]],
    *,
    generators: int = 2,
    seeds: int = 2,
) -> tuple[Answers, Answers, list[dict[str, Any]]]:
    """Rows and predictions of arms by network and name, with the shares that are right on
    validation and on test images; without augmentation half of them are.
    """
    rows: list[dict[str, Any]] = []
    bare = {(net, "real"): (HALF, HALF) for net, arm in arms if arm == "classical"}
    for (net, arm), shares in (bare | arms).items():
        painters = [f"g{i}" for i in range(generators)] if arm == ASKED.name else [""]
        for generator in painters:
            for seed in range(seeds):
                ratio = 1.0 if generator else 0.0
                key = ResultKey(arm, ratio, seed, net, generator, 1 if generator else 0)
                number = len(rows)
                told: dict[str, NDArray[Any]] = {
                    split: said_with(share, 10 * number + place)
                    for place, (split, share) in enumerate(
                        zip(("val", "test"), shares, strict=True)
                    )
                }
                if arm == GOOD_ONLY:
                    told = {name: defect_scores(one)[:, None] for name, one in told.items()}
                path = f"{number}.safetensors"
                save_file(
                    {name: torch.tensor(one).float() for name, one in told.items()}, folder / path
                )
                row = key._asdict() | {"steps": 1, "predictions": path}
                rows.append(row | scores(told["test"].astype(np.float32), COUNTS, CLASSES))
    val, test = (Answers(folder, rows, s, CLASSES, members()) for s in ("val", "test"))
    return val, test, rows


HALF = (0.5, 0.5, 0.5)
GOOD_NET = ((1.0, 0.8, 0.8), (1.0, 0.8, 0.8))
ASKED_GOOD = {("small", ASKED.name): GOOD_NET}


def test_a_defect_score_ranks_as_the_probability_of_any_defect_does() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 4)).astype(np.float32)
    probability = 1 - torch.tensor(logits).softmax(1)[:, 0].numpy()
    assert (np.argsort(defect_scores(logits)) == np.argsort(probability)).all()
    sure = np.array([[60, 0, 0], [61, 0, 0]], np.float32)
    assert defect_scores(sure)[0] > defect_scores(sure)[1]
    assert (defect_scores(logits[:, :1]) == logits[:, 0]).all()


def test_of_few_good_images_no_small_share_is_told() -> None:
    assert shares_of(3) == (0.05,) and shares_of(20) == (0.05,)
    assert shares_of(100) == (0.05, 0.01) and shares_of(3000) == (0.05, 0.01, 0.001)


def test_figures_of_a_resample_are_those_of_its_images() -> None:
    """Images twice or not at all: the same as of a set in which they are so often."""
    said = said_with((0.9, 0.6, 0.7), 0)
    counts = np.random.default_rng(1).integers(0, 3, len(said))
    yardstick = ClassifierFigures(CLASSES, COUNTS)
    drawn = np.repeat(said, counts, axis=0)
    truth = np.repeat(yardstick.truth, counts)
    naive = ClassifierFigures(CLASSES, tuple(np.bincount(truth).tolist()))
    again = yardstick(said, counts[None].astype(float))[0]
    once = naive(drawn, np.ones((1, len(drawn))))[0]
    told = dict(zip(naive.parts, once, strict=True))
    for part, value in zip(yardstick.parts, again, strict=True):
        if part in told:
            assert value == pytest.approx(told[part]), part


def test_the_gain_of_an_arm_is_the_mean_over_generators_and_seeds_within_its_bounds(
    tmp_path: Path,
) -> None:
    arms = {
        ("small", "classical"): GOOD_NET,
        ("small", ASKED.name): ((1.0, 1.0, 1.0), (1.0, 1.0, 0.9)),
    }
    _, test, rows = answered(tmp_path, arms, generators=3)
    assert test.said("small", ASKED.name).shape == (3, 2, 140, 3)
    assert test.said("small", "classical").shape == (1, 2, 140, 3)
    gain = test.gain("small", ASKED.name, "classical")
    value, low, high = gain["caught at 1 %"][""]
    assert value == pytest.approx(0.15) and 0 < low < value < high
    assert gain["recall"]["hole"][0] == pytest.approx(0.2)
    assert gain["recall"]["scratch"][0] == pytest.approx(0.1)
    sheet = catching("caught at 1 %")
    *_, ours = with_intervals(compare(rows, sheet), test)
    assert ours["gains"]["caught at 1 %"][""] == [value, low, high]
    assert ours["caught at 1 %_gain"] == pytest.approx(value)
    assert (ours["generators"], ours["seeds"]) == (3, 2)


def test_images_that_lower_validation_are_not_to_be_added_and_the_classes_are_named(
    tmp_path: Path,
) -> None:
    arms = {
        ("small", "classical"): GOOD_NET,
        ("small", ASKED.name): ((1.0, 0.4, 0.8), (1.0, 1.0, 1.0)),
    }
    verdict = judge(*answered(tmp_path, arms)[:2])
    assert verdict is not None and verdict.harms
    first = verdict.evidence[0]
    assert (first.worse, first.pairs, first.losers) == (4, 4, ("hole",))
    answer = "Do not add these images, least of all those of hole: on validation images balanced "
    assert verdict.lines[0].startswith(f"{answer}accuracy falls by 13.3 points")
    assert "lower in 4 of 4 trainings" in verdict.lines[0]
    assert verdict.lines[1].startswith("On test images, with 1 % of the good parts refused, 100 of")


def test_a_single_worse_training_of_four_is_no_harm(tmp_path: Path) -> None:
    val, test, _ = answered(tmp_path, {("small", "classical"): GOOD_NET, **ASKED_GOOD})
    verdict = judge(val, test)
    assert verdict is not None
    first = verdict.evidence[0]
    wide = (-0.01, -0.2, 0.2)
    kinds = {worse: replace(first, validation=wide, worse=worse).harmed for worse in range(5)}
    assert kinds == {0: False, 1: False, 2: False, 3: True, 4: True}
    assert replace(first, validation=(-0.1, -0.2, -0.01), worse=0).harmed
    assert not replace(first, validation=(0.1, -0.2, 0.3), worse=4).harmed


def test_images_that_let_more_defects_be_caught_are_to_be_added(tmp_path: Path) -> None:
    arms = {
        (FROZEN, GOOD_ONLY): ((1.0, 0.5, 0.5), (1.0, 0.5, 0.5)),
        ("small", "classical"): GOOD_NET,
        ("small", ASKED.name): ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    }
    val, test, _ = answered(tmp_path, arms)
    verdict = judge(val, test)
    assert verdict is not None and verdict.says == "add"
    assert verdict.lines[0].startswith(
        "Add these images: with 1 % of the good parts refused, 100 of 100 defects are caught "
        "instead of 80 (+20.0, 95 % interval +"
    )
    alone = 100 * test.level(FROZEN, GOOD_ONLY)["caught at 1 %"][""][0]
    assert f"good parts alone catches {alone:.0f} of 100" in verdict.lines[1]
    assert f"with them 100 ({100 - alone:+.1f}, 95 % interval +" in verdict.lines[1]


def test_images_without_a_difference_are_called_so(tmp_path: Path) -> None:
    arms = {("small", "classical"): GOOD_NET, ("small", ASKED.name): GOOD_NET}
    verdict = judge(*answered(tmp_path, arms)[:2])
    assert verdict is not None and verdict.says == "unclear" and not verdict.harms
    assert verdict.lines[0].startswith("These images make no difference that this test can show")


def test_the_network_decides_that_is_best_without_the_images_and_others_are_told(
    tmp_path: Path,
) -> None:
    arms = {
        ("small", "classical"): ((0.9, 0.3, 0.3), (0.9, 0.3, 0.3)),
        ("small", ASKED.name): ((1.0, 0.7, 0.7), (1.0, 0.7, 0.7)),
        (FROZEN, "classical"): GOOD_NET,
        (FROZEN, ASKED.name): GOOD_NET,
    }
    verdict = judge(*answered(tmp_path, arms)[:2])
    assert verdict is not None and verdict.says == "unclear"
    assert [e.net for e in verdict.evidence] == [FROZEN, "small"]
    assert verdict.lines[-1].startswith("The network small, which is worse without them: +")
    assert verdict.lines[-1].endswith("; there they help.")


def test_a_gain_that_vanishes_with_another_network_is_said(tmp_path: Path) -> None:
    arms = {
        ("small", "classical"): GOOD_NET,
        ("small", ASKED.name): ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
        (FROZEN, "classical"): ((1.0, 0.7, 0.7), (1.0, 0.7, 0.7)),
        (FROZEN, ASKED.name): ((1.0, 0.7, 0.7), (1.0, 0.7, 0.7)),
    }
    verdict = judge(*answered(tmp_path, arms)[:2])
    assert verdict is not None and verdict.says == "add"
    assert verdict.lines[-1].startswith("A linear head on fixed features, which is worse without")
    assert verdict.lines[-1].endswith("; the gain vanishes there.")


def test_where_the_question_was_not_asked_there_is_no_verdict(tmp_path: Path) -> None:
    assert judge(*answered(tmp_path, {("small", "classical"): GOOD_NET})[:2]) is None


@pytest.mark.parametrize("asked", [True, False])
def test_the_page_tells_the_answer_first_and_names_are_text(tmp_path: Path, asked: bool) -> None:
    arms = {
        (FROZEN, GOOD_ONLY): ((1.0, 0.5, 0.5), (1.0, 0.5, 0.5)),
        (FROZEN, "classical"): GOOD_NET,
        (FROZEN, ASKED.name): ((1.0, 1.0, 0.6), (1.0, 1.0, 0.6)),
    }
    if not asked:
        del arms[FROZEN, ASKED.name]
    val, test, rows = answered(tmp_path, arms)
    sheet = catching("caught at 1 %")
    entries = with_intervals(compare(rows, sheet), test)
    told = [e | {"escapes": 1.5, "overkill": 9.9} for e in entries]
    gray = [[Seen(np.full((16, 16, 1), 99, np.uint8), [k])] * n for k, n in enumerate(COUNTS)]
    page = tmp_path / "page.html"
    facts = {"title": "Gain on <b>x</b>", "defect rate": 0.01}
    verdict = judge(val, test)
    material = Material(gray, gray, gray, procedural=gray)
    choice = [("none", 0.5, False), ("1x", 0.6, True)]
    write_gain_page(page, told, sheet, facts, verdict, choice, test, material)
    text = page.read_text()
    assert NASTY not in text and "<b>x</b>" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert 'style="' not in text, "the policy lets no style of an element's own apply"
    if verdict is None:
        assert 'class="verdict' not in text
    else:
        body = text.split("<main>")[1]
        assert body.index(verdict.lines[0]) < body.index("<table")
        assert "caught more often" in text and "caught less often" in text
    assert text.count("<tr") > 8 and json.dumps("1x, chosen")[1:-1] in text


def test_rows_of_another_network_are_not_mixed_in(tmp_path: Path) -> None:
    arms = {
        ("small", "classical"): GOOD_NET,
        (FROZEN, "classical"): ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    }
    _, test, rows = answered(tmp_path, arms)
    entries = compare(rows, catching("caught at 1 %"))
    one, other = (e for e in entries if e["arm"] == "classical")
    assert (one["net"], other["net"]) == ("small", FROZEN)
    assert one["accuracy"] < other["accuracy"] == 1
    alone = replace(test, rows=[row for row in rows if row["net"] == "small"])
    assert (alone.said("small", "classical") == test.said("small", "classical")).all()
