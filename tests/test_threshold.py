"""A threshold by good images and generated defects alone, and how it transfers to real ones."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from defectgan_cli.main import app
from typer.testing import CliRunner

from defectgan.data.facts import digests
from defectgan.errors import DataError, ModelError
from defectgan.evaluation.threshold import ThresholdResult, choose
from defectgan.evaluation.threshold_images import (
    gather,
    generated_defects,
    refuse_seen_by,
    refuse_unseen,
)
from defectgan.evaluation.threshold_intervals import Scored
from defectgan.evaluation.threshold_report import write_thresholds
from defectgan.files import read_json_lines, sha256, write_json_lines
from defectgan.images import Picture, read_picture, write_picture
from defectgan.model.file import Model, load_model
from defectgan.settings.data import DataConfig
from tests.conftest import CPU

SHARE = 0.1
runner = CliRunner()

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


class Coarse:
    """Features without weights: the image itself, coarsely."""

    name, sha256 = "coarse", "0" * 64

    def maps(self, images: torch.Tensor) -> Sequence[torch.Tensor]:
        return [torch.nn.functional.avg_pool2d(images, 4)]


def draw(folder: Path, count: int, *, bright: int, seed: int) -> None:
    """Noise round a gray with a square of another one, none for 0."""
    rng = np.random.default_rng(seed)
    for n in range(count):
        pixels = rng.normal(100, 12, (32, 32, 1))
        pixels[8:16, 16:24] += bright
        name = f"piece{n // 2}-{n % 2}.png"
        write_picture(folder / name, Picture(pixels.clip(0, 255).astype(np.uint8)))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good images alone, two of each piece."""
    folder = tmp_path_factory.mktemp("good")
    draw(folder / "normal", 80, bright=0, seed=0)
    return folder


@pytest.fixture(scope="module")
def parts(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with test images beside them: wounds hardly show."""
    folder = tmp_path_factory.mktemp("parts")
    shutil.copytree(good / "normal", folder / "train" / "good")
    draw(folder / "test" / "good", 40, bright=0, seed=1)
    draw(folder / "test" / "tin", 20, bright=60, seed=2)
    draw(folder / "test" / "wound", 20, bright=5, seed=3)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated set of a bright and a dim class, on images from elsewhere."""
    folder = tmp_path_factory.mktemp("made")
    for k, (name, bright) in enumerate((("tin", 60), ("wound", 30))):
        draw(folder / name, 12, bright=bright, seed=10 + k)
    return manifest(folder)


def manifest(folder: Path, sources: Sequence[Path] = ()) -> Path:
    """List the images below a folder as generated ones, each painted on one of the sources."""
    files = sorted(folder.glob("*/*.png"))
    rows = [
        {
            "output": str(file.relative_to(folder)),
            "mask": str(file.relative_to(folder)),
            "class": file.parent.name,
            "box": None,
            "model_sha256": "0" * 64,
            "source_sha256": sha256(sources[i % len(sources)]) if sources else "",
        }
        for i, file in enumerate(files)
    ]
    write_json_lines(folder / "manifest.jsonl", rows)
    return folder


# MVTec's layout counts defects to those to learn from; held out, they test.
HELD_OUT = 0.9


def thresholds(data: Path, made: Path, *, share: float = SHARE) -> ThresholdResult:
    material = gather(data, DataConfig(), holdout=HELD_OUT, seed=0)
    generated, _ = generated_defects(made, material)
    return choose(material, generated, Coarse().maps, image_size=(32, 32), share=share, device=CPU)


def test_no_threshold_refuses_more_than_it_may_and_generated_defects_never_lower_it(
    parts: Path, made: Path
) -> None:
    for share in (0.0, 0.05, SHARE, 0.3):
        good, generated = thresholds(parts, made, share=share).choices
        assert max(good.refused.value, generated.refused.value) <= share
        assert generated.threshold.value >= good.threshold.value
        told = [c.found.value - c.refused.value for c in (generated, good)]
        assert told[0] >= told[1]


def test_what_is_found_is_told_of_each_class(parts: Path, made: Path) -> None:
    result = thresholds(parts, made)
    good, generated = result.choices
    for choice in (good, generated):
        assert choice.by_class == {"tin": (1, 1, 1), "wound": (1, 1, 1)}
        assert choice.transfer is not None
        assert choice.transfer.by_class["tin"].value == 1 > choice.transfer.by_class["wound"].value
        assert 0 < choice.transfer.f1.value <= 1
        assert 0 < choice.transfer.of_best_f1.value <= 1
    painted, real = result.auroc["generated"], result.auroc["real"]
    assert painted.value > 0.99 > real.value > 0.5 and real.low < real.value < real.high
    # Wounds are painted plainer than they are: that threshold lies too high for them.
    assert good.transfer is not None and generated.transfer is not None
    assert generated.transfer.by_class["wound"] <= good.transfer.by_class["wound"]


def test_real_defects_do_not_move_a_threshold(parts: Path, made: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(parts, other)
    for name in ("tin", "wound"):
        draw(other / "test" / name, 20, bright=-70, seed=30)
    one, two = (thresholds(folder, made) for folder in (parts, other))
    assert [c.threshold for c in one.choices] == [c.threshold for c in two.choices]
    assert [c.transfer for c in one.choices] != [c.transfer for c in two.choices]


def scored(groups: int) -> Scored:
    """200 good images and 100 defects, several of each piece."""
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0, 1, 200), rng.normal(2, 1, 100)])
    classes = np.repeat([0, 1, 2], [200, 50, 50])
    return Scored(
        ("good", "tin", "wound"),
        scores,
        classes,
        [f"{k}-{i % groups}" for i, k in enumerate(classes)],
    )


def test_the_figures_of_a_threshold_have_the_bounds_of_a_share() -> None:
    """Of independent images those are 1.96 sqrt(p (1 - p) / n) away."""
    told = scored(1000).found(1.0)
    for share, n in ((told.refused, 200), (told.by_class["tin"], 50), (told.found, 100)):
        error = (share.value * (1 - share.value) / n) ** 0.5
        assert share.low == pytest.approx(share.value - 1.96 * error, abs=0.4 * error)
        assert share.high == pytest.approx(share.value + 1.96 * error, abs=0.4 * error)
    assert told.f1.low < told.f1.value < told.f1.high
    assert told.of_best_f1.low < told.of_best_f1.value <= told.of_best_f1.high <= 1


def test_images_of_one_piece_make_a_threshold_no_surer() -> None:
    """The same images, each four times over, know no more."""
    one = scored(1000)
    four = Scored(
        one.names,
        np.repeat(one.scores, 4),
        np.repeat(one.classes, 4),
        np.repeat(one.pieces, 4).tolist(),
    )
    for limit in (Scored.threshold_by_good, Scored.threshold_by_defects):
        narrow, wide = limit(one, 0.1), limit(four, 0.1)
        assert narrow.low < narrow.value < narrow.high
        assert (wide.low, wide.high) == pytest.approx((narrow.low, narrow.high), abs=0.05)


def test_what_is_painted_on_a_piece_shows_that_piece(
    good: Path, made: Path, tmp_path: Path
) -> None:
    material = gather(good, DataConfig(group_regex=r"piece\d+"), holdout=0.0, seed=0)
    one = material.held_out.samples[0]
    shutil.copytree(made, tmp_path / "set")
    folder = manifest(tmp_path / "set", [one.file, made / "tin" / "piece0-0.png"])
    kept, _ = generated_defects(folder, material)
    pieces = {s.piece for s in kept.samples}
    assert one.group in pieces and len(pieces) == 2
    alone, _ = generated_defects(made, material)
    assert len({s.piece for s in alone.samples}) == len(alone.samples)


def test_good_images_are_enough(good: Path, made: Path) -> None:
    result = thresholds_of_good(good, made)
    assert all(choice.transfer is None for choice in result.choices)
    assert "how the thresholds transfer is not known" in result.verdict
    assert result.images["learned from"] == {"normal": 40}
    assert result.images["set the threshold"] == {"normal": 40}


def thresholds_of_good(good: Path, made: Path) -> ThresholdResult:
    material = gather(good, DataConfig(), holdout=0.0, seed=0)
    generated, _ = generated_defects(made, material)
    return choose(material, generated, Coarse().maps, image_size=(32, 32), share=SHARE, device=CPU)


def test_images_of_16_bits_are_seen_as_those_of_8(good: Path, made: Path, tmp_path: Path) -> None:
    for file in (good / "normal").iterdir():
        deep = read_picture(file).pixels.astype(np.uint16) * 257
        write_picture(tmp_path / "normal" / file.name, Picture(deep))
    limits = [
        [choice.threshold.value for choice in thresholds_of_good(folder, made).choices]
        for folder in (good, tmp_path)
    ]
    # Those of 8 bits are rounded to them once more where they are resized.
    assert limits[0] == pytest.approx(limits[1], rel=0.05)


def test_no_piece_is_learned_from_and_sets_the_threshold(good: Path) -> None:
    config = DataConfig(group_regex=r"piece\d+")
    material = gather(good, config, holdout=0.2, seed=0)
    sides = [
        {s.group for s in p.samples if not s.labels} for p in (material.fit, material.held_out)
    ]
    tested = {s.group for s in material.real.index.held_out}
    assert all(sides) and tested
    assert not sides[0] & sides[1]
    assert not tested & (sides[0] | sides[1])


def test_one_piece_cannot_be_parted(good: Path) -> None:
    with pytest.raises(DataError, match="cannot be parted"):
        gather(good, DataConfig(group_regex="piece"), holdout=0.0, seed=0)


def test_defects_without_good_images_beside_them_test_nothing(
    good: Path, parts: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "labels.jsonl"
    rows = [{"file": str(f), "labels": ""} for f in sorted((good / "normal").iterdir())]
    defects = sorted((parts / "test" / "tin").iterdir())
    rows += [{"file": str(f), "labels": "tin", "split": "test"} for f in defects]
    write_json_lines(folder, rows)
    with pytest.raises(DataError, match="are all defects"):
        gather(folder, DataConfig(), holdout=0.0, seed=0)


def test_what_is_painted_on_images_that_the_detector_knows_is_left_out(
    good: Path, made: Path, tmp_path: Path
) -> None:
    material = gather(good, DataConfig(), holdout=0.0, seed=0)
    known, other = (part.samples[0].file for part in (material.fit, material.held_out))
    folder = tmp_path / "set"
    shutil.copytree(made, folder)
    kept, notes = generated_defects(manifest(folder, [known, other]), material)
    assert len(kept.samples) == 12
    assert "12 of the 24 generated images" in notes[0]
    with pytest.raises(DataError, match="are painted on good images that the detector learns"):
        generated_defects(manifest(folder, [known]), material)


def test_a_share_that_so_few_images_cannot_show_is_said(good: Path, made: Path) -> None:
    material = gather(good, DataConfig(), holdout=0.0, seed=0)
    generated, _ = generated_defects(made, material)
    arguments = {"image_size": (32, 32), "device": CPU}
    result = choose(material, generated, Coarse().maps, share=0.01, **arguments)  # type: ignore[arg-type]
    assert result.choices[0].refused.value == 0
    assert "40 good images cannot show that 1.00% of them are refused" in result.notes[0]
    assert "takes 100" in result.notes[0]


def test_defects_that_no_threshold_finds_are_said(good: Path, tmp_path: Path) -> None:
    draw(tmp_path / "tin", 20, bright=0, seed=5)
    result = thresholds_of_good(good, manifest(tmp_path))
    assert "hardly tells generated defects from good images" in result.notes[-1]


def test_windows_that_the_detector_hardly_sees_are_refused_with_the_size_that_shows_them(
    boards: Path, run: Path, made: Path, tmp_path: Path
) -> None:
    """A model of 32 pixels paints a third of the sides of a board."""
    material = gather(boards, DataConfig(), holdout=0.0, seed=0)
    model = load_model(run)
    refuse_unseen(material, (16, 16), model=model)  # it sees images whole

    def windows_of(size: int) -> Model:
        view = model.info.form.view.model_copy(update={"fit": "crop", "crop_size": size})
        info = replace(model.info, form=model.info.form.model_copy(update={"view": view}))
        return replace(model, info=info)

    refuse_unseen(material, (48, 48), model=windows_of(16))
    with pytest.raises(DataError, match=r"11 pixels wide or high.*images at 48 pixels") as said:
        refuse_unseen(material, (32, 32), model=windows_of(16))
    assert said.value.mend == ("image_size", "48")
    with pytest.raises(DataError, match="that would take images of 1536 pixels"):
        refuse_unseen(material, (32, 64), model=windows_of(1))
    folder = tmp_path / "set"
    shutil.copytree(made, folder)
    refuse_unseen(material, (16, 16), generated=folder)
    rows = read_json_lines(folder / "manifest.jsonl")
    write_json_lines(folder / "manifest.jsonl", [r | {"window": [0, 0, 8, 32]} for r in rows])
    refuse_unseen(material, (64, 64), generated=folder)
    with pytest.raises(DataError, match="see images at 64 pixels"):
        refuse_unseen(material, (32, 32), generated=folder)


def test_a_set_of_an_unknown_model_is_refused_where_real_defects_test(
    good: Path, parts: Path, made: Path
) -> None:
    material = gather(parts, DataConfig(), holdout=HELD_OUT, seed=0)
    with pytest.raises(ModelError, match="nobody can tell"):
        refuse_seen_by(material, generated=made, model=None, trust=False)
    (note,) = refuse_seen_by(material, generated=made, model=None, trust=True)
    assert "it is trusted" in note
    untested = gather(good, DataConfig(), holdout=0.0, seed=0)
    assert refuse_seen_by(untested, generated=made, model=None, trust=False) == ()


def test_a_model_that_has_seen_the_test_images_is_refused(boards: Path, run: Path) -> None:
    material = gather(boards, DataConfig(), holdout=0.4, seed=0)
    with pytest.raises(ModelError, match="of the test images"):
        refuse_seen_by(material, generated=None, model=run, trust=True)


def test_a_report_is_never_overwritten(parts: Path, made: Path, tmp_path: Path) -> None:
    result = thresholds(parts, made)
    report, record = write_thresholds(tmp_path, result, {"data": "parts"})
    text = report.read_text(encoding="utf-8")
    assert result.verdict[1:] in text
    assert "| wound |" in text
    value, low, high = result.choices[0].found
    assert f"| {value:.1%} ({low:.1%} to {high:.1%}) |" in text
    assert json.loads(record.read_text(encoding="utf-8"))["table"] == result.table()
    with pytest.raises(DataError, match="is there already"):
        write_thresholds(tmp_path, result, {"data": "parts"})


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that need no package."""
    monkeypatch.setattr(
        "defectgan.evaluation.threshold_run.imagenet", lambda name, *, device: Coarse()
    )


@pytest.mark.usefixtures("coarse")
def test_a_model_paints_on_good_images_that_the_detector_does_not_know(
    boards: Path, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "threshold"
    words = ["evaluate", "threshold", "--data", str(boards), "--model", str(run), "--json"]
    words += ["--n", "2", "--image-size", "32", "--out", str(out), "--quiet"]
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert sum(record["images"]["generated"].values()) == 8
    assert Path(record["report"]).is_file()
    material = gather(boards, DataConfig(), holdout=0.0, seed=0)
    known, allowed = (
        set(digests(s.file for s in part.samples).values())
        for part in (material.fit, material.held_out)
    )
    lines = (out / "generated" / "manifest.jsonl").read_text().splitlines()
    sources = {json.loads(line)["source_sha256"] for line in lines}
    assert sources <= allowed
    assert not sources & known
    again = runner.invoke(app, words)
    assert again.exit_code == 3
    assert "is there already" in again.stderr


@pytest.mark.usefixtures("coarse")
def test_a_generated_set_and_real_defects_make_a_table(
    parts: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "threshold", "--data", str(parts), "--generated", str(made)]
    words += ["--holdout", str(HELD_OUT), "--image-size", "32", "--refusals", "0.1"]
    result = runner.invoke(app, [*words, "--trust-model"])
    assert result.exit_code == 0, result.output
    for part in ("good images alone", "of the best F1", "wound", "report: threshold/threshold.md"):
        assert part in result.stdout
    assert runner.invoke(app, words).exit_code == 3
    refused = runner.invoke(app, [*words, "--n", "4"])
    assert refused.exit_code == 2
    assert "--n is for images that are painted here" in refused.stderr
