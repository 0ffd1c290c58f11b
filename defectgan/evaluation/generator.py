"""A generator for the test where none is given: trained on the real training images alone."""

from collections.abc import Callable
from pathlib import Path

import torch

from defectgan.config import Config
from defectgan.errors import DataError, SettingError
from defectgan.evaluation.plan import GENERATED
from defectgan.evaluation.real import RealSplit, as_table
from defectgan.runs import LATEST, RunFolder, find_run
from defectgan.training.checkpoint import read_info
from defectgan.training.job import Job, resumed_job
from defectgan.training.watch import Watcher

RUNS = "runs"


def train_generator(
    real: RealSplit,
    config: Config,
    out: Path,
    *,
    device: torch.device,
    watcher: Watcher,
    stop: Callable[[], bool],
) -> Path | None:
    """Train below ``out/runs``, or go on with the run there; one that is done is not touched.

    Args:
        real: the images; those held out are left alone, but that validation images judge.
        config: the settings.
        out: the folder of the test.
        device: where to compute.
        watcher: who is told how it goes.
        stop: says when to end early.

    Returns:
        The run, None if it was stopped early.

    Raises:
        SettingError: if the run there was begun with other settings, or images are there already
            that are not of what it would come to.
        DataError: if it learns from other images.
        TrainingError: if it cannot go on.
    """
    runs = out / RUNS
    job = Job(config, real.index)
    if (runs / LATEST).is_dir():
        run = RunFolder(find_run(None, runs=runs))
        job = resumed_job(run.path, config.model_dump())
        if as_table(job.index) != as_table(real.index):
            raise DataError(
                f"{run.path} learns from other images than the split says now (see "
                f"{run.split.name}): name another folder, nothing was trained"
            )
        # Saving it anew would give its file another digest.
        if run.weights.is_file() and read_info(run.weights).step == config.training.steps:
            return run.path
    if (made := out / GENERATED).exists():
        raise SettingError(
            f"{made} is there already, and {config.training.steps} steps would make another "
            "generator than the one that painted it: name another folder, or as many steps as "
            "then; nothing was trained"
        )
    outcome = job.run(job.begin(runs, "gain"), device=device, watcher=watcher, stop=stop)
    return None if outcome.interrupted else outcome.run
