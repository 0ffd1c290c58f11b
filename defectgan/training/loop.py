"""The run around the method: time, logging, saving, going on."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from defectgan.data.index import Index
from defectgan.data.loader import Key, Loader, worker_count
from defectgan.devices import bf16_serves, synchronize
from defectgan.errors import ModelError, TrainingError
from defectgan.files import append_json_lines, read_json_lines
from defectgan.memory import attempt
from defectgan.methods.base import CRITIC, Terms
from defectgan.methods.config import Config
from defectgan.methods.registry import make_method
from defectgan.metrics.kernel import Estimate
from defectgan.model.file import first_weights, load_tensors, save_tensors
from defectgan.model.info import ModelInfo
from defectgan.model.painter import Painter
from defectgan.model.transfer import Classes
from defectgan.networks.critic import Critic
from defectgan.runs import RunFolder
from defectgan.training import TIMED_STEPS
from defectgan.training.batches import make_batches
from defectgan.training.best import Best
from defectgan.training.distributed import ALONE, World
from defectgan.training.guard import Guard, Spared
from defectgan.training.judge import Judge
from defectgan.training.judge_features import (
    FIXED,
    ClassifierFeatures,
    JudgeFeatures,
    network_features,
    restored_features,
)
from defectgan.training.monitor import Averages, Events, Sampler, Stats, plot_losses
from defectgan.training.step import WARMUP_PART, Engine, not_finite
from defectgan.training.warmup import (
    NO_FEATURES,
    NO_WARMUP,
    chance_loss,
    longest,
    missed_goal,
    take_warm_up,
)
from defectgan.training.watch import Outcome, Watcher
from defectgan.words import counted

CHECKPOINT = "checkpoint"
# In the state: the lowest share of a judgement so far, as an estimate's terms.
LOWEST = "lowest"
# Real images of a class by which networks settle, at most.
SETTLED = 64


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
        world: World = ALONE,
    ) -> None:
        self.config = config
        self.world = world
        self.run = run
        self._watcher = watcher
        self._guard = Guard(run.path, watcher.warn)
        self._info = ModelInfo.of(config, index)
        bf16 = bf16_serves(device, config.training.precision)
        method = make_method(config.method, self._info.task)
        self._info = replace(self._info, taught_by=method.taught_by)
        self._engine = Engine(config, method, device=device, bf16=bf16, world=world)
        rows = world.part(config.training.batch_size // 2)
        self._batches = make_batches(
            config,
            index,
            folder=run.path,
            rows=rows,
            truths=method.wants_truths,
            drawn=self._engine.drawn_parts,
        )
        self._workers = worker_count(config.data.workers, self._batches, device)
        self._spared = Spared(world, self._save, watcher.warn)
        self._sampler = Sampler(self._batches, device=device, say=watcher.warn)
        self._features: JudgeFeatures | None = None
        self._best = Best()
        self._averages = Averages()
        self._stats = Stats(run.stats)
        self._images_per_step = config.training.batch_size * self._engine.batches_per_step
        self._chance = chance_loss(index)
        self._step = 0
        self._started = self._logged = 0.0
        self._logged_step = 0
        self._bad_steps = 0
        self._saved = -1
        self._settled = -1
        self._finer: dict[int, Tensor] = {}
        self._saved_at = 0.0
        self._reported = {row["file"] for row in read_json_lines(run.skipped)}

    def resume(self) -> None:
        """Take over the state that the run folder holds.

        A run that ended before its first checkpoint begins anew: all that it did is a function of
        the seed.

        Raises:
            ModelError: if the state is damaged, of a format that is not read, or of other networks.
        """
        if self.run.state.is_file():
            tensors, info = load_tensors(self.run.state)
            if info.networks != self._info.networks:
                raise ModelError(
                    f"{self.run.state} is not of a training with the settings and classes in "
                    f"{self.run.config.name} and {self.run.split.name}: bring back those that the "
                    "run began with"
                )
            self._engine.state.restore(tensors)
            self._averages.restore(tensors, self._engine.device)
            device, say = self._engine.device, self._watcher.warn
            self._features = restored_features(self._critic, tensors, device=device, say=say)
            if self._features is not None and LOWEST in tensors:
                self._best = Best(Estimate(tensors[LOWEST].to(self._engine.device)))
            if self._features is None and self._engine.warm_up and FIXED not in tensors:
                self._watcher.warn(NO_FEATURES)
            self._step = info.step
            self._info = self._info.after(info)
            if self.world.first:
                # A kill may have come between the two files of a checkpoint.
                self._save_weights(self.run.weights)
        if self.world.first:
            self._stats.rewind(self._step)

    def go(self, stop: Callable[[], bool]) -> Outcome:
        """Train to the last step, or until ``stop`` says so.

        Raises:
            TrainingError: if losses or gradients stay not finite, memory does not suffice, or the
                disk stays full; the last checkpoint is whole.
        """
        self._started = time.perf_counter()
        first = self._step
        if self._step == 0 and not self.world.any(self.run.state.is_file()):
            self._begin()
            by, taught = self.config.training.judge, self._info.taught_by
            self._features = network_features(by, taught, device=self._engine.device)
            if not self._warmed_up(stop):
                return self._outcome(0)
            self._sample()
            self._save()
        events = Events(self.run.path if self.world.first else None, first_step=first + 1)
        try:
            self._loop(stop, events)
        finally:
            with self._guard("events"):
                events.close()
        if self.world.first:
            self._plot()
        return self._outcome(self._step - first)

    def _loop(self, stop: Callable[[], bool], events: Events) -> None:
        training = self.config.training
        steps, parts = range(self._step, training.steps), range(self._engine.batches_per_step)
        device, features, say = self._engine.device, self._features, self._watcher.warn
        self._judge = Judge(self.config, self._batches, device=device, features=features, say=say)
        self._saved_at = self._logged = time.perf_counter()
        self._logged_step = self._step
        timed = self._step + TIMED_STEPS
        self._watcher.phase("training")
        with self._loader(product(steps, parts)) as batches:
            while self._step < training.steps:
                stopped, due = self.world.each(stop(), self._save_is_due())
                if stopped:
                    break
                self._averages.add(self._one_step(batches))
                self._step += 1
                if self._step <= timed:
                    synchronize(device)
                self._watcher.stepped(self._step)
                last = self._step == training.steps
                if last or self._step % training.log_every == 0:
                    self._log(events, batches)
                if last or self._step % training.sample_every == 0:
                    self._sample()
                if last or due:
                    self._save()
        if self.world.any(self._saved < self._step):
            self._averages.share(self.world)
            try:
                self._write_checkpoint()
            except OSError as error:
                raise self._guard.lost(CHECKPOINT, error) from error

    def _save_is_due(self) -> bool:
        """Whether to save after the step to come; a clock is that of the first process alone."""
        training = self.config.training
        if training.save_every is not None:
            return (self._step + 1) % training.save_every == 0
        late = time.perf_counter() - self._saved_at >= 60 * training.save_minutes
        return self.world.first and late

    def _begin(self) -> None:
        """Take over the weights to begin with, if there are to be any, and say what came along."""
        start = self.config.training.start
        if start is None:
            return
        tensors, info = load_tensors(first_weights(start))
        classes = Classes(info.classes, self._info.classes)
        absent = self._engine.state.begin_from(tensors, classes, info.channels)
        self._info = self._info.after(info)
        at_random = f"; the file has no {absent[0]}, which begins at random" if absent else ""
        self._watcher.phase(f"begins with the weights of {start}: {classes.describe()}{at_random}")

    def _one_step(self, batches: Loader) -> Terms:
        terms = attempt(lambda: self._engine.step(self._step, batches))
        if terms is None:
            raise self._too_large()
        return terms

    def _too_large(self) -> TrainingError:
        """What to raise where a step does not fit into memory."""
        size = self.config.training.batch_size
        fits = ""
        if self.world.size == 1:  # several could not try together: one of them is here alone
            largest = self._engine.largest_batch(size, self._batches)
            fits = f"a batch of {largest} fits; " if largest else "no batch fits; "
        return TrainingError(
            f"a batch of {size} does not fit into the memory of {self._engine.device}: "
            f"{fits}train with a smaller batch or image size"
        )

    def _loader(self, keys: Iterable[Key]) -> Loader:
        return Loader(self._batches, keys, workers=self._workers)

    def _report_damage(self) -> None:
        """Write down the files that turned out to be damaged, whoever found them, once each."""
        damaged = {str(file): reason for file, reason in self._batches.images.damaged.items()}
        for found in map(json.loads, self.world.gather(json.dumps(damaged))):
            for file, reason in found.items():
                if file not in self._reported:
                    self._reported.add(file)
                    self._watcher.warn(f"left out: {reason}")
                    if self.world.first:
                        with self._guard("left-out files"):
                            append_json_lines(self.run.skipped, [{"file": file, "reason": reason}])

    def _warmed_up(self, stop: Callable[[], bool]) -> bool:
        """Let the classifier train alone; False if it was asked to stop."""
        warm_up, steps = self._engine.warm_up, self.config.training.steps
        if warm_up is None:
            if self._features is None:
                self._watcher.phase(NO_WARMUP)
            return True
        keys = ((t, WARMUP_PART) for t in range(longest(warm_up, steps)))
        with self._loader(keys) as batches:
            watcher = self._watcher
            done = attempt(
                lambda: (
                    take_warm_up(
                        self._engine, batches, warm_up, self._chance, watcher=watcher, stop=stop
                    ),
                )
            )
        if done is None:
            raise self._too_large()
        (ahead,) = done
        if ahead is False:
            self._watcher.warn(missed_goal(warm_up, steps))
        if self._features is None and self._critic is not None:
            self._features = ClassifierFeatures(self._critic.reader)
        return ahead is not None

    def _log(self, events: Events, batches: Loader) -> None:
        self._report_damage()
        self._averages.share(self.world)
        skipped = self._averages.total("skipped")
        terms = self._averages.flush()
        now = time.perf_counter()  # read now that the device has done these steps
        self._bad_steps += skipped
        if skipped:
            self._watcher.warn(
                f"left out {counted(skipped, 'step')} up to step {self._step}: a loss or a "
                "gradient was not finite"
            )
        if self._bad_steps > self.config.training.max_bad_steps:
            self._save()  # what was not finite has changed nothing
            raise self._diverged(
                f"{counted(self._bad_steps, 'step')} had a loss or a gradient not finite"
            )
        interval = self._step - self._logged_step
        seconds = now - self._logged
        waited, batches.waited = batches.waited, 0.0
        line = {
            "step": self._step,
            "seconds": round(now - self._started, 1),
            "seconds_per_step": round(seconds / interval, 4),
            "images_per_second": round(interval * self._images_per_step / seconds, 1),
            "data_wait": round(waited / seconds, 4),
            **({} if self._critic is None else {"cls_chance": self._chance}),
            **terms,
            **self._judged(),
        }
        self._logged, self._logged_step = time.perf_counter(), self._step
        self._watcher.logged(line)
        if not self.world.first:
            return
        with self._guard("statistics"):
            if warning := self._stats.append(line):
                self._watcher.warn(warning)
            events.append(line)

    def _judged(self) -> dict[str, float]:
        """The judge's measures where it is their turn; the best weights so far are kept."""
        training = self.config.training
        # A function of the step alone, so that it does not matter where a run was stopped.
        before = (self._step - 1) // training.log_every * training.log_every
        due = self._step // training.eval_every > before // training.eval_every
        if not (due or self._step == training.steps):
            return {}
        judged = self._spared(
            f"judgement at step {self._step}",
            lambda: self._judge(self._painting()),
        )
        if judged is None:
            return {}
        if judged.share is not None and self._best.takes(judged.share):
            with self._guard("best weights"):
                self._save_weights(self.run.best)
        return judged.measures

    def _sample(self) -> None:
        path = self.run.samples / f"step-{self._step:06d}.png"

        def sheet() -> None:
            with self._guard("samples"):
                self._sampler.sheet(path, self._painting())

        self._spared(f"sample sheet at step {self._step}", sheet)

    def _save(self) -> None:
        self._averages.share(self.world)
        with self._guard(CHECKPOINT):
            self._write_checkpoint()
        self._saved_at = time.perf_counter()

    def _write_checkpoint(self) -> None:
        self._painting()
        state = self._engine.state.tensors() | self._averages.state()
        if bad := not_finite(state):
            raise self._diverged(f"{bad[0]} not finite")
        if self.world.first:
            if self._features is not None:
                state |= self._features.state()
            if self._best.lowest is not None:
                state[LOWEST] = self._best.lowest.terms
            save_tensors(self.run.state, state, self._now())
            self._save_weights(self.run.weights)
        self._saved = self._step

    def _painting(self) -> Painter:
        """What paints, as ready as it is after this step."""
        painter = self._engine.state.painting
        if self._settled != self._step:
            painter.method.settle(painter.networks, self._real)
            self._settled = self._step
        return painter

    def _real(self, k: int, times: int) -> Tensor:
        """Real images of a class, at most ``SETTLED`` of them, at so many pixels for each that the
        networks see.
        """
        count = min(SETTLED, len(self._batches.images.index.members[k]))
        if times == 1:
            images = self._batches.fixed(k, count)
        else:
            # Read from their files once: a training settles often.
            if k not in self._finer:
                self._finer[k] = self._batches.finer(k, count, times).half()
            images = self._finer[k].float()
        return images.to(self._engine.device, memory_format=torch.channels_last)

    def _save_weights(self, path: Path) -> None:
        save_tensors(path, self._engine.state.weights(), self._now())

    @property
    def _critic(self) -> Critic | None:
        """The critic that knows classes, where the method has one."""
        return cast(Critic | None, self._engine.state.networks.get(CRITIC))

    def _now(self) -> ModelInfo:
        return replace(self._info, step=self._step)

    def _diverged(self, what: str) -> TrainingError:
        fp32 = "resume in fp32 (training.precision), or " if self._engine.bf16 else ""
        return TrainingError(
            f"{what} at step {self._step}: the checkpoint in {self.run.path} holds the last good "
            f"weights; {fp32}train with a lower learning rate (optim.lr)"
        )

    def _plot(self) -> None:
        lines = read_json_lines(self.run.stats)
        if not lines:
            return
        try:
            with self._guard("the plot of the losses"):
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
            weights=self.run.weights if self.run.weights.is_file() else None,
            steps=self._step,
            seconds=round(seconds, 1),
            images_per_second=round(done * self._images_per_step / seconds, 1),
            interrupted=self._step < training.steps,
        )
