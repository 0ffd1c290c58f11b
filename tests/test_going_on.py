"""Whatever ends a generate job, the same line goes on, to the set of an undisturbed one."""

import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from defectgan_cli.main import app
from typer.testing import CliRunner

from defectgan.errors import DataError
from defectgan.generation.plan import find_sources
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import GenerateOutcome, run_job
from defectgan.manifest import read_manifest
from defectgan.model.file import Model, load_model
from tests.conftest import ROOT, STUCK_AFTER, rows_of, wait_for
from tests.test_shards import files_of

CPU = torch.device("cpu")
N = 64
SHIPPED = ROOT / "sample_data" / "pcb64.safetensors"


def line_for(folder: Path, out: str) -> list[str]:
    words = ["generate", "--model", str(SHIPPED), "--normal", str(folder), "--n", str(N)]
    return [sys.executable, "-m", "defectgan_cli", *words, "--out", out, "--quiet"]


def written(place: Path) -> int:
    """How many images and masks there are."""
    return sum(1 for _ in place.glob("killed/*/*/0*"))


@pytest.mark.slow
def test_a_job_that_is_killed_again_and_again_ends_with_the_files_of_an_undisturbed_one(
    boards: Path, tmp_path: Path
) -> None:
    """By SIGKILL, when so many files are there as is drawn."""
    whole, killed = (line_for(boards / "normal", out) for out in ("whole", "killed"))
    subprocess.run(whole, cwd=tmp_path, check=True, timeout=STUCK_AFTER, capture_output=True)
    rng, kills = random.Random(0), 0
    for _ in range(3):
        with subprocess.Popen(killed, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
            moment = rng.randrange(2 * N)
            wait_for(lambda: process.poll() is not None or written(tmp_path) >= moment)  # noqa: B023
            process.kill()
        kills += process.returncode < 0
    assert kills and len(rows_of(tmp_path / "killed")) > 0
    subprocess.run(killed, cwd=tmp_path, check=True, timeout=STUCK_AFTER, capture_output=True)
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load_model(run)


def job_on(boards: Path) -> GenerateJob:
    return GenerateJob(find_sources(str(boards / "normal")), ("tin", "wound"), 12, 0, False, 1)


def make(model: Model, boards: Path, out: Path) -> GenerateOutcome:
    return run_job(job_on(boards), model, out, device=CPU, batch_size=2)


def full_after(monkeypatch: pytest.MonkeyPatch, writes: int, of: str) -> None:
    """A disk that is full when so many files of a kind have been written."""
    write_bytes, left = Path.write_bytes, [writes]

    def write(path: Path, data: Any) -> int:
        if of in str(path):
            left[0] -= 1
            if left[0] < 0:
                write_bytes(path, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", write)


def lines_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes no more of the manifest when the third group of rows comes."""
    fsync, count = os.fsync, [0]

    def sync(file: int) -> None:
        count[0] += 1
        if count[0] > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    monkeypatch.setattr(os, "fsync", sync)


@pytest.mark.parametrize(
    ("fill", "recorded"),
    [
        (lambda patch: full_after(patch, 5, "images"), 5),
        (lambda patch: full_after(patch, 5, "masks"), 5),
        (lines_refused, 4),
    ],
)
def test_a_full_disk_names_the_file_and_loses_nothing_that_was_whole(
    model: Model,
    boards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fill: Callable[[pytest.MonkeyPatch], None],
    recorded: int,
) -> None:
    make(model, boards, tmp_path / "whole")
    out = tmp_path / "set"
    with monkeypatch.context() as patch:
        fill(patch)
        with pytest.raises(OSError, match="No space left on device") as caught:
            make(model, boards, out)
    assert str(out) in str(caught.value.filename)
    rows = read_manifest(out)
    assert len(rows) == recorded
    assert all((out / row.output).is_file() and (out / row.mask).is_file() for row in rows)
    assert not list(out.rglob("*.part"))
    assert make(model, boards, out)[:2] == (recorded, 12 - recorded)
    assert files_of(out) == files_of(tmp_path / "whole")


def generate(*words: str) -> Any:
    return CliRunner().invoke(app, ["generate", "--model", str(SHIPPED), *words])


def test_the_command_says_what_was_full_how_far_it_came_and_how_to_go_on(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    normal, out = str(boards / "normal"), tmp_path / "set"
    with monkeypatch.context() as patch:
        full_after(patch, 7, "masks")
        result = generate("--normal", normal, "--n", "20", "--out", str(out), "--batch-size", "4")
    said = " ".join(result.stderr.replace("│", " ").split())
    assert result.exit_code == 3 and "No space left on device" in said
    assert f"stopped after {len(rows_of(out))} of 20 images; the same command" in said


def test_a_folder_that_may_not_be_written_to_is_named(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = Path.mkdir

    def refused(path: Path, *args: Any, **options: Any) -> None:
        if "locked" in path.parts:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        mkdir(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", refused)
    out = tmp_path / "locked" / "set"
    result = generate("--normal", str(boards / "normal"), "--n", "2", "--out", str(out))
    said = result.stderr.replace("│", " ").replace(" ", "").replace("\n", "")
    assert result.exit_code == 3 and f"{out}:Permissiondenied" in said


def test_sources_that_may_not_be_read_are_left_out_and_counted(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files whose head may not be read when the job begins, and those that are locked later."""
    read_bytes = Path.read_bytes

    def locked(path: Path) -> bytes:
        if path.name == "0003.png":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", locked)
    out = tmp_path / "set"
    words = ["--normal", str(boards / "normal"), "--n", "6", "--out", str(out)]
    result = generate(*words, "--json")
    assert result.exit_code == 0 and '"rejected": 1' in result.stdout
    assert "0003.png: Permission denied" in " ".join(result.stderr.split())
    assert len(rows_of(out)) == 6
    assert not any("0003" in row["source"] for row in rows_of(out))


@contextmanager
def nobody() -> Iterator[None]:
    """As a user to whom permissions apply."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_of_sources_that_may_not_be_looked_into_is_said_and_the_others_are_taken(
    boards: Path,
) -> None:
    with TemporaryDirectory() as place:  # its parents may be entered by anybody
        open_one, locked = Path(place, "open"), Path(place, "locked")
        for folder in (open_one, locked):
            shutil.copytree(boards / "normal", folder)
        Path(place).chmod(0o755)
        locked.chmod(0)
        with nobody():
            sources = find_sources(place)
            with pytest.raises(DataError, match="a folder that cannot be read: Permission denied"):
                find_sources(str(locked))
        locked.chmod(0o755)
    assert len(sources.files) == 6 and {file.parent for file in sources.files} == {open_one}
    assert sources.rejected == ((locked, "a folder that cannot be read: Permission denied"),)
