"""Generators for the test where none are given: trained on the real training images alone, each
with a seed of its own.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from defectgan.errors import DataError
from defectgan.evaluation.real import RealSplit, as_table, same_table
from defectgan.methods.config import Config, load_config
from defectgan.model.file import read_info
from defectgan.runs import RunFolder
from defectgan.training import Job, Watcher, resumed_job

RUNS = "runs"


def of_seeds(config: Config, count: int) -> list[Config]:
    """The settings of so many generators that differ in their seed alone, which counts up from that
    of ``config``.
    """
    first = config.training.seed
    return [
        config.model_copy(
            update={"training": config.training.model_copy(update={"seed": first + i})}
        )
        for i in range(count)
    ]


def train_generator(
    real: RealSplit,
    config: Config,
    out: Path,
    *,
    device: torch.device,
    watcher: Watcher,
    stop: Callable[[], bool],
) -> Path | None:
    """Train below ``out/runs``, or go on with the run of this seed there; one that is done is not
    touched.

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
        SettingError: if the run there was begun with other settings.
        DataError: if it learns from other images.
        TrainingError: if it cannot go on.
    """
    runs = out / RUNS
    job = Job(config, real.index)
    if (run := run_of_seed(runs, config.training.seed)) is not None:
        job = resumed_job(run.path, config.model_dump())
        if not same_table(as_table(job.index), as_table(real.index)):
            raise DataError(
                f"{run.path} learns from other images than the split says now (see "
                f"{run.split.name}): name another folder, nothing was trained"
            )
        # Saving it anew would give its file another digest.
        if run.weights.is_file() and read_info(run.weights).step == config.training.steps:
            return run.path
    outcome = job.run(job.begin(runs, "gain"), device=device, watcher=watcher, stop=stop)
    return None if outcome.interrupted else outcome.run


def run_of_seed(runs: Path, seed: int) -> RunFolder | None:
    """The newest run below a folder whose training has this seed."""
    folders = sorted(runs.iterdir(), reverse=True) if runs.is_dir() else []
    begun = (RunFolder(path) for path in folders if not path.is_symlink())
    return next(
        (
            run
            for run in begun
            if run.config.is_file() and load_config(run.config, {}).training.seed == seed
        ),
        None,
    )
