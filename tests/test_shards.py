"""A job in parts, one after the other, at the same time, and under torchrun."""

import filecmp
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from defectgan_cli.main import app
from hypothesis import given
from hypothesis import strategies as st
from torch._C._distributed_c10d import HashStore
from typer.testing import CliRunner

from defectgan.errors import CheckFailed, DataError, SettingError
from defectgan.files import write_json_lines
from defectgan.generation.plan import find_sources
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import GenerateOutcome, join_shards, run_job
from defectgan.generation.shards import WHOLE, Shard, parse_shard
from defectgan.generation.tasks import Task
from defectgan.generation.where import read_box
from defectgan.locks import held, is_held
from defectgan.manifest import MANIFEST, REJECTED
from defectgan.model.file import Model, load_model
from defectgan.processes import Crew
from tests.conftest import CLASSES, ROOT, STUCK_AFTER, rows_of
from tests.test_distributed import environment, free_port

CPU = torch.device("cpu")
N = 22


def job_on(boards: Path, **job: Any) -> GenerateJob:
    usual: dict[str, Any] = {"defects": ("tin", "wound"), "n": N, "seed": 0, "binary_masks": False}
    return GenerateJob(find_sources(str(boards / "normal")), **(usual | {"candidates": 2} | job))


def make(
    model: Model, boards: Path, out: Path, shard: Shard = WHOLE, **job: Any
) -> GenerateOutcome:
    return run_job(job_on(boards, **job), model, out, device=CPU, batch_size=4, shard=shard)


@pytest.fixture(scope="module")
def whole(model: Model, boards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "set"
    make(model, boards, out)
    return out


def files_of(out: Path) -> dict[str, bytes]:
    """All that a set holds, hidden files too."""
    paths = (p for p in out.rglob("*") if p.is_file())
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in paths}


@given(n=st.integers(0, 300), count=st.integers(1, 12))
def test_every_image_is_of_one_shard_and_the_shares_add_up(n: int, count: int) -> None:
    shards = [Shard(i, count) for i in range(count)]
    for number in range(n):
        assert sum(shard.has(number) for shard in shards) == 1
    for shard in shards:
        assert shard.share(n) == sum(map(shard.has, range(n)))


@pytest.mark.parametrize("text", ["0/5", "6/5", "5", "1/0", "a/b", "-1/5", "1/5/5", ""])
def test_a_shard_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r"expected i/n, such as 1/5"):
        parse_shard(text)


@pytest.mark.parametrize("count", [2, 5])
def test_any_number_of_shards_joins_to_the_files_of_one_job(
    model: Model, boards: Path, whole: Path, tmp_path: Path, count: int
) -> None:
    out = tmp_path / "set"
    shares = [make(model, boards, out, Shard(i, count)).made for i in reversed(range(count))]
    assert sum(shares) == N and not (out / MANIFEST).exists()
    assert join_shards(job_on(boards), model, out).there == N
    assert files_of(out) == files_of(whole)


def test_images_that_were_given_up_are_joined_and_not_missing(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    """For every second row there is no room on its images."""
    sources = find_sources(str(boards / "normal"))
    places = [read_box(text) for text in ("0,0,48,48", "500,0,8,8")]
    tasks = tuple(Task(sources, ("tin",), 3, i, places[i % 2]) for i in range(4))
    job: dict[str, Any] = {"tasks": tasks, "n": 12, "defects": ("tin",)}
    one, out = tmp_path / "one", tmp_path / "set"
    outcome = make(model, boards, one, **job)
    lost = [3, 4, 5, 9, 10, 11]
    assert outcome.made == 6 and [g.number for g in outcome.given_up] == lost
    for shard in (Shard(1, 2), Shard(0, 2)):
        made = make(model, boards, out, shard, **job)
        mine = [number for number in lost if shard.has(number)]
        assert [g.number for g in made.given_up] == mine
        with pytest.raises(CheckFailed, match=r"of tin are missing: .*no room"):
            made.refuse_short(shard.share(12), shard.folder(out))
    again = make(model, boards, out, Shard(0, 3), **job)  # finds what others gave up
    assert again.made == 0 and not (Shard(0, 3).folder(out) / REJECTED).exists()
    joined = join_shards(job_on(boards, **job), model, out)
    assert joined.there == 6 and [g.number for g in joined.given_up] == lost
    assert files_of(out) == files_of(one)
    assert make(model, boards, out, **job)[:2] == (6, 0)


def test_a_missing_shard_is_said_and_made_by_itself_or_by_the_whole_job(
    model: Model, boards: Path, whole: Path, tmp_path: Path
) -> None:
    for last in (Shard(1, 3), WHOLE):
        out = tmp_path / f"set-{last.count}"
        for i in (0, 2):
            make(model, boards, out, Shard(i, 3))
        with pytest.raises(CheckFailed, match=r"^8 of 22 images are missing in"):
            join_shards(job_on(boards), model, out)
        assert len(rows_of(out)) == 14  # what was there is joined
        assert make(model, boards, out, last).made == 8
        join_shards(job_on(boards), model, out)
        assert files_of(out) == files_of(whole)


def test_a_job_goes_on_in_another_number_of_shards_and_with_more_images(
    model: Model, boards: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    make(model, boards, out, Shard(0, 5), n=14)
    make(model, boards, out, Shard(3, 5), n=14)
    made = [make(model, boards, out, Shard(i, 2)).made for i in (0, 1)]
    assert sum(made) == N - 6
    join_shards(job_on(boards), model, out)
    assert files_of(out) == files_of(whole)


def test_a_shard_that_was_cut_short_makes_what_is_missing(
    model: Model, boards: Path, whole: Path, tmp_path: Path
) -> None:
    out, shard = tmp_path / "set", Shard(0, 2)
    make(model, boards, out, shard)
    rows = rows_of(shard.folder(out))
    (out / rows[3]["mask"]).unlink()
    write_json_lines(shard.folder(out) / MANIFEST, rows[:6])
    assert make(model, boards, out, shard)[:2] == (5, shard.share(N) - 5)
    make(model, boards, out, Shard(1, 2))
    join_shards(job_on(boards), model, out)
    assert files_of(out) == files_of(whole)


def test_whoever_would_make_the_same_images_is_told(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    """The same shard, the whole job, and shards of another number; but not another shard."""
    out = tmp_path / "set"
    with Shard(0, 2).held(out):
        with pytest.raises(DataError, match=r"another job is at work in .*1-of-2 \(process"):
            make(model, boards, out, Shard(0, 2))
        with pytest.raises(DataError, match="another job is at work in"):
            make(model, boards, out)
        with pytest.raises(DataError, match="another job is at work in"):
            join_shards(job_on(boards), model, out)
        with pytest.raises(DataError, match=r"shard 1/2 is at work in .*, and this is 1/3"):
            make(model, boards, out, Shard(0, 3))
        make(model, boards, out, Shard(1, 2))
    with held(out), pytest.raises(DataError, match="another job is at work in"):
        make(model, boards, out, Shard(1, 2))
    assert not is_held(out)


def test_of_shards_that_begin_together_all_take_what_the_first_recorded(
    model: Model, boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On unlike machines they might find other thresholds; and another job is refused."""
    out = tmp_path / "set"
    place = "defectgan.generation.run.find_thresholds"

    def overtaken(job: GenerateJob, *_: Any) -> dict[str, float]:
        monkeypatch.undo()
        make(model, boards, out, Shard(1, 2))
        return dict.fromkeys(job.defects, 0.7)

    monkeypatch.setattr(place, overtaken)
    make(model, boards, out, Shard(0, 2))
    join_shards(job_on(boards), model, out)
    recorded = json.loads((out / "job.json").read_text())["thresholds"]
    assert all(row["threshold"] == recorded[row["class"]] != 0.7 for row in rows_of(out))
    with pytest.raises(DataError, match=r"another job \(see job\.json: seed\)"):
        make(model, boards, out, Shard(0, 2), seed=1)


def test_there_is_nothing_to_join_where_no_job_was(
    model: Model, boards: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="holds no shards of a job"):
        join_shards(job_on(boards), model, tmp_path / "set")


def test_an_image_is_the_same_to_the_last_bit_whatever_it_is_painted_with(tmp_path: Path) -> None:
    """A job that goes on, or a shard, begins its batches at other images, and its last one is of
    another size: by the weights of a real network that shows.
    """
    shipped = load_model(ROOT / "sample_data/pcb64.safetensors")
    model = replace(shipped, info=replace(shipped.info, calibrated=0.1))
    sources = find_sources(str(ROOT / "sample_data/normal"))

    def paint(out: Path, n: int) -> None:
        job = GenerateJob(sources, CLASSES, n, 0, binary_masks=False)
        run_job(job, model, out, device=CPU, batch_size=16)

    paint(tmp_path / "at-once", 48)
    for n in (9, 21, 32, 41, 48):
        paint(tmp_path / "step-by-step", n)
    assert files_of(tmp_path / "step-by-step") == files_of(tmp_path / "at-once")


def test_the_first_process_learns_that_another_has_failed() -> None:
    store = HashStore()
    crew = [Crew(rank, 3, store) for rank in range(3)]
    assert crew[0].tell("a") == crew[2].tell("") == "a"
    crew[1].done(well=True)
    crew[2].done(well=False)
    with pytest.raises(CheckFailed, match="process 2 of 3 has failed"):
        crew[0].wait()


def command(run: Path, boards: Path, *words: str) -> list[str]:
    job = ["generate", "--model", str(run), "--normal", str(boards / "normal"), "--n", str(N)]
    return [sys.executable, "-m", "defectgan_cli", *job, *words]


def start(line: list[str], place: Path, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        line,
        cwd=place,
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    result, said = process.communicate(timeout=STUCK_AFTER)
    assert process.returncode == 0, said
    return result, said


@pytest.mark.slow
@pytest.mark.long
def test_one_process_five_shards_at_once_and_two_ranks_make_equal_sets(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    ended(start(command(run, boards, "--out", "one"), tmp_path))
    tasks = [
        start(command(run, boards, "--out", "five", "--shard", f"{i}/5", "--json"), tmp_path)
        for i in range(1, 6)
    ]
    assert sum(json.loads(ended(task)[0])["made"] for task in tasks) == N
    joined, _ = ended(start(command(run, boards, "--out", "five", "--merge"), tmp_path))
    assert joined == f"{N} images of all parts: five\n"
    port = free_port()
    ranks = [
        start(command(run, boards, "--out", "two"), tmp_path, **environment(rank, 2, port))
        for rank in (0, 1)
    ]
    results = [ended(rank) for rank in ranks]
    assert results[0][0] == f"{N} images of all parts: two\n" and results[1] == ("", "")
    assert files_of(tmp_path / "five") == files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert not filecmp.dircmp(tmp_path / "one", tmp_path / "two").diff_files


@pytest.mark.parametrize("words", [["--shard", "1/2"], ["--gpus", "2"]])
def test_shards_without_a_folder_that_all_know_are_refused(
    run: Path, boards: Path, words: list[str]
) -> None:
    said = CliRunner().invoke(app, command(run, boards, *words)[3:])
    assert said.exit_code == 2 and "name its folder with --out" in " ".join(said.stderr.split())
