"""What is kept of what was painted: checks, the paintings that follow a rejected one, strength."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from defectgan.data.masks import along_border
from defectgan.errors import CheckFailed, DataError, ModelError, SettingError
from defectgan.generation import rounds
from defectgan.generation.canvas import as_strong
from defectgan.generation.checks import (
    BORDER,
    DOUBTED,
    EMPTY,
    LARGE,
    NO_ROOM,
    PAINTINGS,
    ROUNDS,
    SMALL,
    UNREAL,
    UNSEEN,
    Checks,
)
from defectgan.generation.plan import PlanRow, Wanted
from defectgan.generation.where import read_area
from defectgan.generation.wishes import Amount, Span, Wishes
from defectgan.images import read_mask, read_picture
from defectgan.manifest import MANIFEST, REJECTED, GivenUp, given_up, read_manifest
from defectgan.model.file import Model, load_model
from defectgan.model.pixels import INVISIBLE
from defectgan.networks.compose import compose
from defectgan.networks.generator import Layer
from tests.conftest import generator_of, rows_of, without_critic
from tests.test_generation import make, make_set, pixels_of


@pytest.fixture
def blind(run: Path) -> Model:
    """A model whose masks are empty."""
    model = load_model(run)
    with torch.no_grad():
        generator_of(model).head.weight.zero_()
        generator_of(model).head.bias.fill_(-20)  # type: ignore[union-attr]
    return model


def files_of(out: Path) -> dict[str, bytes]:
    """All that makes a set."""
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def median_confidence(model: Model, normal: Path, out: Path) -> float:
    """Half of the images of each class reach it, or more."""
    rows = make(model, normal, out, n=12)
    sure = [[r["class_confidence"] for r in rows if r["class"] == k] for k in ("tin", "wound")]
    return float(min(np.median(of_class) for of_class in sure))


def test_a_strength_scales_what_is_painted_and_stays_in_the_range_of_an_image() -> None:
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(3, 2, 4, 4, generator=rng) - 0.5
    layer = Layer(
        torch.rand(3, 2, 4, 4, generator=rng) - 0.5, torch.rand(3, 1, 4, 4, generator=rng)
    )
    change = compose(image, *layer) - image
    strong = as_strong(layer, image, [0.0, 0.25, 1.5])
    painted = compose(image, *strong) - image
    assert not strong.mask[0].any() and not painted[0].any()
    assert_close(painted[1], 0.25 * change[1])
    assert_close(painted[2], 1.5 * change[2])
    assert_close(strong.mask[2], layer.mask[2], atol=0, rtol=0)
    assert as_strong(layer, image, [1.0, 1.0, 1.0]) is layer
    ones = torch.ones(1, 1, 4, 4)
    wild = as_strong(Layer(ones, ones), image[:1, :1], [2.0])
    assert wild.foreground.max() == 1


def test_strength_0_gives_the_good_image_and_an_empty_mask(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    for row in make(model, boards / "normal", tmp_path / "set", wishes=Wishes(strength=0.0)):
        source = read_picture(Path(row["source"])).pixels.astype(int)
        assert np.array_equal(pixels_of(tmp_path / "set", row), source)
        assert not read_mask(tmp_path / "set" / row["mask"]).any()
        assert row["box"] is None and row["strength"] == 0


def test_strength_1_is_what_the_model_paints_and_a_half_is_half_of_it(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    usual = make(model, boards / "normal", tmp_path / "usual")
    make(model, boards / "normal", tmp_path / "one", wishes=Wishes(strength=1.0))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "usual")
    half = make(model, boards / "normal", tmp_path / "half", wishes=Wishes(strength=0.5))
    for full, weak in zip(usual, half, strict=True):
        source = read_picture(Path(full["source"])).pixels.astype(int)
        whole, part = (
            np.abs(pixels_of(tmp_path / name, row) - source)
            for name, row in (("usual", full), ("half", weak))
        )
        # What nobody would see at half its opacity is not painted, nor are its surroundings.
        seen = read_mask(tmp_path / "half" / weak["mask"]) > 255 * 3 * INVISIBLE
        assert np.quantile(np.abs(part - whole / 2)[seen], 0.95) <= 2


@pytest.mark.parametrize("strength", [-0.1, 2.5])
def test_a_strength_out_of_its_range_is_refused(strength: float) -> None:
    with pytest.raises(SettingError, match="expected 0 to 2"):
        Wishes(strength=strength)


def test_an_image_that_cannot_be_made_is_given_up_after_so_many_paintings(
    blind: Model, boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which and why is written down, and it is not tried again."""
    out = tmp_path / "set"
    outcome = make_set(blind, boards / "normal", out, n=3, candidates=2)
    assert (outcome.there, outcome.made) == (0, 0) and rows_of(out) == []
    lost = given_up(out)
    assert [one.number for one in lost] == [0, 1, 2]
    assert [one.defect for one in lost] == ["tin", "wound", "tin"]
    for one in lost:
        assert len(one.rejected) == PAINTINGS and {r.why for r in one.rejected} == {EMPTY}
        assert len({r.seed for r in one.rejected}) == PAINTINGS
    with pytest.raises(CheckFailed, match="made 0 of 3 images, 2 of tin, 1 of wound are missing"):
        outcome.refuse_short(3, out)
    before = files_of(out)

    def none(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(rounds.Rounds, "_tries", none)
    again = make_set(blind, boards / "normal", out, n=3, candidates=2)
    assert again.given_up == outcome.given_up and files_of(out) == before


def test_what_was_rejected_says_why(model: Model, boards: Path, tmp_path: Path) -> None:
    checks = Checks(min_area=Amount(1.0, share=True))
    outcome = make_set(model, boards / "normal", tmp_path / "set", n=2, checks=checks)
    assert outcome.made == 0 and {r.why for one in outcome.given_up for r in one.rejected} == {
        SMALL
    }
    wishes = Wishes(forbidden=read_area("0.,0.,1.,1.", []))
    outcome = make_set(model, boards / "normal", tmp_path / "none", n=2, wishes=wishes)
    assert {r.why for one in outcome.given_up for r in one.rejected} == {NO_ROOM}


def test_a_doubted_painting_is_painted_again_until_the_critic_is_sure_enough(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    normal = boards / "normal"
    least = median_confidence(model, normal, tmp_path / "usual")
    make_set(model, normal, tmp_path / "set", n=12, checks=Checks(min_confidence=least))
    rows = read_manifest(tmp_path / "set")
    assert len(rows) == 12 and [row.number for row in rows] == list(range(12))
    usual = {row.number: row for row in read_manifest(tmp_path / "usual")}
    for row in rows:
        assert row.class_confidence is not None and row.class_confidence >= least
        assert row.number is not None
        before = usual[row.number]
        if before.class_confidence is not None and before.class_confidence >= least:
            assert row == before
        else:
            assert row.rejected[0].seed == before.seed and row.rejected[0].why == DOUBTED
            assert row.rejected[0].value == before.class_confidence
    assert 0 < sum(bool(row.rejected) for row in rows) < 12


def wish_for_all(model: Model, normal: Path, out: Path) -> Callable[..., Any]:
    """A job with regions, several defects and checks that reject some paintings."""
    least = median_confidence(model, normal, out)
    job: dict[str, Any] = {
        "wishes": Wishes(size=Span.read("12..20"), count=(1, 2), strength=1.2),
        "checks": Checks(min_confidence=least, keep_best=0.5, min_area=Amount(4)),
        "candidates": 2,
    }
    return lambda out, **more: make_set(model, normal, out, **(job | more))


def test_a_job_with_wishes_and_checks_goes_on_to_the_same_set_wherever_it_was_cut(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    """And whether it is extended or made at once, image by image."""
    job = wish_for_all(model, boards / "normal", tmp_path / "usual")
    job(tmp_path / "whole", n=8)
    expected = files_of(tmp_path / "whole")
    rows = read_manifest(tmp_path / "whole")
    assert any(len(row.instances) == 2 for row in rows) and any(row.rejected for row in rows)
    for kept in (0, 3, 6):
        cut = tmp_path / f"cut{kept}"
        shutil.copytree(tmp_path / "whole", cut)
        lines = (cut / MANIFEST).read_text().splitlines(keepends=True)
        (cut / MANIFEST).write_text("".join(lines[:kept]))
        for row in rows[kept:]:
            (cut / row.output).unlink()
        job(cut, n=8)
        assert files_of(cut) == expected
    for n in (2, 5, 8):
        job(tmp_path / "grown", n=n)
    assert files_of(tmp_path / "grown") == expected


def test_of_several_paintings_the_one_is_kept_that_is_most_real_beside_its_good_image(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    checks = Checks(keep_best=0.25)
    make_set(model, boards / "normal", tmp_path / "set", checks=checks)
    for row in read_manifest(tmp_path / "set"):
        others = [one.value for one in row.rejected if one.why == UNREAL]
        assert len(row.rejected) == 3 and row.realism is not None
        assert all(value is not None and value <= row.realism for value in others)
    assert [Checks(keep_best=share).rivals for share in (1, 0.5, 0.3, 0.1)] == [1, 2, 4, 10]


def test_masks_are_checked_by_their_area_their_visibility_and_their_place(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    found = np.zeros((10, 20), bool)
    found[4:6, 5:15] = True
    for checks, expected in (
        (Checks(), None),
        (Checks(min_area=Amount(20), max_area=Amount(0.1, share=True), no_border=True), None),
        (Checks(min_area=Amount(21)), (SMALL, 20)),
        (Checks(max_area=Amount(0.09, share=True)), (LARGE, 0.1)),
        (Checks(no_border=True), None),
    ):
        assert checks.of_found(found, found) == expected
    edge = found[4:6]
    assert Checks(no_border=True).of_found(found, edge) == (BORDER, 1.0)


def test_the_share_along_the_border_is_that_in_a_strip_of_a_sixteenth() -> None:
    found = np.zeros((32, 64), bool)
    assert along_border(found) == 0
    found[10, 10] = True
    assert along_border(found) == 0
    found[1, 10] = found[10, 60] = found[31, 63] = True
    assert along_border(found) == 0.75


def test_what_nobody_would_see_is_rejected(blind: Model, boards: Path, tmp_path: Path) -> None:
    """An opaque layer that shows the image as it is: a mask over nothing."""
    with torch.no_grad():
        bias = generator_of(blind).head.bias
        bias[:-1], bias[-1] = 0, 20  # type: ignore[index]
    outcome = make_set(blind, boards / "normal", tmp_path / "set", n=1)
    (one,) = outcome.given_up
    assert {r.why for r in one.rejected} == {UNSEEN} and len(one.rejected) == PAINTINGS


def test_a_good_image_is_as_real_as_itself(model: Model, boards: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"wishes": Wishes(strength=0.0), "checks": Checks(keep_best=0.5)}
    make_set(model, boards / "normal", tmp_path / "set", **asked)
    rows = read_manifest(tmp_path / "set")
    assert {row.realism for row in rows} == {0.0} and any(row.critic_score for row in rows)


def test_there_are_as_many_paintings_for_few_candidates_as_for_many() -> None:
    assert Checks().rounds(1) == PAINTINGS and Checks().rounds(8) * 8 == PAINTINGS
    assert Checks().rounds(100) == ROUNDS


@pytest.mark.parametrize(
    "numbers",
    [
        {"min_confidence": 1.5},
        {"keep_best": 0},
        {"keep_best": 1.1},
        {"min_area": Amount(9), "max_area": Amount(8)},
    ],
)
def test_checks_that_nothing_can_hold_are_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"expected|is above"):
        Checks(**numbers)


def test_a_mask_cannot_be_asked_of_nothing(model: Model, boards: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"wishes": Wishes(strength=0.0), "checks": Checks(min_area=Amount(3))}
    with pytest.raises(SettingError, match="a strength of 0 paints nothing"):
        make_set(model, boards / "normal", tmp_path / "set", **asked)


def test_weights_without_a_critic_cannot_tell_the_best(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    for checks in (Checks(min_confidence=0.5), Checks(keep_best=0.5)):
        with pytest.raises(ModelError, match="the generator alone"):
            make_set(without_critic(model), boards / "normal", tmp_path / "set", checks=checks)


def test_a_set_of_a_version_that_rejected_nothing_goes_on_as_it_was_begun(
    blind: Model, boards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    make_set(blind, boards / "normal", out, n=1)
    record = json.loads((out / "job.json").read_text())
    for name in ("checks", "where", "forbidden", "size", "count", "together", "strength"):
        del record[name]
    (out / "job.json").write_text(json.dumps(record))
    (out / REJECTED).unlink()
    assert make_set(blind, boards / "normal", out, n=4).made == 4
    assert all(row["box"] is None for row in rows_of(out))


def test_another_wish_is_another_job(model: Model, boards: Path, tmp_path: Path) -> None:
    make(model, boards / "normal", tmp_path / "set")
    changes: tuple[dict[str, Any], ...] = (
        {"wishes": Wishes(strength=0.5)},
        {"wishes": Wishes(count=(1, 2))},
        {"wishes": Wishes(where=read_area("0,0,9,9", []))},
        {"checks": Checks(min_area=Amount(3))},
    )
    for change in changes:
        with pytest.raises(DataError, match="holds the images of another job"):
            make_set(model, boards / "normal", tmp_path / "set", **change)


def test_the_seeds_of_all_defects_and_candidates_of_an_image_differ() -> None:
    wanted = Wanted(PlanRow(0, Path("a"), "a", 5), (Path("a"), Path("b")), ("a", "b", "a"))
    seeds = {wanted.candidate(c, nth=k).seed for c in range(40) for k in range(3)}
    assert len(seeds) == 120
    assert wanted.candidate(0) == wanted.first and wanted.candidate(3, nth=1).defect == "b"


def test_a_damaged_line_of_what_was_given_up_is_named(tmp_path: Path) -> None:
    (tmp_path / REJECTED).write_text('{"number": 3, "class": "tin"}\n{"class": "tin"}\n')
    with pytest.raises(
        DataError, match=r"line 2 of .*rejected\.jsonl is damaged: number is nothing"
    ):
        given_up(tmp_path)
    (tmp_path / REJECTED).write_text('{"number": 3, "class": "tin"}\n')
    assert given_up(tmp_path) == [GivenUp(number=3, defect="tin")]
