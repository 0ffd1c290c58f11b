"""What a person is told: it must not end the work that it is about, and it counts all of it."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from defectgan_cli.console import Reporter, TrainingReport, show_error
from PIL import Image

FULL = Path("/dev/full")  # takes nothing: no space left on device


def test_messages_go_unsaid_where_the_disk_behind_stderr_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = Reporter(quiet=False)
    reporter.write_to(tmp_path / "log.txt")
    full = FULL.open("w")
    monkeypatch.setattr(sys, "stderr", full)
    reporter.say("a sentence")
    reporter.warn("not to be missed")
    show_error("title", "what was wrong")
    monkeypatch.undo()
    with contextlib.suppress(OSError):
        full.close()
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["a sentence", "warning: not to be missed"]


def test_a_log_on_a_full_disk_is_said_once_and_caught_up_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.txt"
    log.symlink_to(FULL)
    reporter = Reporter(quiet=True)
    reporter.say("before")
    reporter.write_to(log)
    reporter.say("meanwhile")
    assert capsys.readouterr().err.count("log.txt is not written: No space left on device") == 1
    log.unlink()
    reporter.say("after")
    reporter.say("later")
    lines = log.read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["before", "meanwhile", "after", "later"]


def test_the_expected_time_counts_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """120 steps of 2 s ahead, then 30 steps of 10 s."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    reporter = Reporter(quiet=True)
    said: list[str] = []
    monkeypatch.setattr(reporter, "say", said.append)
    with TrainingReport(reporter, 30) as report:
        for step in range(120):
            now[0] += 2
            report.warmed(step + 1, 120)
        for step in range(30):
            now[0] += 10
            report.stepped(step + 1)
    assert said == [
        "warm-up of the classifier: 120 steps of 2.00 s each at most, 4 min; 30 steps of all "
        "networks come then",
        "25 steps of 10.00 s each: about 4 min, 9 min in all with the warm-up",
    ]


DECODE = """
import sys
from pathlib import Path
from defectgan.errors import DataError
from defectgan.images import read_picture
from defectgan_cli.console import speak_plainly

speak_plainly()
for name in sys.argv[1:]:
    try:
        read_picture(Path(name))
    except DataError as error:
        print(error)
"""


def test_what_is_wrong_with_a_file_is_said_here_and_by_no_decoder(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, (64, 64, 3), dtype=np.uint16)
    files = [tmp_path / name for name in ("a.tif", "b.png")]
    Image.fromarray((pixels >> 8).astype(np.uint8)).save(files[0], compression="tiff_adobe_deflate")
    cv2.imwrite(str(files[1]), pixels)
    for file in files:
        data = bytearray(file.read_bytes())
        third = len(data) // 3
        data[third : third + 200] = bytes(200)
        file.write_bytes(data)
    words = [sys.executable, "-c", DECODE, *map(str, files)]
    said = subprocess.run(words, capture_output=True, text=True, check=True)
    assert said.stderr == ""
    assert [line.count(" is damaged: ") for line in said.stdout.splitlines()] == [1, 1]


def test_names_are_the_same_under_a_strict_c_locale(tmp_path: Path) -> None:
    for name in ("good", "f\u00ealure"):
        (tmp_path / "set" / name).mkdir(parents=True)
        pixels = np.full((16, 16), len(name), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / name / "\u00e9.png")
    words = ["train", "--data", "set", "--dry-run", "--json", "--classes", "f\u00ealure"]
    told = subprocess.run(
        [sys.executable, "-m", "defectgan_cli", *words, "--config", "quick"],
        cwd=tmp_path,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
    )
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["classes"] == {"good": 1, "f\u00ealure": 1}
