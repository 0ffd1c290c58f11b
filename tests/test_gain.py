"""Does the augmentation help: the arms, their bookkeeping, the arithmetic of the comparison."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from defectgan.data.dataset import Seen
from defectgan.data.samples import TEST, TRAIN, Sample
from defectgan.errors import DataError, ModelError, SettingError
from defectgan.evaluation.arms import ARMS, GOOD_ONLY, Material, gather, known_arms
from defectgan.evaluation.bench import Bench
from defectgan.evaluation.classifier import Recipe
from defectgan.evaluation.gain import FOLDER, GainPlan, run_gain, run_task
from defectgan.evaluation.gain_figures import scores
from defectgan.evaluation.gain_intervals import Answers
from defectgan.evaluation.gain_report import (
    CLASSIFIERS,
    about,
    columns,
    compare,
    with_intervals,
    write_gain,
)
from defectgan.evaluation.ledger import JOB, RESULTS, TABLE, ResultKey, claim, material, open_test
from defectgan.evaluation.painting import (
    UNDONE,
    PaintedBy,
    added,
    paint,
    painted,
    take_away,
    undone,
)
from defectgan.evaluation.real import RealSplit, SplitPlan, split_real
from defectgan.files import read_json_lines
from defectgan.generation.layer import paint_source
from defectgan.images import Picture, read_picture, write_picture
from defectgan.model.file import Model, load_model
from defectgan.model.pixels import model_view, row_noise
from defectgan.networks.control import constant_map, one_hot
from defectgan.settings.data import DataConfig
from defectgan.views import Viewer
from tests.conftest import CPU

SHARES = SplitPlan(holdout=0.25, val_fraction=0.34)
RECIPE = Recipe(net="small", steps=2, batch_size=4, evaluations=1)
PLAN = GainPlan(seeds=2, image_size=(32, 32), recipe=RECIPE)
# Arms of a network from scratch that need no image but those of the split.
TAUGHT = tuple(name for name, arm in ARMS.items() if arm.extra != "real" and name != GOOD_ONLY)


# Of which a trainer from scratch needs but the device.
BENCH: Any = SimpleNamespace(device=CPU)


def run_on(
    real: RealSplit, models: list[Model], out: Path, plan: GainPlan = PLAN, **options: Any
) -> list[dict[str, Any]]:
    baselines = options.pop("baselines", ())
    return run_gain(plan, Bench(real, models, out, CPU, **options), baselines)


@pytest.fixture(scope="module")
def real(boards: Path) -> RealSplit:
    return split_real(boards, DataConfig(), SHARES)


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    """A tiny model; that it has seen the test images does not matter to bookkeeping."""
    return load_model(run)


@pytest.fixture(scope="module")
def finished(
    real: RealSplit, model: Model, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """All arms that learn from the split and from what is painted, two seeds each; tests only read
    it.
    """
    out = tmp_path_factory.mktemp("gain") / "out"
    claim(out, real)
    return out, run_on(real, [model], out, replace(PLAN, asked=TAUGHT))


def coloured(counts: list[int], value: int) -> list[list[Seen]]:
    image = np.full((32, 32, 3), value, np.uint8)
    return [[Seen(image, [k])] * count for k, count in enumerate(counts)]


def test_a_ratio_of_floats_adds_no_image_more_than_that_of_decimals() -> None:
    assert (1.1 * 50, added(1.1, 50)) == (55.00000000000001, 55)
    assert added(1.1, 51) == 57 and added(0.01, 5) == 1


def test_an_arm_learns_from_the_real_images_and_so_many_added_ones_a_class() -> None:
    train = coloured([5, 2, 3], 0)
    first, second = PaintedBy("a", 1), PaintedBy("b", 1)
    material = Material(
        train,
        train,
        train,
        procedural=coloured([0, 4, 6], 2),
        further=coloured([1, 1, 6], 3),
        synthetic={first: coloured([0, 4, 6], 1), second: coloured([0, 4, 6], 9)},
        control={first: coloured([0, 4, 6], 4)},
    )

    def learned(name: str, ratio: float, painter: PaintedBy = first) -> list[list[int]]:
        pools = material.learned_from(ARMS[name], ratio, painter)
        return [[int(seen.image.max()) for seen in pool] for pool in pools]

    assert learned("real", 0) == learned("classical", 0) == [[0] * 5, [0] * 2, [0] * 3]
    assert learned("synthetic", 1) == [[0] * 5, [0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert learned("classical+procedural", 0.5) == [[0] * 5, [0, 0, 2], [0, 0, 0, 2, 2]]
    assert learned("synthetic", 2)[1] == [0, 0, 1, 1, 1, 1]
    assert learned("synthetic", 1, second)[1] == [0, 0, 9, 9]
    assert learned("classical+mix", 1) == [[0] * 5, [0, 0, 1, 2], [0, 0, 0, 1, 1, 2]]
    # Of one class there is a single further image.
    assert learned("classical+more-real", 1) == [[0] * 5, [0, 0, 3], [0, 0, 0, 3, 3, 3]]
    assert learned("classical+synthetic+control", 1) == [
        [0] * 5 + [4] * 5,
        [0, 0, 1, 1],
        [0, 0, 0, 1, 1, 1],
    ]


def test_a_baseline_comes_along_with_its_arm() -> None:
    assert [a.name for a in known_arms(["classical+synthetic"])] == [
        "real",
        "classical",
        "classical+synthetic",
    ]
    assert [a.name for a in known_arms(list(reversed(ARMS)))] == list(ARMS)
    with pytest.raises(SettingError, match="no arm magic: expected good-only, real"):
        known_arms(["magic"])


@pytest.mark.slow
def test_every_classifier_makes_the_same_number_of_steps_on_the_same_images(
    finished: tuple[Path, list[dict[str, Any]]], real: RealSplit
) -> None:
    _, rows = finished
    assert len(rows) == 2 * len(TAUGHT)
    assert {row["steps"] for row in rows} == {RECIPE.steps}
    tested = [sum(map(sum, row["confusion"])) for row in rows]
    assert set(tested) == {len(real.part("test").samples)}


def test_a_classifier_that_makes_other_steps_than_asked_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from defectgan.evaluation import classifier, trainers

    train = classifier.train_classifier

    def lazy(pools: Any, recipe: Recipe, **options: Any) -> Any:
        return train(pools, replace(recipe, steps=recipe.steps - 1), **options)

    monkeypatch.setattr(trainers, "train_classifier", lazy)
    images = coloured([1, 1], 0)
    with pytest.raises(AssertionError, match="more steps"):
        run_task(
            ResultKey("real", 0, 0, "small"),
            trainers.Trainers(Material(images, images, images), RECIPE, BENCH),
            "ab",
        )


def test_synthetic_images_are_painted_on_good_training_images_alone(
    finished: tuple[Path, list[dict[str, Any]]], real: RealSplit
) -> None:
    out, _ = finished
    good = {str(s.file) for s in real.part(TRAIN).members[0]}
    for k, name in enumerate(real.classes[1:], start=1):
        (manifest,) = out.glob(f"generated/*/{name}/manifest.jsonl")
        rows = read_json_lines(manifest)
        assert len(rows) == added(1, len(real.part(TRAIN).members[k]))
        assert {row["source"] for row in rows} <= good
        assert {row["class"] for row in rows} == {name}


def test_a_control_is_the_painted_image_as_the_model_restores_it(
    finished: tuple[Path, list[dict[str, Any]]], real: RealSplit, model: Model
) -> None:
    """Each alone, as here, or several at once: the same image, of the size that it was painted."""
    (folder,) = finished[0].glob("generated/*/")
    place = folder / real.classes[1]
    rows = read_json_lines(place / "manifest.jsonl")
    info, view = model.info, Viewer(model.info.form.view)
    for row in rows:
        picture = read_picture(place / row["output"])
        seen = view(picture.size)
        image = model_view(picture, seen, info.channels, info.levels_of(picture))
        noise = row_noise(row["seed"], model.painter.noise_size(*view.frame))
        normal = constant_map(one_hot([0], len(info.classes)))
        with torch.no_grad():
            layer = model.painter.layer(image[None], normal, noise[None])
        restored = paint_source(
            picture, seen, image, layer.foreground[0], layer.mask[0], info.levels_of(picture)
        )
        made = read_picture(place / UNDONE / row["output"]).pixels
        assert np.abs(made.astype(int) - restored.pixels).max() <= 1
        assert made.shape == picture.pixels.shape and (made != picture.pixels).any()
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    take_away(model, real, folder, device=CPU)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
    index = painted(real, folder)
    assert [s.file.name for s in undone(index).samples] == [s.file.name for s in index.samples]
    assert all(s.file.is_file() for s in undone(index).samples)


def test_a_result_without_what_its_network_said_is_made_again(
    finished: tuple[Path, list[dict[str, Any]]], real: RealSplit, tmp_path: Path
) -> None:
    claim(tmp_path / "out", real)
    plan = replace(PLAN, asked=("real",), seeds=1)
    (first,) = run_on(real, [], tmp_path / "out", plan)
    said = tmp_path / "out" / FOLDER / first["predictions"]
    before = said.read_bytes()
    assert load_file(said)["test"].shape == (len(real.part("test").samples), len(real.classes))
    said.unlink()
    (again,) = run_on(real, [], tmp_path / "out", plan)
    assert said.read_bytes() == before and timeless([again]) == timeless([first])


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results but for how long they took."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_test_that_was_cut_short_goes_on_to_the_same_results(
    finished: tuple[Path, list[dict[str, Any]]],
    real: RealSplit,
    model: Model,
    tmp_path: Path,
) -> None:
    _, rows = finished
    claim(tmp_path / "out", real)
    plan = replace(PLAN, asked=("synthetic",))
    first = run_on(real, [model], tmp_path / "out", replace(plan, seeds=1))
    results = tmp_path / "out" / FOLDER / RESULTS
    results.write_text(results.read_text() + '{"arm": "real", "ra')
    made: list[int] = []
    again = run_on(real, [model], tmp_path / "out", plan, done=made.append)
    assert again[: len(first)] == first and len(again) == 4
    assert made == [2 * RECIPE.steps, *[1] * 2 * RECIPE.steps]
    assert read_json_lines(results) == again

    wanted = [row for row in rows if row["arm"] in ("real", "synthetic")]
    assert timeless(again) == timeless(wanted)


def test_baselines_of_another_folder_are_held_against_and_not_made_again(
    finished: tuple[Path, list[dict[str, Any]]], real: RealSplit, model: Model, tmp_path: Path
) -> None:
    _, rows = finished
    plan = replace(PLAN, asked=("synthetic",))
    without, out = tmp_path / "without", tmp_path / "out"
    claim(without, real)
    claim(out, real)
    baselines = run_on(real, [], without, replace(plan, asked=("real",)))
    both = run_on(real, [model], out, plan, baselines=baselines)
    wanted = [row for arm in ("real", "synthetic") for row in rows if row["arm"] == arm]
    assert timeless(both) == timeless([row for row in wanted if row["ratio"] in (0, PLAN.ratio)])
    assert {row["arm"] for row in read_json_lines(out / FOLDER / RESULTS)} == {"synthetic"}


def test_a_folder_takes_no_other_test(
    finished: tuple[Path, list[dict[str, Any]]],
    boards: Path,
    real: RealSplit,
    model: Model,
    tmp_path: Path,
) -> None:
    out, _ = finished
    with pytest.raises(DataError, match="results of another test"):
        run_on(real, [model], out, replace(PLAN, asked=TAUGHT, seed=1))
    before = (out / TABLE).read_text()
    with pytest.raises(DataError, match="other images or splits"):
        claim(out, split_real(boards, DataConfig(), replace(SHARES, shots=1)))
    assert (out / TABLE).read_text() == before
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DataError, match="not empty"):
        claim(tmp_path, real)


def test_a_result_is_of_the_content_of_images_and_masks_and_of_their_levels(
    boards: Path, tmp_path: Path
) -> None:
    shutil.copytree(boards, tmp_path / "pcb")
    plan = replace(PLAN, asked=("real",), seeds=1)

    def run(levels: str = "full") -> None:
        real = split_real(tmp_path / "pcb", DataConfig.model_validate({"levels": levels}), SHARES)
        claim(tmp_path / "out", real)
        run_on(real, [], tmp_path / "out", plan)

    run()
    run()
    with pytest.raises(DataError, match="results of another test"):
        run("minmax")
    for file in (tmp_path / "pcb/tin/0000.png", tmp_path / "pcb/masks/tin/0001.png"):
        whole = file.read_bytes()
        picture = read_picture(file)
        write_picture(file, replace(picture, pixels=picture.pixels[::-1].copy()))
        with pytest.raises(DataError, match="name another folder"):
            run()
        file.write_bytes(whole)
    run()


def test_a_result_is_of_the_content_of_further_real_images_too(
    boards: Path, tmp_path: Path
) -> None:
    """Those that are left out for fewer shots, which the arm more-real learns from."""
    shutil.copytree(boards, tmp_path / "pcb")
    shares = replace(SHARES, shots=1)

    def record() -> dict[str, Any]:
        return material(split_real(tmp_path / "pcb", DataConfig(), shares))

    before, real = record(), split_real(tmp_path / "pcb", DataConfig(), shares)
    assert real.left_out
    picture = read_picture(real.left_out[0].file)
    write_picture(real.left_out[0].file, replace(picture, pixels=255 - picture.pixels))
    assert record() != before


def test_a_mask_is_the_same_wherever_and_however_it_is_kept(
    real: RealSplit, tmp_path: Path
) -> None:
    first = next(s for s in real.index.samples if s.mask)

    def moved(*, turned: bool) -> RealSplit:
        """With that mask in another file, of other values and bytes."""
        assert first.mask is not None
        region = read_picture(first.mask).pixels > 127
        file = tmp_path / f"{turned}.png"
        write_picture(file, Picture((region[::-1] if turned else region).astype(np.uint8)))
        samples = (replace(s, mask=file) if s is first else s for s in real.index.samples)
        return replace(real, index=replace(real.index, samples=tuple(samples)))

    out = tmp_path / "out"
    claim(out, real)
    claim(out, moved(turned=False))
    assert str(tmp_path / "False.png") in (out / TABLE).read_text()
    assert material(moved(turned=False)) == material(real) != material(moved(turned=True))
    with pytest.raises(DataError, match="other images or splits"):
        claim(out, moved(turned=True))


def test_results_of_another_version_are_not_gone_on_with(real: RealSplit, tmp_path: Path) -> None:
    claim(tmp_path, real)
    open_test(tmp_path, {"seed": 1})
    open_test(tmp_path, {"seed": 1})
    job = tmp_path / JOB
    (tmp_path / TABLE).write_text("file,labels,mask,split,group,sha256\n")
    for record in ('{\n "seed": 1\n}', '{"format": 1, "seed": 1}', '{"form', "[1]"):
        job.write_text(record)
        with pytest.raises(DataError, match=r"of another version .* start anew in another") as said:
            open_test(tmp_path, {"seed": 1})
        assert said.value.mend == ("out", "FOLDER") and job.read_text() == record
    with pytest.raises(DataError, match=r"labels.csv.* start anew in another folder"):
        claim(tmp_path, real)


def test_classes_whose_names_differ_in_punctuation_alone_do_not_share_a_folder(
    real: RealSplit, model: Model, tmp_path: Path
) -> None:
    names = {"brushing": "C+", "thread": "C-", "tin": "scratch a", "wound": "scratch-a"}

    def renamed(samples: Iterable[Sample]) -> tuple[Sample, ...]:
        return tuple(replace(s, labels=tuple(names[n] for n in s.labels)) for s in samples)

    classes = ("normal", *names.values())
    index = replace(real.index, classes=classes, samples=renamed(real.index.samples))
    strange = replace(real, index=index)
    knows = replace(model, info=replace(model.info, classes=classes))
    paint(knows, strange, tmp_path, ratio=1, candidates=1, seed=0, device=CPU)
    found = painted(strange, tmp_path).counts()
    wanted = {name: len(m) for name, m in zip(classes, index.members, strict=True)}
    assert found == wanted | {"normal": 0}


def test_a_class_that_the_model_does_not_know_is_named(
    real: RealSplit, model: Model, tmp_path: Path
) -> None:
    strange = replace(model, info=replace(model.info, classes=("normal", "thread")))
    with pytest.raises(ModelError, match="no defect class brushing"):
        paint(strange, real, tmp_path, ratio=1, candidates=1, seed=0, device=CPU)


def test_where_no_arm_needs_a_generator_none_is_needed(real: RealSplit, tmp_path: Path) -> None:
    plan = replace(PLAN, asked=("real", "procedural"), seeds=1)
    assert not plan.paints and PLAN.paints
    rows = run_on(real, [], tmp_path / "out", plan)
    assert [row["arm"] for row in rows] == ["real", "procedural"]


def test_what_is_added_at_one_ratio_is_part_of_what_is_added_at_a_higher_one(
    real: RealSplit,
) -> None:
    config = DataConfig(image_size=32)
    low, high = (gather(real, config, {}, ratio=r, seed=0) for r in (1, 2))
    for few, many in zip(low.procedural, high.procedural, strict=True):
        assert len(many) >= len(few)
        assert all(np.array_equal(a.image, b.image) for a, b in zip(few, many, strict=False))


def test_scores_of_a_known_confusion() -> None:
    """Of class 0 all 4 are right, of class 1 one of 2, of class 2 none of 2 (called 1)."""
    named = np.array([0, 0, 0, 0, 1, 0, 1, 1])
    found = scores(np.eye(3, dtype=np.float32)[named], [4, 2, 2], ("a", "b", "c"))
    assert found["confusion"] == [[4, 0, 0], [1, 1, 0], [0, 2, 0]]
    assert found["accuracy"] == pytest.approx(5 / 8)
    assert found["recall"] == {"a": 1.0, "b": 0.5, "c": 0.0}
    assert found["balanced"] == pytest.approx(0.5)
    # F1 = 2 TP / (2 TP + FP + FN): 8/9, 2/(2+2+1), 0.
    assert found["macro_f1"] == pytest.approx((8 / 9 + 2 / 5 + 0) / 3)
    # Refusing none of 4 good images, all that is called a defect is caught.
    assert found["caught at 5 %"] == pytest.approx(3 / 4)
    assert found["caught at 5 % of each"] == {"b": 0.5, "c": 1.0}


def rows_of(arm: str, ratio: float, values: list[float]) -> list[dict[str, Any]]:
    return [
        {"arm": arm, "ratio": ratio, "seed": seed, "net": "small", "generator": "", "steps": 3}
        | {"accuracy": value / 2}
        | {"macro_f1": value, "recall": {"good": value, "bad": 1 - value}}
        for seed, value in enumerate(values)
    ]


def test_a_gain_is_the_mean_of_the_differences_of_the_same_seed() -> None:
    """Differences 0.1, 0.2, 0.3: mean 0.2, deviation 0.1."""
    rows = rows_of("real", 0.0, [0.5, 0.1, 0.4]) + rows_of("synthetic", 1.0, [0.6, 0.3, 0.7])
    plain, ours = compare(rows, CLASSIFIERS)
    assert plain["baseline"] is None and "macro_f1_gain" not in plain
    assert ours["baseline"] == "real" and ours["seeds"] == 3
    assert ours["macro_f1"] == pytest.approx(1.6 / 3)
    assert ours["macro_f1_gain"] == pytest.approx(0.2)
    assert ours["macro_f1_gain_sd"] == pytest.approx(0.1)
    assert ours["accuracy_gain"] == pytest.approx(0.1)
    assert ours["recall"] == {"good": pytest.approx(1.6 / 3), "bad": pytest.approx(1.4 / 3)}


def test_the_order_in_which_seeds_were_done_does_not_matter() -> None:
    rows = rows_of("real", 0.0, [0.5, 0.1, 0.4]) + rows_of("synthetic", 1.0, [0.6, 0.3, 0.7])
    _, ours = compare([*rows[:3], *reversed(rows[3:])], CLASSIFIERS)
    assert ours["macro_f1_gain_sd"] == pytest.approx(0.1)


def test_one_seed_has_no_deviation() -> None:
    rows = rows_of("real", 0.0, [0.5]) + rows_of("synthetic", 1.0, [0.75])
    _, ours = compare(rows, CLASSIFIERS)
    assert ours["macro_f1_gain"] == pytest.approx(0.25)
    assert ours["macro_f1_gain_sd"] is None


def test_arms_of_different_length_are_not_compared() -> None:
    rows = rows_of("real", 0.0, [0.5]) + rows_of("synthetic", 1.0, [0.75])
    rows[1]["steps"] = 4
    with pytest.raises(AssertionError):
        compare(rows, CLASSIFIERS)


def test_the_report_is_a_table_a_plot_and_all_figures(
    finished: tuple[Path, list[dict[str, Any]]], real: RealSplit, model: Model, tmp_path: Path
) -> None:
    out, rows = finished
    answers = Answers.of(out / FOLDER, rows, real, TEST)
    entries = with_intervals(compare(rows, CLASSIFIERS), answers)
    facts = about(real, [model], ("it is trusted",)) | PLAN.facts()
    files = write_gain(tmp_path, entries, CLASSIFIERS, facts, ["Do not."])
    kept = json.loads(files["json"].read_text())
    assert kept["table"] == entries and model.sha256 in kept["generators"][0]
    assert kept["split"] == {
        "by": "the data itself, else by these shares",
        "holdout": 0.25,
        "val_fraction": 0.34,
        "val_from": "train",
        "seed": 0,
        "group_regex": None,
    }
    assert kept["notes"] == [*real.notes, "it is trusted"] and kept["left out"]
    assert "it is trusted" in files["md"].read_text()
    table = [line for line in files["md"].read_text().splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(TAUGHT)
    assert {line.count("|") for line in table} == {len(columns(entries, CLASSIFIERS)) + 1}
    assert files["md"].read_text().splitlines()[2] == kept["says"][0] == "Do not."
    assert files["png"].read_bytes().startswith(b"\x89PNG")
