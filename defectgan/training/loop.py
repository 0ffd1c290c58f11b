"""The run around the method: time, logging, saving, going on."""

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor

from defectgan.config import Config, dump_config
from defectgan.data.dataset import make_batches
from defectgan.data.index import Index, write_split
from defectgan.data.loader import Key, Loader, worker_count
from defectgan.devices import bf16_serves
from defectgan.errors import TrainingError
from defectgan.files import append_json_lines, read_json_lines, write_atomically
from defectgan.runs import RunFolder
from defectgan.training.checkpoint import ModelInfo, load_tensors, save_tensors, weights_file
from defectgan.training.engine import LEAD_PART, Engine
from defectgan.training.monitor import Averages, Events, Sampler, Stats, plot_losses
from defectgan.training.peers import ALONE, Peers
from defectgan.training.step import Terms
from defectgan.training.transfer import Classes

# Files that could not be written, one after the other, before the training stops.
MAX_UNWRITTEN = 4
# Lead steps over which the classifier's progress is averaged.
LEAD_WINDOW = 50


class Watcher(Protocol):
    """Who is told how a training goes."""

    def phase(self, text: str) -> None:
        """A part of the work begins."""

    def stepped(self, step: int) -> None:
        """A step is done; nothing has been measured."""

    def logged(self, line: dict[str, Any]) -> None:
        """A log interval has ended; the line is what stats.jsonl got."""

    def warn(self, text: str) -> None:
        """A sentence that must not be missed."""


@dataclass(frozen=True)
class Outcome:
    """What a training came to; ``interrupted`` where it was asked to stop before its last step."""

    run: Path
    weights: Path
    steps: int
    seconds: float
    images_per_second: float
    interrupted: bool


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and a batch system's SIGTERM end the training after the step in progress instead
    of within it.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _skipped(file: tuple[Path, str]) -> dict[str, str]:
    return {"file": str(file[0]), "reason": file[1]}


class Training:
    """One training in one run folder."""

    def __init__(
        self,
        config: Config,
        index: Index,
        run: RunFolder,
        *,
        device: torch.device,
        watcher: Watcher,
        peers: Peers = ALONE,
    ) -> None:
        self.config = config
        self.peers = peers
        self.run = run
        self._watcher = watcher
        self._info = ModelInfo.of(config, index)
        bf16 = bf16_serves(device, config.training.precision)
        self._engine = Engine(self._info, device=device, bf16=bf16, peers=peers)
        rows = peers.part(config.training.batch_size // 2)
        self._batches = make_batches(config, index, folder=run.path, rows=rows)
        self._workers = worker_count(config.data.workers, self._batches, device)
        self._sampler = Sampler(self._batches, device=device)
        self._averages = Averages()
        self._stats = Stats(run.stats)
        self._images_per_step = config.training.batch_size * (config.training.n_critic + 1)
        self._step = 0
        self._started = self._logged = 0.0
        self._logged_step = 0
        self._bad_steps = 0
        self._unwritten = 0
        self._saved = -1
        if peers.first:
            write_atomically(run.config, dump_config(config).encode())
            write_split(run.split, index)
            if index.skipped:
                append_json_lines(run.skipped, map(_skipped, index.skipped))
        self._reported = {row["file"] for row in read_json_lines(run.skipped)}

    def resume(self) -> None:
        """Take over the state that the run folder holds.

        A run that ended before its first checkpoint begins anew: all that it did is a function of
        the seed.
        """
        if self.run.state.is_file():
            tensors, info = load_tensors(self.run.state)
            self._engine.restore(tensors)
            self._averages.restore(tensors)
            self._step = info.step
            if self.peers.first:
                # A kill may have come between the two files of a checkpoint.
                self._save_weights()
        if self.peers.first:
            self._stats.rewind(self._step)

    def go(self, stop: Callable[[], bool]) -> Outcome:
        """Train to the last step, or until ``stop`` says so.

        Raises:
            TrainingError: if losses or gradients stay not finite, memory does not suffice, or the
                disk stays full; the last checkpoint is whole.
        """
        self._started = time.perf_counter()
        first = self._step
        if self._step == 0 and not self.peers.any(self.run.state.is_file()):
            self._begin()
            if not self._lead(stop):
                return self._outcome(0)
            self._sample()
            self._save()
        events = Events(self.run.path if self.peers.first else None, first_step=first + 1)
        with closing(events):
            self._loop(stop, events)
        if self.peers.first:
            self._plot()
        return self._outcome(self._step - first)

    def _loop(self, stop: Callable[[], bool], events: Events) -> None:
        training = self.config.training
        steps, parts = range(self._step, training.steps), range(training.n_critic + 1)
        self._logged, self._logged_step = time.perf_counter(), self._step
        self._watcher.phase("training")
        with self._loader(product(steps, parts)) as batches:
            while self._step < training.steps and not self.peers.any(stop()):
                self._averages.add(self._one_step(batches))
                self._step += 1
                self._report_damage()
                self._watcher.stepped(self._step)
                last = self._step == training.steps
                if last or self._step % training.log_every == 0:
                    self._log(events, batches)
                if last or self._step % training.sample_every == 0:
                    self._sample()
                if last or self._step % training.save_every == 0:
                    self._save()
        if self._saved < self._step:
            self._write_checkpoint()

    def _begin(self) -> None:
        """Take over the weights to begin with, if there are to be any, and say what came along."""
        start = self.config.training.init_from
        if start is None:
            return
        tensors, info = load_tensors(weights_file(Path(start)))
        classes = Classes(info.classes, self._info.classes)
        with_critic = self._engine.begin_from(tensors, classes)
        critic = "" if with_critic else "; the file has no critic, which begins at random"
        self._watcher.phase(f"begins with the weights of {start}: {classes.describe()}{critic}")

    def _one_step(self, batches: Loader) -> Terms:
        try:
            return self._engine.step(self._step, batches)
        except torch.OutOfMemoryError as error:
            size = self.config.training.batch_size
            fits = ""
            if self.peers.size == 1:  # several could not try together: one of them is here alone
                largest = self._engine.largest_batch(size, self._batches)
                fits = f"a batch of {largest} fits; " if largest else "no batch fits; "
            raise TrainingError(
                f"a batch of {size} does not fit into the memory of {self._engine.device}: "
                f"{fits}train with a smaller batch or image size"
            ) from error

    def _loader(self, keys: Iterable[Key]) -> Loader:
        return Loader(self._batches, keys, workers=self._workers)

    def _report_damage(self) -> None:
        """Write down the files that turned out to be damaged, once each."""
        for file in self._batches.images.damaged.items():
            if str(file[0]) not in self._reported:
                self._reported.add(str(file[0]))
                append_json_lines(self.run.skipped, [_skipped(file)])
                self._watcher.warn(f"left out: {file[1]}")

    def _lead(self, stop: Callable[[], bool]) -> bool:
        """Train the classifier alone until it beats chance clearly, so that the generator gets a
        class signal at once; False if it was asked to stop.
        """
        training = self.config.training
        goal = training.lead_until * self._chance()
        window: list[Tensor] = []
        with self._loader((t, LEAD_PART) for t in range(training.lead_steps)) as batches:
            for t in range(training.lead_steps):
                if self.peers.any(stop()):
                    return False
                window = [*window[1 - LEAD_WINDOW :], self._engine.lead_step(t, batches)["cls_r"]]
                if (t + 1) % LEAD_WINDOW == 0:
                    mean = float(self._shared_mean(window))
                    self._watcher.phase(
                        f"classifier ahead: step {t + 1}, cross-entropy {mean:.2f} "
                        f"(chance {self._chance():.2f}, goal {goal:.2f})"
                    )
                    if mean < goal:
                        return True
        if training.lead_steps:
            self._watcher.warn(
                f"the classifier did not reach its goal in {training.lead_steps} steps alone: the "
                "classes are hard to tell apart, expect the generator to learn slowly"
            )
        return True

    def _shared_mean(self, values: list[Tensor]) -> Tensor:
        mean = torch.stack(values).mean()
        self.peers.average([mean])
        return mean

    def _chance(self) -> float:
        """The classification loss of a critic that knows only how often classes are drawn."""
        if not self._info.multi_label:
            return math.log(2) + 0.5 * math.log(len(self._info.classes) - 1)
        members = self._batches.images.index.members[1:]
        shares = [0.5] + [
            0.5 * fmean(fmean(name in s.labels for s in of_class) for of_class in members)
            for name in self._info.classes[1:]
        ]
        return -sum(p * math.log(p) + (1 - p) * math.log(1 - p) for p in shares)

    def _log(self, events: Events, batches: Loader) -> None:
        now = time.perf_counter()
        self._averages.share(self.peers)
        skipped = round(self._averages.total("skipped") / self.peers.size)
        terms = self._averages.flush()
        self._bad_steps += skipped
        if skipped:
            self._watcher.warn(
                f"{skipped} steps up to step {self._step} were left out: a loss or a gradient was "
                "not finite"
            )
        if self._bad_steps > self.config.training.max_bad_steps or "rec" not in terms:
            self._save()  # what was not finite has changed nothing
            raise self._diverged(f"{self._bad_steps} steps had a loss or a gradient not finite")
        interval = self._step - self._logged_step
        seconds = now - self._logged
        self._logged, self._logged_step = now, self._step
        waited, batches.waited = batches.waited, 0.0
        line = {
            "step": self._step,
            "seconds": round(now - self._started, 1),
            "seconds_per_step": round(seconds / interval, 4),
            "images_per_second": round(interval * self._images_per_step / seconds, 1),
            "data_wait": round(waited / seconds, 4),
            "cls_chance": self._chance(),
            **terms,
        }
        self._watcher.logged(line)
        if not self.peers.first:
            return
        with self._full_disk_waits():
            if warning := self._stats.append(line):
                self._watcher.warn(warning)
            events.append(line)

    def _sample(self) -> None:
        if not self.peers.first:
            return
        path = self.run.samples / f"step-{self._step:06d}.png"
        with self._full_disk_waits():
            self._sampler.sheet(path, self._engine.average)

    @contextmanager
    def _full_disk_waits(self) -> Iterator[None]:
        """A file that cannot be written is done without, unless that happens time and again."""
        try:
            yield
        except OSError as error:
            self._unwritten += 1
            what = f"{error.filename or self.run.path}: {error.strerror or error}"
            if self._unwritten == MAX_UNWRITTEN:
                raise TrainingError(
                    f"{what}; {MAX_UNWRITTEN} files in a row could not be written. The last whole "
                    f"checkpoint is in {self.run.path}: free some room and resume"
                ) from error
            self._watcher.warn(f"{what}; the previous files are kept, and the training goes on")
        else:
            self._unwritten = 0

    def _save(self) -> None:
        with self._full_disk_waits():
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        state = self._engine.state() | self._averages.state()
        if bad := [name for name, tensor in state.items() if not tensor.isfinite().all()]:
            raise self._diverged(f"{bad[0]} not finite")
        if self.peers.first:
            save_tensors(self.run.state, state, self._now())
            self._save_weights()
        self._saved = self._step

    def _save_weights(self) -> None:
        save_tensors(self.run.weights, self._engine.weights(), self._now())

    def _now(self) -> ModelInfo:
        return replace(self._info, step=self._step)

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"{what} at step {self._step}: the checkpoint in {self.run.path} holds the last good "
            "weights. Resume in fp32, or train with a lower learning rate"
        )

    def _plot(self) -> None:
        lines = read_json_lines(self.run.stats)
        if not lines:
            return
        try:
            plot_losses(self.run.losses, lines)
        except ImportError:
            self._watcher.warn(
                f"no {self.run.losses.name}: it needs matplotlib (the extra 'plots')"
            )

    def _outcome(self, done: int) -> Outcome:
        training = self.config.training
        seconds = time.perf_counter() - self._started
        return Outcome(
            run=self.run.path,
            weights=self.run.weights,
            steps=self._step,
            seconds=round(seconds, 1),
            images_per_second=round(done * self._images_per_step / seconds, 1),
            interrupted=self._step < training.steps,
        )
