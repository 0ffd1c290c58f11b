"""What a job makes of which class: all alike, in shares, row by row of a file, like examples."""

import itertools
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from defectgan_cli.main import app
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from defectgan.errors import DataError, DefectganError, ModelError, SettingError
from defectgan.generation import likeness
from defectgan.generation.amounts import counts, in_turn, to_balance
from defectgan.generation.likeness import Likeness, read_examples
from defectgan.generation.plan import find_sources
from defectgan.generation.prepare import generate, prepare
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import run_job
from defectgan.generation.wishes import Wishes
from defectgan.images import read_mask, read_picture
from defectgan.model.file import Model
from defectgan.model.pixels import model_view
from defectgan.views import Viewer
from tests.conftest import CLASSES, ROOT, rows_of, without_critic
from tests.test_shards import files_of

CPU = torch.device("cpu")
SHIPPED = ROOT / "sample_data/pcb64.safetensors"
NAMES = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)


@given(names=NAMES, shares=st.lists(st.integers(1, 40), min_size=6, max_size=6))
def test_shares_are_spread_evenly_and_come_out_exactly(names: list[str], shares: list[int]) -> None:
    share = dict(zip(names, shares, strict=False))
    total = sum(share.values())
    order = list(itertools.islice(in_turn(names, share), 2 * total))
    assert Counter(order[:total]) == share
    for n in range(1, total):
        made = Counter(order[:n])
        assert all(abs(made[name] - n * share[name] / total) < len(names) for name in names)
    assert counts(names, total, share) == share


@given(names=NAMES, n=st.integers(0, 50))
def test_equal_shares_are_all_classes_in_turn(names: list[str], n: int) -> None:
    turn = list(itertools.islice(in_turn(names), n))
    assert turn == [names[i % len(names)] for i in range(n)]
    assert turn == list(itertools.islice(in_turn(names, dict.fromkeys(names, 3)), n))
    assert counts(names, n, None) == {name: turn.count(name) for name in names}


@pytest.fixture
def data(boards: Path, tmp_path: Path) -> Path:
    """The boards, with 4 of tin and wound, 1 of thread, no brushing."""
    root = shutil.copytree(boards, tmp_path / "data")
    shutil.rmtree(root / "brushing")
    for path in sorted((root / "thread").iterdir())[1:]:
        path.unlink()
    return root


def test_a_data_set_is_filled_up_to_its_largest_defect_class(data: Path) -> None:
    """Good images, of which there are 6, do not count."""
    assert to_balance(data, CLASSES, asked=False) == {"thread": 3}
    with pytest.raises(DataError, match="has no class brushing: found"):
        to_balance(data, CLASSES, asked=True)
    with pytest.raises(DataError, match="has 4 images of each class already"):
        to_balance(data, ("tin", "wound"), asked=True)


def test_a_balanced_set_holds_what_was_lacking(run: Path, boards: Path, data: Path) -> None:
    (data / "tin" / "0002.png").unlink(missing_ok=True)
    have = {name: len(list((data / name).glob("*.png"))) for name in ("thread", "tin", "wound")}
    out = generate(
        boards / "normal", model=run, out=data.parent / "set", balance_to=data, candidates=1
    )
    made = Counter(row["class"] for row in rows_of(out))
    assert {have[name] + made[name] for name in have} == {4} and "brushing" not in made


def test_per_class_makes_so_many_of_each(run: Path, boards: Path, tmp_path: Path) -> None:
    out = generate(
        boards / "normal",
        defects=("tin", "wound", "thread"),
        model=run,
        out=tmp_path / "set",
        per_class=2,
        candidates=1,
    )
    assert Counter(r["class"] for r in rows_of(out)) == {"tin": 2, "wound": 2, "thread": 2}


@pytest.mark.parametrize(
    "asked",
    [
        {"normal": None},
        {"jobs": Path("jobs.csv")},
        {"n": 3, "per_class": 2},
        {"n": 3, "balance_to": Path("pcb")},
        {"normal": None, "jobs": Path("jobs.csv"), "n": 3},
        {"normal": None, "jobs": Path("jobs.csv"), "defects": ["tin"]},
        {"like": Path("missed"), "balance_to": Path("pcb")},
        {"like": Path("missed"), "per_class": 2},
        {"per_class": 2, "wishes": Wishes(together=True)},
    ],
)
def test_what_is_made_is_said_once(run: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"said once|named once|in all|no good images"):
        usual: dict[str, Any] = {"normal": "imgs", "model": run}
        prepare(**(usual | asked))


def jobs_file(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "jobs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def imgs(boards: Path, tmp_path: Path) -> Path:
    return shutil.copytree(boards / "normal", tmp_path / "imgs")


def test_a_file_of_jobs_says_what_is_painted_on_what(run: Path, imgs: Path, tmp_path: Path) -> None:
    """Its sources are relative to it; a row with a seed is the same wherever it stands."""
    rows = [
        {"source": "imgs/0001.png", "classes": ["tin"], "seed": 7},
        {"source": "imgs", "classes": "wound|thread", "count": 5},
        {"source": "imgs/000[45].png", "class": "brushing", "count": 4},
    ]
    out = generate(
        None, model=run, jobs=jobs_file(tmp_path, *rows), out=tmp_path / "a", candidates=1
    )
    made = rows_of(out)
    assert [r["number"] for r in made] == list(range(10))
    assert [r["class"] for r in made] == [
        *("tin", "wound", "thread", "wound", "thread", "wound"),
        *["brushing"] * 4,
    ]
    assert Path(made[0]["source"]) == imgs / "0001.png"
    assert {Path(r["source"]).name for r in made[6:]} == {"0004.png", "0005.png"}
    turned = jobs_file(tmp_path, *rows[::-1])
    last = rows_of(generate(None, model=run, jobs=turned, out=tmp_path / "b", candidates=1))[-1]
    assert last["output_sha256"] == made[0]["output_sha256"] and last["seed"] == made[0]["seed"]
    with pytest.raises(DataError, match=r"another job.*jobs_sha256"):
        generate(None, model=run, jobs=turned, out=tmp_path / "a", candidates=1)
    assert files_of(
        generate(None, model=run, jobs=jobs_file(tmp_path, *rows), out=tmp_path / "a", candidates=1)
    ) == files_of(out)


def test_a_row_of_jobs_has_a_region_and_a_strength_of_its_own(imgs: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"source": "imgs", "classes": ["tin"], "region": "4,8,20,16", "count": 2},
        {"source": "imgs", "classes": ["tin"], "region": [0.5, 0.5, 0.5, 0.5], "strength": 0.5},
        {"source": "imgs", "classes": ["tin"], "strength": 0},
    ]
    out = generate(
        None, model=SHIPPED, jobs=jobs_file(tmp_path, *rows), out=tmp_path / "a", candidates=1
    )
    first, second, third, last = rows_of(out)
    for row, region in ((first, (4, 8, 20, 16)), (second, (4, 8, 20, 16)), (third, (24,) * 4)):
        (instance,) = row["instances"]
        assert tuple(instance["region"]) == region
    assert "strength" not in second and (third["strength"], last["strength"]) == (0.5, 0)
    assert not read_mask(out / last["mask"]).any()
    other = jobs_file(tmp_path, *[row | {"strength": 1} for row in rows])
    with pytest.raises(DataError, match=r"another job.*jobs_sha256"):
        generate(None, model=SHIPPED, jobs=other, out=out)


def test_the_same_jobs_in_a_table_make_the_same_set(run: Path, imgs: Path, tmp_path: Path) -> None:
    table = tmp_path / "jobs.csv"
    table.write_text("source,class,count,seed\nimgs,tin|wound,3,\nimgs/0002.png,,1,5\n")
    lines = jobs_file(
        tmp_path,
        {"source": "imgs", "classes": ["tin", "wound"], "count": 3},
        {"source": "imgs/0002.png", "seed": 5},
    )
    a = generate(None, model=run, jobs=table, out=tmp_path / "a", candidates=2)
    b = generate(None, model=run, jobs=lines, out=tmp_path / "b", candidates=2)
    assert len(rows_of(a)) == 4 and files_of(a) == files_of(b)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"source": "imgs", "regoin": "1"}, r"line 2 of .* has a column regoin: found source"),
        ({"source": "imgs", "strength": 3}, r"line 2 of .* has 3 as its strength: expected 0 to 2"),
        ({"source": "imgs", "strength": "x"}, r"line 2 of .* has 'x' as its strength"),
        ({"source": "imgs", "region": "1,2"}, r"line 2 of .*: region: 1,2 is no box"),
        ({"source": "imgs", "region": 7}, r"line 2 of .* has 7 as its region: expected a box"),
        ({"source": "none"}, r"line 2 of .*: no images in .*none"),
        ({"classes": "tin"}, r"line 2 of .* has None as its source: expected good images"),
        ({"source": "imgs", "classes": "tni"}, r"line 2 of .* a class tni.* did you mean tin\?"),
        ({"source": "imgs", "count": 0}, r"line 2 of .* has 0 as its count: expected .* from 1 on"),
        ({"source": "imgs", "count": "x"}, r"has 'x' as its count"),
        ({"source": "imgs", "seed": -1}, r"has -1 as its seed: expected a number from 0 on"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_made(
    run: Path, imgs: Path, tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    jobs = jobs_file(tmp_path, {"source": "imgs"}, row)
    with pytest.raises(DefectganError, match=said):
        generate(None, model=run, jobs=jobs, out=tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_file_without_rows_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no rows: expected some with the columns source"):
        prepare(None, model=run, jobs=jobs_file(tmp_path))
    with pytest.raises(DataError, match="no file of jobs at"):
        prepare(None, model=run, jobs=tmp_path / "none.csv")


@pytest.fixture
def missed(boards: Path, tmp_path: Path) -> Path:
    """Three images of tin and one of wound."""
    for name, count in (("tin", 3), ("wound", 1)):
        (tmp_path / "missed" / name).mkdir(parents=True)
        for path in sorted((boards / name).glob("*.png"))[:count]:
            shutil.copy(path, tmp_path / "missed" / name)
    return tmp_path / "missed"


def test_examples_are_a_folder_or_a_table_and_give_the_proportion(missed: Path) -> None:
    by_folder = read_examples(missed, CLASSES)
    assert by_folder.shares == {"tin": 3, "wound": 1}
    for beside in ("good", "masks"):  # as in a whole data set
        shutil.copytree(missed / "tin", missed / beside)
    assert read_examples(missed, CLASSES) == by_folder
    shutil.rmtree(missed / "good")
    shutil.rmtree(missed / "masks")
    lines = [f"{path.relative_to(missed)},{path.parent.name}\n" for path in missed.glob("*/*.png")]
    (missed / "missed.csv").write_text("file,label\n" + "".join(lines))
    by_table = read_examples(missed / "missed.csv", CLASSES)
    assert by_table.sha256 == by_folder.sha256 and by_table.shares == by_folder.shares
    with pytest.raises(DataError, match="is of a class tin: found wound"):
        read_examples(missed, ("wound",))
    with pytest.raises(DataError, match=r"no images in .*: expected a folder with one folder"):
        read_examples(missed / "none", CLASSES)


@pytest.mark.parametrize("fixed", [True, False])
def test_the_candidates_nearest_to_the_examples_are_kept(
    model: Model,
    boards: Path,
    missed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fixed: bool,
) -> None:
    """By the fixed features, or where they are not installed by the critic's."""
    if not fixed:
        monkeypatch.setattr(likeness, "weights_of", lambda name: None)
    examples = read_examples(missed, CLASSES)
    sources, classes = find_sources(str(boards / "normal")), ("tin", "wound")
    kept = {}
    for candidates in (1, 4):
        job = GenerateJob(
            *(sources, classes, 8, 0),
            binary_masks=False,
            candidates=candidates,
            shares=examples.shares,
            like=examples,
        )
        out = tmp_path / str(candidates)
        run_job(job, model, out, device=CPU, batch_size=4)
        kept[candidates] = rows_of(out)
    assert Counter(row["class"] for row in kept[4]) == {"tin": 6, "wound": 2}
    near = {k: [row["nearness"] for row in rows] for k, rows in kept.items()}
    assert all(best >= one for one, best in zip(near[1], near[4], strict=True))
    assert sum(near[4]) > sum(near[1])


def test_an_example_is_nearest_to_itself(model: Model, missed: Path) -> None:
    examples = read_examples(missed, CLASSES)
    likeness_of = Likeness(examples, model, CPU)
    info = model.info
    for name, files in examples.files.items():
        picture = read_picture(files[0])
        view = Viewer(info.form.view)(picture.size)
        seen = model_view(picture, view, info.channels, info.levels_of(picture))
        assert likeness_of(seen[None], [info.label_of(name)]) == [pytest.approx(1, abs=1e-4)]


def test_without_critic_and_fixed_features_nothing_can_be_compared(
    model: Model, boards: Path, missed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = read_examples(missed, CLASSES)
    job = GenerateJob(
        *(find_sources(str(boards / "normal")), ("tin", "wound"), 2, 0),
        binary_masks=False,
        shares=examples.shares,
        like=examples,
    )
    bare = without_critic(model)
    run_job(job, bare, tmp_path / "fixed", device=CPU, batch_size=4)
    assert all("nearness" in row for row in rows_of(tmp_path / "fixed"))
    monkeypatch.setattr(likeness, "weights_of", lambda name: None)
    with pytest.raises(ModelError, match="to tell which images are like others"):
        run_job(job, bare, tmp_path / "set", device=CPU, batch_size=4)
    with pytest.raises(DataError, match=r"another job \(see job\.json: .*like_sha256"):
        run_job(
            replace(job, like=None, shares=None),
            model,
            tmp_path / "fixed",
            device=CPU,
            batch_size=4,
        )


def test_a_dry_run_tells_the_plan_and_its_time_and_makes_nothing(
    run: Path, imgs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["generate", "--model", str(run), "--dry-run", "--out", "set", "--json"]
    jobs = jobs_file(tmp_path, {"source": "imgs", "class": "tin", "count": 30}, {"source": "imgs"})
    for more, plan in (
        (["--normal", "imgs", "--per-class", "3"], dict.fromkeys(CLASSES, 3)),
        (["--jobs", str(jobs)], {"tin": 30, "thread": 1, "brushing": 0, "wound": 0}),
    ):
        result = CliRunner().invoke(app, [*words, *more])
        told = json.loads(result.stdout)
        assert told["classes"].items() <= plan.items() and told["seconds"] > 0
        assert told["images"] == sum(plan.values()) == sum(told["classes"].values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["imgs", "jobs.jsonl"]
