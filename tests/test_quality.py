"""The quality of generated sets whose quality is known."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch
from defectgan_cli.main import app
from typer.testing import CliRunner

from defectgan.data.index import Index, index_data
from defectgan.data.samples import Mark
from defectgan.errors import DataError, ModelError
from defectgan.evaluation.comparison import Comparison, find_comparison
from defectgan.evaluation.fixed import Fixed, installed
from defectgan.evaluation.pools import Pixels, generated_index
from defectgan.evaluation.quality import ALL, FEWEST, Quality, QualityRow, measure
from defectgan.evaluation.quality_report import write_quality
from defectgan.evaluation.real import as_table
from defectgan.files import sha256, write_json_lines
from defectgan.images import Picture, read_picture, write_picture
from defectgan.methods.config import Config
from defectgan.model.file import load_tensors, save_tensors
from defectgan.model.info import ModelInfo
from defectgan.runs import RunFolder
from defectgan.settings.data import DataConfig
from defectgan.training.job import Job
from tests.conftest import CPU, spoil, tiny_with

SEEN = DataConfig(image_size=(32, 32))
runner = CliRunner()

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


class PixelFeatures:
    """The image itself, coarsely: what lies where is all that counts."""

    name: ClassVar[str] = "pixels"
    facts: ClassVar[dict[str, Any]] = {}
    notes: tuple[str, ...] = ()

    def __call__(self, images: Sequence[Pixels]) -> torch.Tensor:
        planes = torch.stack([torch.from_numpy(i.copy()).double().mean(2) for i in images])
        return torch.nn.functional.avg_pool2d(planes[:, None] / 255, 4).flatten(1)

    def classify(self, features: torch.Tensor) -> None:
        """Pixels know no classes."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of each class, noise round a gray of its own."""
    folder = tmp_path_factory.mktemp("parts") / "pcb"
    rng = np.random.default_rng(0)
    for name, gray in (("normal", 60), ("tin", 120), ("wound", 180)):
        for n in range(24):
            pixels = rng.normal(gray, 20, (32, 32, 1)).clip(0, 255).astype(np.uint8)
            write_picture(folder / name / f"{n:02}.png", Picture(pixels))
    return folder


@pytest.fixture
def index(parts: Path) -> Index:
    return index_data(parts, DataConfig(holdout=0.5))


def pretend(folder: Path, shown: Mapping[str, Sequence[Path]], *, model: str = "0" * 64) -> Path:
    """A generated set that shows these images as being of these classes."""
    rows = [
        {"output": str(file), "mask": str(file), "class": name, "box": None, "model_sha256": model}
        for name, files in shown.items()
        for file in files
    ]
    write_json_lines(folder / "manifest.jsonl", rows)
    return folder


def comparison(index: Index, folder: Path) -> Comparison:
    held_out = Index(
        index.root, index.layout, index.classes, index.held_out, channels=index.channels
    )
    return Comparison(generated_index(folder, index), index, held_out, "test", SEEN, ())


def files(index: Index, k: int) -> list[Path]:
    return [sample.file for sample in index.members[k]]


def row(quality: Quality, defect: str, kind: str) -> QualityRow:
    (found,) = [r for r in quality.rows if (r.defect, r.kind) == (defect, kind)]
    return found


def test_real_images_lie_at_the_floor_and_normal_ones_at_the_ceiling(
    index: Index, tmp_path: Path
) -> None:
    names = index.classes[1:]
    real = {name: files(index, k) for k, name in enumerate(names, start=1)}
    nothing = {name: files(index, 0) for name in names}
    for made, kind, other in ((real, "floor", "ceiling"), (nothing, "ceiling", "floor")):
        folder = pretend(tmp_path / kind, made)
        quality = measure(comparison(index, folder), PixelFeatures(), SEEN)
        ours, same, far = (row(quality, ALL, which) for which in ("generated", kind, other))
        assert abs(ours.kid - same.kid) < abs(ours.kid - far.kid) / 4
        assert abs(ours.fid - same.fid) < abs(ours.fid - far.fid)


def test_all_comparisons_of_a_class_are_of_as_many_images_and_classes_are_mixed_evenly(
    index: Index, tmp_path: Path
) -> None:
    first, second = index.classes[1:3]
    shown = {first: files(index, 1), second: files(index, 2)[:5]}
    quality = measure(comparison(index, pretend(tmp_path, shown)), PixelFeatures(), SEEN)
    assert [(r.defect, r.images) for r in quality.rows] == [
        *[(ALL, 10)] * 3,  # five of each of two classes
        *[(first, 6)] * 3,  # half of the twelve real ones
        *[(second, 5)] * 3,
    ]
    assert quality.images[first] == {"generated": 12, "real": 12}
    assert any("FID is biased" in note for note in quality.notes)


def test_a_class_that_repeats_one_image_has_no_diversity(index: Index, tmp_path: Path) -> None:
    shown = {index.classes[1]: files(index, 1)[:1] * 8}
    folder = tmp_path / "set"
    for n, file in enumerate(shown[index.classes[1]]):
        copy = folder / f"{n}.png"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    copies = sorted(folder.glob("*.png"))
    quality = measure(
        comparison(index, pretend(folder, {index.classes[1]: copies})), PixelFeatures(), SEEN
    )
    assert row(quality, index.classes[1], "generated").diversity == pytest.approx(0, abs=1e-6)
    assert row(quality, index.classes[1], "floor").diversity == pytest.approx(1, abs=0.1)


def test_the_same_seed_gives_the_same_figures(index: Index, tmp_path: Path) -> None:
    made = comparison(index, pretend(tmp_path, {index.classes[1]: files(index, 1)}))
    first, again, other = (
        measure(made, PixelFeatures(), SEEN, seed=seed).rows for seed in (0, 0, 1)
    )
    assert first == again != other


def test_too_few_or_damaged_images_are_refused(index: Index, tmp_path: Path) -> None:
    name = index.classes[1]
    one = comparison(index, pretend(tmp_path / "one", {name: files(index, 1)[:1]}))
    with pytest.raises(DataError, match=f"too few images to compare: .*{name} 1 generated"):
        measure(one, PixelFeatures(), SEEN)
    copy = tmp_path / "bad.png"
    copy.write_bytes(files(index, 1)[0].read_bytes())
    spoil(copy)
    shown = {name: [*files(index, 1), copy]}
    with pytest.raises(DataError, match=r"bad\.png is damaged"):
        measure(comparison(index, pretend(tmp_path / "bad", shown)), PixelFeatures(), SEEN)


def test_a_class_with_few_real_images_held_out_is_left_out_and_named(
    index: Index, tmp_path: Path
) -> None:
    first, second = index.classes[1:3]
    few = [s for s in index.held_out if s.labels != (second,)]
    few += [s for s in index.held_out if s.labels == (second,)][: FEWEST - 1]
    held = Index(index.root, "folders", index.classes, tuple(few), channels=index.channels)
    folder = pretend(tmp_path, {first: files(index, 1), second: files(index, 2)})
    made = Comparison(generated_index(folder, index), index, held, "test", SEEN, ())
    quality = measure(made, PixelFeatures(), SEEN)
    assert {r.defect for r in quality.rows} == {ALL, first}
    assert any(note.startswith(f"left out {second}") for note in quality.notes)


def test_a_report_is_never_overwritten(index: Index, tmp_path: Path) -> None:
    folder = pretend(tmp_path, {index.classes[1]: files(index, 1)})
    quality = measure(comparison(index, folder), PixelFeatures(), SEEN)
    report, record = write_quality(tmp_path / "out", quality, folder)
    assert "KID (pixels)" in report.read_text() and " FID |" not in report.read_text()
    assert len(json.loads(record.read_text())["table"]) == 6
    with pytest.raises(DataError, match="is there already"):
        write_quality(tmp_path / "out", quality, folder)


def line_of(quality: Quality, defect: str = ALL) -> dict[str, QualityRow]:
    return {kind: row(quality, defect, kind) for kind in ("generated", "floor", "ceiling")}


def test_the_share_is_where_the_distance_lies_from_floor_to_ceiling(
    index: Index, tmp_path: Path
) -> None:
    """Half of what is shown is real, the other half good: a share between 0 and 1."""
    names = index.classes[1:]
    mixed = {n: [*files(index, k)[:6], *files(index, 0)[:6]] for k, n in enumerate(names, start=1)}
    quality = measure(comparison(index, pretend(tmp_path, mixed)), PixelFeatures(), SEEN)
    for defect in (ALL, *names):
        rows = line_of(quality, defect)
        ours, floor, ceiling = (rows[kind] for kind in ("generated", "floor", "ceiling"))
        way = ceiling.kid - floor.kid
        assert (floor.share, ceiling.share) == (0, 1)
        assert ours.share is not None
        assert ours.share == pytest.approx((ours.kid - floor.kid) / way)
        spreads = ours.kid_std, (1 - ours.share) * floor.kid_std, ours.share * ceiling.kid_std
        assert ours.share_std == pytest.approx(sum(s**2 for s in spreads) ** 0.5 / way)
        assert 0.1 < ours.share < 0.6
    assert not any("nothing is painted on" in note for note in quality.notes)


def test_what_is_farther_than_nothing_painted_is_said(index: Index, tmp_path: Path) -> None:
    """Tin is a darker gray than wound, good images the darkest: they are farther from wound."""
    black = tmp_path / "black"
    for n in range(12):
        pixels = np.random.default_rng(n).normal(20, 5, (32, 32, 1)).clip(0, 255).astype(np.uint8)
        write_picture(black / f"{n}.png", Picture(pixels))
    folder = pretend(tmp_path / "set", {"tin": sorted(black.glob("*.png"))})
    quality = measure(comparison(index, folder), PixelFeatures(), SEEN)
    share = row(quality, "tin", "generated").share
    assert share is not None and share > 1
    assert any(f"nothing is painted on (a share of 1 or more): {ALL} " in n for n in quality.notes)


def test_there_is_no_share_where_good_images_lie_as_near_as_defects(
    index: Index, tmp_path: Path
) -> None:
    class Blind(PixelFeatures):
        """Sees noise, the same for a class as for another."""

        def __call__(self, images: Sequence[Pixels]) -> torch.Tensor:
            found = super().__call__(images)
            return found - found.mean(1, keepdim=True)

    folder = pretend(tmp_path, {"tin": files(index, 1)})
    quality = measure(comparison(index, folder), Blind(), SEEN)
    assert row(quality, "tin", "generated").share is None
    assert any(note.startswith("no share for") for note in quality.notes)


class Fractions:
    """What is done to a defect, by degrees from 0 to 1."""

    @staticmethod
    def blurred(image: Pixels, degree: float) -> Pixels:
        blurred: Pixels = cv2.GaussianBlur(image, (0, 0), 0.01 + 5 * degree)[..., None]
        return blurred

    @staticmethod
    def grayed(image: Pixels, degree: float) -> Pixels:
        grayed: Pixels = (image + degree * (image.mean() - image)).round().astype(np.uint8)
        return grayed

    @staticmethod
    def mixed(image: Pixels, degree: float) -> Pixels:
        disc = cv2.circle(np.zeros(image.shape[:2], np.float32), (32, 32), 20, 1, -1)[..., None]
        mixed: Pixels = (image + degree * disc * (128 - image)).round().astype(np.uint8)
        return mixed


@pytest.fixture(scope="module")
def scratched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 gray plates of 64 px, and as many with three bright scratches."""
    folder = tmp_path_factory.mktemp("plates")
    rng = np.random.default_rng(0)
    for name in ("normal", "scratch"):
        for n in range(40):
            plate = cv2.GaussianBlur(rng.normal(100, 40, (64, 64)).astype(np.float32), (0, 0), 1)
            for _ in range(3 if name == "scratch" else 0):
                ends = rng.integers(4, 60, (2, 2)).tolist()
                cv2.line(plate, tuple(ends[0]), tuple(ends[1]), 220, 2)
            image = plate.clip(0, 255).astype(np.uint8)[..., None]
            write_picture(folder / name / f"{n:02}.png", Picture(image))
    return folder


class Once(PixelFeatures):
    """The features of a network that sees no image twice: the real ones are always the same."""

    def __init__(self, features: Fixed) -> None:
        self._features = features
        self._known: dict[bytes, torch.Tensor] = {}

    def __call__(self, images: Sequence[Pixels]) -> torch.Tensor:
        new = {i.tobytes(): i for i in images if i.tobytes() not in self._known}
        if new:
            self._known |= zip(new, self._features([*new.values()]), strict=True)
        return torch.stack([self._known[i.tobytes()] for i in images])


@pytest.mark.skipif(not installed(), reason="the extra 'features' is not installed")
def test_other_real_defects_have_a_share_of_0_and_it_grows_as_they_are_spoiled(
    scratched: Path, tmp_path: Path
) -> None:
    index = index_data(scratched, DataConfig(holdout=0.5))
    features = Once(Fixed(DataConfig(), device=CPU))

    def share(name: str, paths: Sequence[Path]) -> float:
        made = comparison(index, pretend(tmp_path / name, {"scratch": paths}))
        found = row(
            measure(made, features, DataConfig(image_size=(64, 64))), "scratch", "generated"
        )
        assert found.share is not None and found.share_std is not None
        if name in ("real", "good"):
            assert abs(found.share - (name == "good")) < found.share_std
        return found.share

    real, good = (files(index, k)[:12] for k in (1, 0))
    shares = [share("real", real), share("good", good)]
    for way in (Fractions.blurred, Fractions.grayed, Fractions.mixed):
        found = [shares[0]]
        for degree in (0.5, 0.9):
            folder = tmp_path / f"{way.__name__}-{degree}"
            for file in real:
                image = read_picture(file).pixels
                write_picture(folder / file.name, Picture(way(image, degree)))
            found.append(share(folder.name + "-set", sorted(folder.glob("*.png"))))
        assert found == sorted(found), (way.__name__, found)
        assert found[-1] > 0.5, (way.__name__, found)


@pytest.fixture
def began(parts: Path, tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run that holds half of the parts out for validation; its weights hold one number."""
    monkeypatch.setenv("DEFECTGAN_RUNS", str(tmp_path / "runs"))
    job = Job(tiny, index_data(parts, DataConfig(val_fraction=0.5)))
    folder = job.begin(tmp_path / "runs", "parts")
    save_tensors(folder.weights, {"a": torch.zeros(1)}, ModelInfo.of(job.config, job.index))
    return folder


def found(folder: Path, **options: Any) -> Comparison:
    given = {"data": None, "model": None, "trust": False, "holdout": 0.5} | options
    return find_comparison(folder, **given)


def test_the_run_is_found_by_its_weights_and_its_validation_images_are_held_against(
    began: RunFolder, parts: Path, index: Index, tmp_path: Path
) -> None:
    shown = {"tin": files(index, 1)}
    folder = pretend(tmp_path / "set", shown, model=sha256(began.weights))
    made = found(folder)
    assert made.split == "val" and made.learned.image_size == (32, 32)
    names = [{s.file for s in part.samples} for part in (made.train, made.held_out)]
    assert len(names[0]) == len(names[1]) == 36 and not names[0] & names[1]
    with pytest.raises(DataError, match="name the real images"):
        found(pretend(tmp_path / "other", shown))
    assert any("others now" in n for n in found(tmp_path / "other", model=began.path).notes)


def test_a_model_is_never_judged_by_the_features_that_it_was_trained_against(
    began: RunFolder, index: Index, tmp_path: Path
) -> None:
    """Nor one that goes on from its weights; other features may judge it."""

    class Known(PixelFeatures):
        facts: ClassVar[dict[str, Any]] = {"weights_sha256": "a" * 64}

    tensors, info = load_tensors(began.weights)
    save_tensors(began.weights, tensors, info.after(replace(info, taught_by=("a" * 64,))))
    folder = pretend(tmp_path, {"tin": files(index, 1)}, model=sha256(began.weights))
    made = found(folder)
    with pytest.raises(ModelError, match=r"trained against the pixels features .* aaaaaaaa"):
        measure(made, Known(), SEEN)
    assert measure(made, PixelFeatures(), SEEN).rows


def test_images_that_the_model_has_seen_are_refused(
    began: RunFolder, parts: Path, index: Index, tmp_path: Path
) -> None:
    folder = pretend(tmp_path, {"tin": files(index, 1)}, model=sha256(began.weights))
    with pytest.raises(ModelError, match=r"has seen .* what its run held out, and name no other"):
        found(folder, data=parts, holdout=0.3)
    line = f"evaluate quality {folder} --data {parts} --model latest --holdout 0.3"
    assert "has seen" in call(line, code=3).stderr


def test_the_same_share_of_the_same_images_is_the_split_of_the_run(
    parts: Path, index: Index, tmp_path: Path
) -> None:
    """Its classes, pieces and seed are not those that the command would take by itself."""
    data = {"classes": ["wound"], "group_regex": r"\d", "holdout": 0.4, "val_fraction": 0.3}
    config = tiny_with(data={"image_size": 32, **data}, training={"seed": 5})
    job = Job(config, index_data(parts, config.data, seed=5))
    run = job.begin(tmp_path / "runs", "parts")
    folder = pretend(tmp_path / "set", {"wound": files(index, 2)})
    made = found(folder, data=parts, model=run.path, holdout=0.4)
    held_out = {s.file for s in job.index.held_out if s.split == "test"}
    assert {s.file for s in made.held_out.samples} == held_out
    assert made.held_out.classes == ("normal", "wound")


def test_the_good_images_can_be_called_anything(parts: Path, index: Index, tmp_path: Path) -> None:
    folder = pretend(tmp_path / "set", {"tin": files(index, 1)})
    shutil.copytree(parts, tmp_path / "parts")
    (tmp_path / "parts/normal").rename(tmp_path / "parts/gut")
    made = found(folder, data=tmp_path / "parts", normal_class="gut", trust=True)
    assert made.held_out.classes[0] == "gut" and made.held_out.counts()["gut"] > 0


def test_a_class_that_is_never_alone_is_refused(parts: Path, index: Index, tmp_path: Path) -> None:
    text = as_table(index_data(parts, DataConfig())).replace(",wound,", ",tin|wound,")
    (tmp_path / "labels.csv").write_text(text)
    folder = pretend(tmp_path / "set", {"tin": files(index, 1)})
    with pytest.raises(DataError, match="shows wound alone"):
        found(folder, data=tmp_path / "labels.csv", trust=True)


def test_images_with_several_defects_are_not_compared(
    parts: Path, index: Index, tmp_path: Path
) -> None:
    shown = index_data(parts, DataConfig())
    text = as_table(shown).replace("12.png,tin,", "12.png,tin|wound,")
    (tmp_path / "labels.csv").write_text(text)
    folder = pretend(tmp_path / "set", {"tin": files(index, 1)})
    made = found(folder, data=tmp_path / "labels.csv", trust=True)
    counted = [sum(part.counts().values()) for part in (made.train, made.held_out)]
    assert sum(counted) == 3 * 24 - 1
    assert any("1 images show defects of several classes" in note for note in made.notes)


def test_windows_of_real_defects_that_nobody_has_marked_are_warned_of(
    index: Index, tmp_path: Path
) -> None:
    made = comparison(index, pretend(tmp_path, {"tin": files(index, 1)}))
    windows = SEEN.model_copy(update={"fit": "crop"})
    notes = measure(made, PixelFeatures(), windows).notes
    assert any("24 real images of defects have neither a mask nor a box" in n for n in notes)
    marks = (Mark((0.0, 0.0, 8.0, 8.0)),)
    held_out = tuple(replace(s, marks=marks) for s in made.held_out.samples)
    marked = replace(made, held_out=replace(made.held_out, samples=held_out))
    for one, seen in ((made, SEEN), (marked, windows)):
        assert not any("neither" in n for n in measure(one, PixelFeatures(), seen).notes)


def test_a_class_cannot_be_called_as_all_of_them_and_a_bar_breaks_no_table(
    index: Index, tmp_path: Path
) -> None:
    def called(name: str) -> Comparison:
        def rename(part: Index) -> Index:
            samples = [
                replace(s, labels=tuple(name if n == "tin" else n for n in s.labels))
                for s in part.samples
            ]
            return replace(part, classes=("normal", name, "wound"), samples=tuple(samples))

        made = comparison(index, pretend(tmp_path / "set", {"tin": files(index, 1)}))
        return replace(made, generated=rename(made.generated), held_out=rename(made.held_out))

    with pytest.raises(DataError, match="has a class called all"):
        measure(called(ALL), PixelFeatures(), SEEN)
    quality = measure(called("a|b"), PixelFeatures(), SEEN)
    report, _ = write_quality(tmp_path / "out", quality, tmp_path)
    table = [line for line in report.read_text().splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in table}) == 1
    assert any(r"a\|b" in line for line in table)


def test_a_model_of_which_nothing_is_known_must_be_trusted_by_name(
    parts: Path, index: Index, tmp_path: Path
) -> None:
    folder = pretend(tmp_path, {"tin": files(index, 1)})
    with pytest.raises(ModelError, match="can be trusted"):
        found(folder, data=parts)
    made = found(folder, data=parts, trust=True)
    assert made.split == "test" and any("it is trusted" in note for note in made.notes)


def test_a_run_that_held_nothing_out_cannot_be_judged_by_its_images(
    run: Path, index: Index, tmp_path: Path
) -> None:
    folder = pretend(tmp_path, {"tin": files(index, 1)})
    with pytest.raises(DataError, match="held no images out"):
        found(folder, model=run)


def test_a_generated_class_that_is_not_among_the_real_ones_is_named(
    parts: Path, index: Index, tmp_path: Path
) -> None:
    folder = pretend(tmp_path, {"dent": files(index, 1)})
    with pytest.raises(DataError, match="shows dent"):
        found(folder, data=parts, trust=True)


def call(line: str, *, code: int = 0) -> Any:
    result = runner.invoke(app, line.split())
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def test_the_command_prints_a_table_and_keeps_it(parts: Path, index: Index, tmp_path: Path) -> None:
    folder = pretend(tmp_path / "set", {"tin": files(index, 1), "wound": files(index, 2)})
    line = f"evaluate quality {folder} --data {parts} --trust-model --features domain --steps 2"
    line += " --image-size 32"
    printed = call(line).stdout
    assert "KID (domain)" in printed and "named right" in printed
    assert (folder / "quality" / "quality.md").is_file()
    record = json.loads(call(f"{line} --json").stdout)
    assert (folder / "quality-2" / "quality.json").is_file()
    assert record["features"]["steps"] == 2
    said = call(f"{line} --out {folder / 'quality'}", code=3).stderr
    assert "is there already" in said and "images" not in said.split("is there already")[0]
    assert {r["kind"] for r in record["table"]} == {"generated", "floor", "ceiling"}
    assert record["table"][0].keys() >= {"kid", "kid_std", "fid", "precision", "recall"}


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("nowhere", 3, "no images named by nowhere/manifest.jsonl"),
        ("nowhere --features lpips", 2, "no features lpips: expected imagenet, domain, inception"),
        ("nowhere --features imagenet --steps 3", 2, "3 steps are of no use"),
        ("nowhere --features inception", 2, "need the file of its weights"),
        ("nowhere --features inception --weights x --steps 3", 2, "3 steps are of no use"),
        ("nowhere --weights x", 2, "the weights x are of no use"),
        ("nowhere --steps 0", 2, "greater than or equal to 1"),
        ("nowhere --holdout 0.4", 2, "--holdout is for real images that you name"),
    ],
)
def test_an_error_of_the_command_says_what_to_do(line: str, code: int, message: str) -> None:
    said = " ".join(call(f"evaluate quality {line}", code=code).stderr.replace("│", " ").split())
    assert message in said


def test_help_of_the_command_ends_with_an_example() -> None:
    text = call("evaluate quality --help").stdout
    assert "Example: defectgan evaluate quality" in " ".join(text.split())
