"""What a person is told: it must not end the work that it is about, and it counts all of it."""

import contextlib
import sys
import time
from pathlib import Path

import pytest
from defectgan_cli.console import Reporter, TrainingReport, show_error

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
