import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from defectgan_cli.console import Reporter, TrainingReport
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from defectgan import losses
from defectgan.data.index import index_data
from defectgan.errors import ModelError, SettingError, TrainingError
from defectgan.files import append_json_lines, read_json_lines
from defectgan.losses import adversarial
from defectgan.methods.base import Task
from defectgan.methods.config import Config, dump_config, parse_config
from defectgan.methods.registry import make_method
from defectgan.model.file import load_model, load_tensors
from defectgan.model.painter import Painter
from defectgan.networks.critic import TowerCritic
from defectgan.runs import RunFolder
from defectgan.settings.data import DataConfig
from defectgan.training import TIMED_STEPS, loop, warmup
from defectgan.training.guard import MAX_UNWRITTEN, Guard
from defectgan.training.job import Job, resumed_job
from defectgan.training.loop import Training
from defectgan.training.monitor import DEAD_LINES, Averages, Stats, plot_losses
from defectgan.training.state import State
from defectgan.training.step import Engine, not_finite
from tests.conftest import CLASSES, CPU, Silent, StopAfter, go_on, run_job, start, tiny_with

TIMES = ("seconds", "seconds_per_step", "images_per_second", "data_wait")


def losses_of(run: Path) -> list[dict[str, Any]]:
    """The lines of stats.jsonl without what the clock says."""
    lines = read_json_lines(RunFolder(run).stats)
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_tensors(RunFolder(run).weights)[0]


def assert_same_run(one: Path, other: Path) -> None:
    assert losses_of(one) == losses_of(other)
    ours, theirs = weights_of(one), weights_of(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_folder_holds_all_that_the_design_names(run: Path) -> None:
    names = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    expected = {
        "config.yaml",
        "split.json",
        "stats.jsonl",
        "losses.png",
        "state.safetensors",
        "weights/last.safetensors",
        "samples/step-000000.png",
        "samples/step-000006.png",
    }
    assert expected <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert (run.parent / "latest").resolve() == run.resolve()


def test_the_same_seed_gives_the_same_run(
    run: Path, tiny: Config, boards: Path, tmp_path: Path
) -> None:
    assert_same_run(start(tiny, boards, tmp_path).run, run)


def test_another_seed_gives_another_run(run: Path, boards: Path, tmp_path: Path) -> None:
    other = start(tiny_with(training={"seed": 1}), boards, tmp_path).run
    assert losses_of(other) != losses_of(run)


@pytest.mark.parametrize("calls", [1, 4, 5, 6, 7])
def test_a_stopped_run_goes_on_bit_for_bit(
    calls: int, run: Path, tiny: Config, boards: Path, tmp_path: Path
) -> None:
    """In the classifier's warm-up, on and off a log interval: as if it had never been stopped."""
    stopped = start(tiny, boards, tmp_path, stop=StopAfter(calls))
    assert stopped.interrupted
    finished = go_on(stopped.run)
    assert not finished.interrupted
    assert_same_run(finished.run, run)


class Clock:
    """A minute a step, and an instant each time that it is looked at."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1e-3
        return self.seconds


class Ticking(Silent):
    """Lets a minute go by with each step, and may fail after one."""

    def __init__(self, clock: Clock, failing: int | None = None) -> None:
        super().__init__()
        self._clock = clock
        self._failing = failing

    def stepped(self, step: int) -> None:
        self._clock.seconds += 60
        if step == self._failing:
            raise ZeroDivisionError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "perf_counter", made)
    return made


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps at which a training saved."""
    steps: list[int] = []
    write = Training._write_checkpoint

    def note(self: Training) -> None:
        steps.append(self._step)
        write(self)

    monkeypatch.setattr(Training, "_write_checkpoint", note)
    return steps


BY_THE_CLOCK = {"save_every": None, "save_minutes": 2.0, "steps": 8}


def test_a_checkpoint_is_written_when_its_minutes_have_gone_by_and_at_the_end(
    clock: Clock, saved: list[int], boards: Path, tmp_path: Path
) -> None:
    """Two minutes have gone by before the third step, and again before the sixth."""
    start(tiny_with(training=BY_THE_CLOCK), boards, tmp_path, watcher=Ticking(clock))
    assert saved == [0, 3, 6, 8]


def test_who_counts_steps_saves_by_steps_alone(
    clock: Clock, saved: list[int], boards: Path, tmp_path: Path
) -> None:
    config = tiny_with(training=BY_THE_CLOCK | {"save_every": 5})
    start(config, boards, tmp_path, watcher=Ticking(clock))
    assert saved == [0, 5, 8]


def test_a_run_that_the_clock_saved_between_two_log_lines_goes_on_bit_for_bit(
    clock: Clock, boards: Path, tmp_path: Path
) -> None:
    config = tiny_with(training=BY_THE_CLOCK)
    whole = start(config, boards, tmp_path / "whole", watcher=Ticking(clock)).run
    with pytest.raises(ZeroDivisionError):
        start(config, boards, tmp_path / "cut", watcher=Ticking(clock, failing=5))
    cut = (tmp_path / "cut" / "latest").resolve()
    assert load_tensors(RunFolder(cut).state)[1].step == 3
    go_on(cut)
    assert_same_run(cut, whole)


def test_both_ways_to_save_may_change_on_resume(run: Path) -> None:
    job = resumed_job(run, {"training": {"save_every": 3, "save_minutes": 1.5}})
    assert (job.config.training.save_every, job.config.training.save_minutes) == (3, 1.5)


def test_what_is_not_finite_is_named_and_the_host_waits_once() -> None:
    class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):  # type: ignore[no-untyped-def]
            self.count += func is torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    tensors = {f"{i}": torch.ones(3) for i in range(9)}
    tensors |= {"nan": torch.tensor([1.0, torch.nan]), "inf": torch.tensor(-torch.inf).double()}
    with Waits() as waits:  # type: ignore[no-untyped-call]
        assert not_finite(tensors) == ["nan", "inf"]
    assert waits.count <= 1


KILLED = """
import sys, time
from pathlib import Path
import torch
from defectgan.settings.data import DataConfig
from defectgan.methods.config import load_config
from defectgan.data.index import index_data
from defectgan.runs import RunFolder
from defectgan.training.guard import MAX_UNWRITTEN, Guard
from defectgan.training.job import Job
from tests.conftest import CLASSES, CPU, Silent
config, boards, run = map(Path, sys.argv[1:])
class Slow(Silent):
    def stepped(self, step):
        print(step, flush=True)
        time.sleep(0.3)
run.mkdir()
index = index_data(boards, DataConfig(classes=tuple(CLASSES)))
job = Job(load_config(config, {}), index, RunFolder(run))
job.begin(run.parent, "killed")
job.run(RunFolder(run), device=CPU, watcher=Slow(), stop=lambda: False)
"""


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_bit_for_bit(
    run: Path, tiny: Config, boards: Path, tmp_path: Path
) -> None:
    """kill -9 a step after a checkpoint: what was done since is done again, to the same numbers."""
    config, killed = tmp_path / "tiny.yaml", tmp_path / "killed"
    config.write_text(dump_config(tiny))
    arguments = [sys.executable, "-c", KILLED, str(config), str(boards), str(killed)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "5":
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert load_tensors(RunFolder(killed).state)[1].step == 4
    go_on(killed)
    assert_same_run(killed, run)


def test_a_kill_between_the_two_files_of_a_checkpoint_is_mended(
    run: Path, tiny: Config, boards: Path, tmp_path: Path
) -> None:
    killed = shutil.copytree(run, tmp_path / "killed")
    RunFolder(killed).weights.write_bytes(b"of an earlier step")
    go_on(killed)
    assert_same_run(killed, run)


def test_more_steps_can_be_asked_for_on_resume(tiny: Config, boards: Path, tmp_path: Path) -> None:
    done = start(tiny, boards, tmp_path).run
    job = resumed_job(done, {"training": {"steps": 8}})
    outcome = job.run(
        RunFolder(done), device=torch.device("cpu"), watcher=Silent(), stop=lambda: False
    )
    assert outcome.steps == 8
    assert losses_of(done)[-1]["step"] == 8
    with pytest.raises(SettingError, match="has done 8 steps already"):
        resumed_job(done, {"training": {"steps": 7}})


def test_a_setting_given_again_as_it_was_is_no_change(run: Path) -> None:
    """As text, as options come: environment variables are set for every call."""
    job = resumed_job(run, {"data": {"image_size": "32"}, "training": {"seed": 0, "steps": "9"}})
    assert job.config.training.steps == 9


def test_resuming_refuses_what_would_make_it_another_training(run: Path) -> None:
    with pytest.raises(SettingError, match=r"training\.seed is 0 .* cannot become 5"):
        resumed_job(run, {"training": {"seed": 5}})


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a run folder"):
        resumed_job(tmp_path, {})


def spoilt(monkeypatch: pytest.MonkeyPatch, steps: range) -> None:
    """Let the reconstruction loss be infinite in these steps."""
    step, reconstruction = Engine.step, losses.reconstruction
    now = [0]

    def count(self: Engine, t: int, batches: Any) -> dict[str, torch.Tensor]:
        now[0] = t
        return step(self, t, batches)

    def diverge(image: torch.Tensor, cycled: torch.Tensor) -> torch.Tensor:
        return reconstruction(image, cycled) / (0 if now[0] in steps else 1)

    monkeypatch.setattr(Engine, "step", count)
    monkeypatch.setattr(losses, "reconstruction", diverge)


def test_a_step_that_is_not_finite_is_left_out_counted_and_said(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Config
) -> None:
    spoilt(monkeypatch, range(2, 3))
    watcher = Silent()
    outcome = start(tiny, boards, tmp_path, watcher=watcher)
    assert outcome.steps == 6 and any("left out 1 step up to step 4" in w for w in watcher.warnings)
    assert [line["skipped"] for line in watcher.lines] == [0, 0.5, 0]
    assert all(np.isfinite(list(line.values())).all() for line in watcher.lines)
    assert all(tensor.isfinite().all() for tensor in weights_of(outcome.run).values())


def test_a_run_that_stays_not_finite_ends_with_its_last_good_weights(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt(monkeypatch, range(2, 100))
    config = tiny_with(training={"steps": 20, "max_bad_steps": 3})
    with pytest.raises(TrainingError, match="steps had a loss or a gradient not finite"):
        start(config, boards, tmp_path)
    run = (tmp_path / "latest").resolve()
    assert all(tensor.isfinite().all() for tensor in weights_of(run).values())


def test_an_interval_without_a_finite_loss_is_shown_plotted_and_gone_on_from(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    critic = adversarial.gradient_penalty
    calls = [False, False, True, False]  # the last first: the second step's penalty is not finite
    monkeypatch.setattr(
        adversarial,
        "gradient_penalty",
        lambda *of, **how: critic(*of, **how) / (0 if calls.pop() else 1),
    )
    reporter = Reporter(quiet=True)
    job = Job(
        tiny_with(training={"log_every": 1, "steps": 4}),
        index_data(boards, DataConfig(classes=tuple(CLASSES))),
    )
    with TrainingReport(reporter, 4) as report:
        run = job.begin(tmp_path, "bad")
        outcome = job.run(run, device=CPU, watcher=report, stop=lambda: False)
    assert outcome.steps == 4 and run.losses.is_file()
    assert ["gp" in line for line in read_json_lines(run.stats)] == [True, False, True, True]


def test_the_warm_up_says_how_long_it_may_take(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Listening(Silent):
        def phase(self, text: str) -> None:
            said.append(text)

    said: list[str] = []
    monkeypatch.setattr(warmup, "WINDOW", 1)
    start(tiny_with(training={"steps": 1}), boards, tmp_path, watcher=Listening())
    assert said[0].startswith("classifier ahead: step 1 of at most 2, cross-entropy")


@pytest.mark.parametrize(
    ("steps", "said"),
    [(100, "in 4 steps alone, 4 for each step of so short a training"), (3, "hard to tell apart")],
)
def test_a_warm_up_that_misses_its_goal_says_whether_it_had_its_time(
    steps: int, said: str, boards: Path, tmp_path: Path
) -> None:
    watcher = Silent()
    config = tiny_with(training={"steps": 1}, method={"warmup_steps": steps, "warmup_until": 0.01})
    start(config, boards, tmp_path, watcher=watcher)
    assert any(said in warning for warning in watcher.warnings)


def test_a_single_line_of_losses_is_seen_in_the_plot(tmp_path: Path) -> None:
    plot_losses(tmp_path / "losses.png", [{"step": 2, "rec": 0.5}])
    with Image.open(tmp_path / "losses.png") as plot:
        colours = np.asarray(plot.convert("RGB")).reshape(-1, 3)
    assert (colours == (31, 119, 180)).all(axis=1).sum() > 20


def test_a_batch_that_does_not_fit_into_memory_is_answered_with_one_that_does(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory ends where it is needed most: over the two passes of the generator's step."""
    step, loss = Engine.step, losses.reconstruction

    class Held:
        """A tensor of the step: memory that is free again only when it is gone."""

    held: weakref.WeakSet[Held] = weakref.WeakSet()

    def holding(self: Engine, t: int, batches: Any) -> dict[str, torch.Tensor]:
        assert not held
        tensor = Held()
        held.add(tensor)
        return step(self, t, batches)

    def short_of_memory(image: torch.Tensor, cycled: torch.Tensor) -> torch.Tensor:
        if len(image) > 2:  # normal images alone come back
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(image, cycled)

    monkeypatch.setattr(Engine, "step", holding)
    monkeypatch.setattr(losses, "reconstruction", short_of_memory)
    config = tiny_with(training={"batch_size": 16})
    with pytest.raises(TrainingError, match=r"a batch of 16 does not fit .* a batch of 4 fits"):
        start(config, boards, tmp_path)


def test_memory_that_ends_in_the_warm_up_is_answered_alike(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four fit: where all train, the classifier sees real and painted images at once."""
    classify = TowerCritic.classify

    def short_of_memory(self: TowerCritic, image: torch.Tensor) -> torch.Tensor:
        if len(image) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return classify(self, image)

    monkeypatch.setattr(TowerCritic, "classify", short_of_memory)
    config = tiny_with(training={"batch_size": 16})
    with pytest.raises(TrainingError, match=r"a batch of 16 does not fit .* a batch of 4 fits"):
        start(config, boards, tmp_path)


def test_the_judge_and_the_sheets_go_on_with_fewer_images_at_once(
    run: Path, tiny: Config, boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And come to the same: the run is the one that had memory enough."""
    paint = Painter.paint

    def short_of_memory(self: Painter, image: torch.Tensor, *given: Any) -> Any:
        if len(image) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return paint(self, image, *given)

    monkeypatch.setattr(Painter, "paint", short_of_memory)
    watcher = Silent()
    again = start(tiny, boards, tmp_path, watcher=watcher).run
    said = [text for text in watcher.warnings if "do not fit into memory" in text]
    assert len(said) == 2 and "sample sheet" in said[0] and "judge" in said[1]
    ours, theirs = losses_of(again), losses_of(run)
    for line, expected in zip(ours, theirs, strict=True):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_clock_waits_for_the_device_over_the_first_steps_and_each_line(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU a step returns before it is done: reading the sums is what waits for it."""
    flush, settled, behind = Averages.flush, [0], 0.3

    def synchronize(device: torch.device) -> None:
        settled[0] += 1

    def late(self: Averages) -> dict[str, float]:
        time.sleep(behind)
        return flush(self)

    monkeypatch.setattr(loop, "synchronize", synchronize)
    monkeypatch.setattr(Averages, "flush", late)
    watcher = Silent()
    steps = 2 * TIMED_STEPS
    start(tiny_with(training={"steps": steps, "log_every": 5}), boards, tmp_path, watcher=watcher)
    assert settled == [TIMED_STEPS]
    assert all(line["seconds_per_step"] * 5 > behind for line in watcher.lines)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_without_memory_for_a_judgement_or_a_sheet_the_training_is_saved_and_goes_on(
    error: Exception,
    run: Path,
    tiny: Config,
    boards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And comes to the same weights as one that had memory enough."""

    def short_of_memory(self: Painter, image: torch.Tensor, *given: Any) -> Any:
        raise error

    class Looks(Silent):
        def warn(self, text: str) -> None:
            super().warn(text)
            if match := re.match(r"no (judgement|sample sheet) at step (\d+): it does", text):
                (state,) = tmp_path.rglob("state.safetensors")
                assert load_tensors(state)[1].step == int(match[2])
                missing.append((match[1], int(match[2])))

    missing: list[tuple[str, int]] = []
    monkeypatch.setattr(Painter, "paint", short_of_memory)
    again = start(tiny, boards, tmp_path, watcher=Looks()).run
    steps = tiny.training.steps
    assert missing[0] == ("sample sheet", 0)
    assert {("judgement", steps), ("sample sheet", steps)} <= set(missing)
    ours, theirs = (load_tensors(RunFolder(r).weights)[0] for r in (again, run))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=0)


def test_sums_of_an_interval_go_back_to_the_device_of_its_terms() -> None:
    averages = Averages()
    averages.restore({"averages.rec": torch.zeros(2)}, torch.device("meta"))
    assert averages.state()["averages.rec"].device.type == "meta"


@pytest.fixture
def no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard writes in a thread of its own, whose errors belong to no test."""
    monkeypatch.setattr("defectgan.training.monitor.find_spec", lambda name: None)


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("no_events")
def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one_and_the_run_goes_on(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Config
) -> None:
    write = Training._write_checkpoint
    seen: list[int] = []

    def once_full(self: Training) -> None:
        if self._step == 4:
            with full_disk(1000):
                write(self)
        seen.append(self._step)
        write(self)

    monkeypatch.setattr(Training, "_write_checkpoint", once_full)
    watcher = Silent()
    outcome = start(tiny, boards, tmp_path, watcher=watcher)
    assert seen == [0, 2, 6] and load_tensors(outcome.run / "state.safetensors")[1].step == 6
    assert sum("previous files are kept" in warning for warning in watcher.warnings) == 1
    assert not list(outcome.run.rglob("*.part"))


@pytest.mark.usefixtures("no_events")
def test_a_disk_that_stays_full_ends_the_run_with_a_whole_checkpoint(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Config
) -> None:
    write = Training._write_checkpoint

    def full(self: Training) -> None:
        if self._step < 4:
            write(self)
            return
        with full_disk(1000):
            write(self)

    monkeypatch.setattr(Training, "_write_checkpoint", full)
    with pytest.raises(TrainingError, match=r"checkpoint not written .* free some room and resume"):
        start(tiny, boards, tmp_path)
    assert load_tensors((tmp_path / "latest").resolve() / "state.safetensors")[1].step == 2


def test_a_kind_of_file_that_fails_time_and_again_ends_the_run_whatever_else_succeeds() -> None:
    said: list[str] = []
    guard = Guard(Path("run"), said.append)

    def write(kind: str, *, full: bool) -> None:
        with guard(kind):
            if full:
                raise OSError(28, "No space left on device", "file")

    for _ in range(MAX_UNWRITTEN - 1):
        write("checkpoint", full=True)
        write("statistics", full=False)
    write("checkpoint", full=False)
    for _ in range(MAX_UNWRITTEN - 1):
        write("checkpoint", full=True)
    assert len(said) == 2 * (MAX_UNWRITTEN - 1) and "checkpoint not written to file" in said[0]
    with pytest.raises(TrainingError, match="No space left on device"):
        write("checkpoint", full=True)


def test_lines_that_cannot_be_appended_leave_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    append_json_lines(path, [{"step": 1}])
    with full_disk(20), pytest.raises(OSError):
        append_json_lines(path, [{"step": 2, "rest": "x" * 100}])
    append_json_lines(path, [{"step": 3}])
    assert read_json_lines(path) == [{"step": 1}, {"step": 3}]


def test_dead_masks_are_said_loudly_and_not_at_once(tmp_path: Path) -> None:
    stats = Stats(tmp_path / "stats.jsonl")
    dead = {"mask_deface": 0.0001, "mask_restore": 0.0001}
    warnings = [stats.append({"step": i, **dead}) for i in range(DEAD_LINES)]
    assert warnings[:-1] == [None] * (DEAD_LINES - 1)
    assert warnings[-1] is not None and "masks are dead" in warnings[-1]
    one = {"step": DEAD_LINES, "mask_deface": 0.1, "mask_restore": 0.0}
    assert [stats.append(one) for _ in range(DEAD_LINES)][-1] is not None
    alive = {"step": DEAD_LINES, "mask_deface": 0.1, "mask_restore": 0.1}
    assert stats.append(alive) is None


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    path.write_text(json.dumps({"step": 2}) + "\n" + '{"step": 4, "re')
    assert read_json_lines(path) == [{"step": 2}]


def rates(config: Config) -> dict[str, list[list[float]]]:
    """Those of each player's groups, a list a step."""
    method = make_method(config.method, Task(3, 2, config.data.image_size))
    state = State(config, method, device=CPU)
    found: dict[str, list[list[float]]] = {name: [] for name in state.optimisers}
    for t in range(config.training.steps):
        state.set_learning_rates(t)
        for name, adam in state.optimisers.items():
            found[name].append([group["lr"] for group in adam.param_groups])
    return found


def test_each_learning_rate_falls_linearly_from_its_own_start_to_the_final_value() -> None:
    config = tiny_with(
        optim={"lr": 1e-3, "final_lr": 1e-4}, method={"tower_lr": 4e-3}, training={"steps": 4}
    )
    found = rates(config)
    expected = [[1e-3, 4e-3], [7e-4, 2.7e-3], [4e-4, 1.4e-3], [1e-4, 1e-4]]
    assert np.allclose(found["critic"], expected)
    assert np.allclose(found["generator"], [pair[:1] for pair in expected])


def test_the_class_tower_alone_has_the_rate_of_its_own() -> None:
    config = tiny_with(method={"tower_lr": 4e-3})
    method = make_method(config.method, Task(3, 2, (32, 32)))
    state = State(config, method, device=CPU)
    critic = state.networks["critic"]
    assert isinstance(critic, TowerCritic)
    trunk, tower = (set(g["params"]) for g in state.optimisers["critic"].param_groups)
    assert tower == set(critic.tower.parameters()) and trunk | tower == set(critic.parameters())


def test_a_learning_rate_may_be_constant_before_it_falls() -> None:
    """As StarGAN's: over a share of the steps, then linearly to its last."""
    config = parse_config(
        {
            "data": {"image_size": 32},
            "method": {"name": "stargan", "width": 4, "critic_width": 4, "critic_layers": 3},
            "optim": {"lr": 1e-3, "final_lr": 0, "constant": 0.5},
            "training": {"steps": 9},
        },
        origin="tests",
    )
    expected = [1e-3] * 5 + [7.5e-4, 5e-4, 2.5e-4, 0]
    assert np.allclose(rates(config)["critic"], [[rate] for rate in expected])


def test_images_with_several_labels_train_by_binary_cross_entropy(
    tiny: Config, boards: Path, tmp_path: Path
) -> None:
    names = {k: sorted(p.name for p in (boards / k).iterdir()) for k in ("normal", "tin", "thread")}
    rows = [f"normal/{n}," for n in names["normal"]] + [f"tin/{n},tin|thread" for n in names["tin"]]
    rows += [f"thread/{n},thread" for n in names["thread"]]
    data = shutil.copytree(boards, tmp_path / "pcb")
    (data / "labels.csv").write_text("\n".join(["file,labels", *rows]))
    outcome = run_job(Job(tiny, index_data(data, DataConfig())), tmp_path / "runs")
    info = load_model(outcome.run).info
    assert info.multi_label and info.classes == ("normal", "thread", "tin")
    # Of the images drawn for thread half show tin too, all drawn for tin show thread:
    # p = 1/2, (1/2 (1 + 1)) / 2 and (1/2 (1/2 + 1)) / 2.
    p = np.array([0.5, 0.5, 0.375])
    expected = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()
    assert np.isclose(losses_of(outcome.run)[0]["cls_chance"], expected)


def test_a_damaged_weights_file_is_named(run: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "cut.safetensors"
    damaged.write_bytes(RunFolder(run).weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"cut\.safetensors is not a whole safetensors file"):
        load_model(damaged)


def test_weights_of_another_program_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="weights of another program"):
        load_model(tmp_path / "other.safetensors")


def test_a_stop_signal_ends_the_step_in_progress_and_saves(boards: Path, tmp_path: Path) -> None:
    from defectgan.training.watch import stop_signals

    class Stopping(Silent):
        def stepped(self, step: int) -> None:
            if step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)

    with stop_signals() as stop:
        outcome = start(
            tiny_with(training={"save_every": 100}), boards, tmp_path, stop=stop, watcher=Stopping()
        )
    assert outcome.interrupted and outcome.steps == 3
    assert load_tensors(RunFolder(outcome.run).state)[1].step == 3
