"""The whole of ``train``: from what is asked for to a job and its run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from defectgan.devices import pick_device
from defectgan.errors import SettingError
from defectgan.listener import SILENT, Listener
from defectgan.locks import held
from defectgan.runs import RUNS, RunFolder, find_model, find_run
from defectgan.settings.load import default_preset
from defectgan.settings.training import AT_RANDOM, HEAD_START
from defectgan.training.distributed import World
from defectgan.training.job import Job, Overrides, new_job, resumed_job, shared_batch, shared_job
from defectgan.training.watch import Outcome, Unwatched, Watcher

# A class with fewer images to learn from is named.
FEW = 10


@dataclass(frozen=True)
class TrainRequest:
    """What is to be trained: on the images ``data``, of one data set or of several jointly, by a
    preset or a YAML file ``config``, with ``settings`` over it by section and name, None for those
    that are as they were; or a run to go on with, ``resume``. The run's folder is
    ``out/<time>-<name>``.
    """

    data: Sequence[Path] = ()
    config: str | None = None
    settings: Overrides = field(default_factory=dict)
    resume: Path | None = None
    out: Path = RUNS
    name: str | None = None

    def preset(self, device: str) -> str:
        """The preset or file of a new training on a kind of device."""
        return self.config or default_preset(device)

    @property
    def overrides(self) -> Overrides:
        """The settings with what they imply: windows of a size, or good ones from beside defects,
        are windows; the weights to begin with are those of a file; a folder has its whole path.
        """
        data = {**self.settings.get("data", {})}
        training = {**self.settings.get("training", {})}
        if data.get("crop_size") is not None or data.get("normal_from_background"):
            data["fit"] = data.get("fit") or "crop"
        if data.get("pairs") is not None:
            data["pairs"] = str(Path(data["pairs"]).resolve())
        if (start := training.get("init_from")) not in (None, HEAD_START, AT_RANDOM):
            training["init_from"] = str(find_model(Path(start)).resolve())
        return {**self.settings, "data": data, "training": training}


def find_job(
    request: TrainRequest,
    *,
    device: str,
    processes: int = 1,
    restarted: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Job:
    """The run that was broken off, the one to go on with, or a new one; nothing is made.

    Args:
        request: what is asked for.
        device: the kind of device, by which the preset is chosen.
        processes: how many will share a batch.
        restarted: the run that these processes were at before they were started again.
        say: told where the batch is another than the preset's.

    Raises:
        SettingError: if there is neither data nor a run, or a setting cannot be.
        DataError: if the data cannot be learned from.
        ModelError: if there is no such run, or no weights to begin with.
    """
    if restarted is not None:
        return resumed_job(restarted, {}, data=request.data)
    overrides = request.overrides
    if request.resume is not None:
        run = find_run(request.resume, runs=request.out)
        return resumed_job(run, overrides, data=request.data)
    if not request.data:
        raise SettingError("no data to learn from: name the images", mend=("data", "FOLDER"))
    preset = request.preset(device)
    if batch := shared_batch(preset, overrides, processes):
        overrides = {**overrides, "training": {**overrides["training"], "batch_size": batch}}
        say(
            f"batch size {batch}: that of {preset} cannot be shared evenly by {processes} processes"
        )
    return new_job(request.data, preset, overrides)


@contextmanager
def begun(
    request: TrainRequest, world: World, find: Callable[[], Job]
) -> Iterator[tuple[Job, RunFolder]]:
    """The job and its run folder, the same for all processes; a run that goes on is held against
    other trainings meanwhile.

    Args:
        request: what is asked for.
        world: the processes, of which the first finds the job and the others read what it wrote.
        find: finds the job.
    """
    with ExitStack() as alone:
        path = ""
        if world.first:
            job = find()
            if job.resumed is not None:
                alone.enter_context(held(job.resumed.path))
            path = str(job.begin(request.out, request.name or _title(job, request.data)).path)
        folder = RunFolder(Path(world.tell(path)))
        yield job if world.first else shared_job(folder), folder


def _title(job: Job, data: Sequence[Path]) -> str:
    """The data folder's name, or that of the folder around a table; those of several joined."""
    folders = [one if one.is_dir() else one.parent for one in data or [job.index.root]]
    return "-".join(folder.resolve().name for folder in folders)


def few_images(job: Job) -> dict[str, int]:
    """The classes with few images to learn from, and how many they have."""
    return {name: n for name, n in job.index.counts().items() if n < FEW}


def train(
    data: Path | str | Sequence[Path | str] | None = None,
    *,
    config: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    resume: Path | None = None,
    out: Path = RUNS,
    name: str | None = None,
    device: str = "auto",
    watcher: Watcher | None = None,
    listener: Listener = SILENT,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Learn from folders of images what each defect looks like, in this process.

    Args:
        data: the folder, with one folder of good images and one for each defect, or of another
            known form, or its table; several to learn from jointly, by a method that can; None for
            that of the run to go on with.
        config: a preset or a YAML file; ``standard`` on a GPU and ``quick`` on a CPU by default.
        settings: over it, by section and name, such as ``{"training": {"steps": 2000}}``.
        resume: a run to go on with.
        out: folder that the run's folder is made in.
        name: of the run; the data folder's by default.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        watcher: who is told of each step.
        listener: who is told of the rest.
        stop: asked after each step whether to save and end.

    Returns:
        What came of it; ``weights`` is what the model is made with.

    Raises:
        SettingError: if a setting cannot be.
        DataError: if the images cannot be learned from.
        ModelError: if there is no such run, or no weights to begin with.
        TrainingError: if the training cannot go on.
    """
    place, world = pick_device(device), World()
    named = [data] if isinstance(data, Path | str) else data or ()
    request = TrainRequest(tuple(map(Path, named)), config, settings or {}, resume, out, name)

    def find() -> Job:
        job = find_job(request, device=place.type, say=listener.say)
        left_out = [f"left out {file}: {reason}" for file, reason in job.index.skipped]
        listener.warn_of([*job.index.notes, *left_out], all_in="the run's skipped.jsonl")
        return job

    with begun(request, world, find) as (job, folder):
        watcher = watcher or Unwatched()
        return job.run(folder, device=place, watcher=watcher, stop=stop, world=world)
