"""What a person is told must not end the work that it is about."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from defectgan_cli.console import Reporter, show_error

FULL = Path("/dev/full")  # takes nothing: no space left on device


@pytest.fixture
def full_stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with contextlib.suppress(OSError), FULL.open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        yield


@pytest.mark.usefixtures("full_stderr")
def test_messages_go_unsaid_where_the_disk_behind_stderr_is_full(tmp_path: Path) -> None:
    reporter = Reporter(quiet=False)
    reporter.write_to(tmp_path / "log.txt")
    reporter.say("a sentence")
    reporter.warn("not to be missed")
    show_error("title", "what was wrong")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["a sentence", "warning: not to be missed"]


def test_whoever_has_had_enough_of_the_messages_ends_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, write = os.pipe()
    os.close(read)
    with contextlib.suppress(BrokenPipeError), os.fdopen(write, "w") as unread:
        monkeypatch.setattr(sys, "stderr", unread)
        with pytest.raises(BrokenPipeError):
            Reporter(quiet=False).say("a sentence")


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
