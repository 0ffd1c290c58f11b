"""A generator for the test where none is given: trained on the real training images alone."""

from collections.abc import Callable
from pathlib import Path

import torch

from defectgan.config import Config
from defectgan.evaluation.real import RealSplit
from defectgan.runs import LATEST, find_run
from defectgan.training.job import Job, resumed_job
from defectgan.training.loop import Outcome, Watcher

RUNS = "runs"


def train_generator(
    real: RealSplit,
    config: Config,
    out: Path,
    *,
    device: torch.device,
    watcher: Watcher,
    stop: Callable[[], bool],
) -> Outcome:
    """Train below ``out/runs``, or go on with the run that is there.

    Args:
        real: the images; those held out are left alone, but that validation images judge.
        config: the settings.
        out: the folder of the test.
        device: where to compute.
        watcher: who is told how it goes.
        stop: says when to end early.

    Raises:
        SettingError: if the run there was begun with other settings.
        TrainingError: if it cannot go on.
    """
    runs = out / RUNS
    if (runs / LATEST).is_dir():
        job = resumed_job(find_run(None, runs=runs), config.model_dump())
    else:
        job = Job(config, real.index)
    return job.run(job.begin(runs, "gain"), device=device, watcher=watcher, stop=stop)
