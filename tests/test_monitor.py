"""What a training leaves for its watchers, also where it fails."""

import threading
from pathlib import Path

import pytest

from defectgan.methods.config import Config
from tests.conftest import start


def test_no_writer_of_events_outlives_a_training_that_fails(
    boards: Path, tiny: Config, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    before = set(threading.enumerate())

    def stop() -> bool:
        if list(tmp_path.glob("runs/latest/stats.jsonl")):
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        start(tiny, boards, tmp_path / "runs", stop=stop)
    assert set(threading.enumerate()) <= before
