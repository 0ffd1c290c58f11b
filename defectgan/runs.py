"""Run folders: how they are named, made and found again.

runs/<time>-<name>/
    config.yaml                the resolved settings
    split.json                 the files that it learns from, and those that are held out
    skipped.jsonl              files that could not be used, each with its reason
    stats.jsonl                a line each log interval
    losses.png                 the same as a plot, at the end
    samples/step-*.png         what it paints
    weights/last.safetensors   averaged generator, critic, settings, classes: all that generating
                               needs
    weights/best.safetensors   the same of the step that was judged best so far
    state.safetensors          networks, optimisers, step: all that going on needs
    log.txt                    what was said
runs/latest                    points to the newest
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from defectgan.errors import ModelError
from defectgan.names import plain_name
from defectgan.ours import mark_own

RUNS = Path("runs")
LATEST = "latest"
# What torchrun tells its processes: which job they are of, how often it may be started again.
ELASTIC_JOB, ELASTIC_LIMIT = "TORCHELASTIC_RUN_ID", "TORCHELASTIC_MAX_RESTARTS"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one training."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def split(self) -> Path:
        return self.path / "split.json"

    @property
    def skipped(self) -> Path:
        return self.path / "skipped.jsonl"

    @property
    def stats(self) -> Path:
        return self.path / "stats.jsonl"

    @property
    def losses(self) -> Path:
        return self.path / "losses.png"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def weights(self) -> Path:
        return self.path / "weights" / "last.safetensors"

    @property
    def best(self) -> Path:
        return self.path / "weights" / "best.safetensors"

    @property
    def state(self) -> Path:
        return self.path / "state.safetensors"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"


def new_run(runs: Path, name: str) -> RunFolder:
    """Make ``runs/<time>-<name>/`` and let ``runs/latest`` point to it; an existing folder is never
    reused.
    """
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{plain_name(name)}"
    path = _made(runs / stem)
    mark_own(path, "a training")
    _point(runs / LATEST, path)
    if int(os.environ.get(ELASTIC_LIMIT, "0")):
        _point(runs / f".{plain_name(os.environ[ELASTIC_JOB])}", path)
    return RunFolder(path)


def _made(path: Path) -> Path:
    """A new folder of this name, or with a number behind it."""
    while True:
        try:
            new = unused(path)
            new.mkdir(parents=True)
            return new
        except FileExistsError:  # another training of the same second
            continue


def restarted_run(runs: Path) -> Path | None:
    """The run that this torchrun job made before its processes were started again, if any."""
    link = runs / f".{plain_name(os.environ[ELASTIC_JOB])}"
    return link.resolve() if link.is_dir() else None


def beside(model: Path) -> Path:
    """Where results about a model go: its run folder, or here for weights alone."""
    return model if model.is_dir() else Path()


def unused(path: Path) -> Path:
    """The path, or the path with the first number behind it that is not taken."""
    candidate, count = path, 1
    while candidate.exists():
        count += 1
        candidate = path.with_name(f"{path.name}-{count}")
    return candidate


def _point(link: Path, path: Path) -> None:
    made = link.with_name(f".{link.name}-{os.getpid()}")
    made.unlink(missing_ok=True)
    made.symlink_to(path.name, target_is_directory=True)
    os.replace(made, link)


def runs_folder() -> Path:
    """Where runs are looked for: ``DEFECTGAN_RUNS``, or ``runs`` here."""
    return Path(os.environ.get("DEFECTGAN_RUNS", RUNS))


def find_model(model: Path | None, *, runs: Path | None = None) -> Path:
    """A model by its run folder or its weights; for None or ``latest`` the newest run below
    ``runs`` that has weights: a training may have ended before there were any.

    Raises:
        ModelError: if there is none.
    """
    if model is not None and model.name != LATEST:
        return model
    if model is not None and model != Path(LATEST):
        runs = model.parent
    runs = runs or runs_folder()
    newest = find_run(None, runs=runs)
    if RunFolder(newest).weights.is_file():
        return newest
    # The names begin with the time.
    trained = [p for p in runs.iterdir() if not p.is_symlink() and RunFolder(p).weights.is_file()]
    if not trained:
        raise ModelError(
            f"no run under {runs.resolve()} has weights: the newest, {newest.name}, ended before "
            "its first step; go on with it, or name weights"
        )
    return max(trained).resolve()


def find_run(run: Path | None, *, runs: Path | None = None) -> Path:
    """A run by its folder; the newest one below ``runs`` for None or ``latest``.

    Raises:
        ModelError: if there is none.
    """
    if run is not None and run != Path(LATEST):
        return run
    runs = runs or runs_folder()
    link = runs / LATEST
    if not link.is_dir():
        raise ModelError(
            f"no run under {runs.resolve()}: train one first, or name a run or weights"
        )
    return link.resolve()
