"""defectgan train."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from defectgan.words import counted
from defectgan_cli import options
from defectgan_cli.console import Reporter, TrainingReport, grouped, print_facts, print_json
from defectgan_cli.launch import gpus_asked_for, launch
from defectgan_cli.options import PRESET, setting
from defectgan_cli.train_plan import facts_of, plan_of

if TYPE_CHECKING:
    from defectgan.training.job import Job, Overrides
    from defectgan.training.watch import Outcome


# The file of a run that holds what was said.
LOG = "the run's log.txt"
# A class with fewer images to learn from is named.
FEW = 10


def train(
    data: Annotated[
        Path | None,
        setting("DATA", "Folder with one folder a class, or of another known form, or its table."),
    ] = None,
    classes: Annotated[
        list[str] | None,
        setting("CLASSES", "Defect classes in this order.", default="all", metavar="NAME..."),
    ] = None,
    normal_class: Annotated[
        str | None,
        setting(
            "NORMAL_CLASS",
            "Folder of the good images.",
            default="normal, good, ok, free or defect-free",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        setting(
            "LAYOUT",
            "How the images are kept: see docs/layouts.md.",
            default="recognised",
        ),
    ] = None,
    val_fraction: Annotated[
        float | None,
        setting("VAL_FRACTION", "Share of each class kept for validation.", default=PRESET),
    ] = None,
    holdout: Annotated[
        float | None,
        setting(
            "HOLDOUT",
            "Share of each class that has no test images yet, kept for testing.",
            default=PRESET,
        ),
    ] = None,
    group_regex: Annotated[
        str | None,
        setting(
            "GROUP_REGEX",
            "Finds in a file name which piece it shows; images of a piece are never split.",
            default="none",
        ),
    ] = None,
    normal_from_background: Annotated[
        bool,
        setting(
            "NORMAL_FROM_BACKGROUND",
            "Fit crop, with good windows from beside the defects of each image.",
        ),
    ] = False,
    mask_values: Annotated[
        str | None,
        setting(
            "MASK_VALUES",
            "What is defect in mask files: plain, any, alpha or inverted.",
            default="recognised, and said",
        ),
    ] = None,
    strict: Annotated[
        bool, setting("STRICT", "Stop at a file that cannot be used instead of leaving it out.")
    ] = False,
    config: Annotated[
        str | None,
        setting("CONFIG", "Preset or YAML file.", default="standard on a GPU, quick on a CPU"),
    ] = None,
    steps: Annotated[int | None, setting("STEPS", "Generator steps.", default=PRESET)] = None,
    image_size: Annotated[
        str | None,
        setting("IMAGE_SIZE", "Training size: pixels a side, or HEIGHTxWIDTH.", default=PRESET),
    ] = None,
    fit: Annotated[
        str | None,
        setting(
            "FIT",
            "How images become that size: resize, letterbox, or crop (windows at a fixed scale).",
            default=PRESET,
        ),
    ] = None,
    crop_to_defect: Annotated[
        int | None,
        setting(
            "CROP_TO_DEFECT",
            "Fit crop, with windows of SIZE image pixels a side round the defects.",
            default="the training size",
            metavar="SIZE",
        ),
    ] = None,
    batch_size: Annotated[
        int | None, setting("BATCH_SIZE", "Images a batch, half of them normal.", default=PRESET)
    ] = None,
    lr: Annotated[
        float | None, setting("LR", "Learning rate of the first step.", default=PRESET)
    ] = None,
    seed: Annotated[
        int | None, setting("SEED", "Seed of all that is drawn at random.", default=PRESET)
    ] = None,
    precision: Annotated[
        str | None, setting("PRECISION", "auto, fp32 or bf16.", default=PRESET)
    ] = None,
    save_every: Annotated[
        int | None,
        setting("SAVE_EVERY", "Steps between checkpoints.", default="one every few minutes"),
    ] = None,
    init_from: Annotated[
        Path | None,
        setting(
            "INIT_FROM",
            "Begin with the weights of this run or file, also for other classes.",
            default="at random",
            metavar="MODEL",
        ),
    ] = None,
    device: Annotated[str, setting("DEVICE", "auto, cpu, cuda, cuda:N or cuda:N,M.")] = "auto",
    gpus: Annotated[
        int | None,
        setting("GPUS", "Train on so many GPUs of this machine.", default="one", min=1),
    ] = None,
    out: Annotated[Path, setting("RUNS", "Folder that the run's folder is made in.")] = Path(
        "runs"
    ),
    name: Annotated[
        str | None, setting("NAME", "Name of the run.", default="the data folder's")
    ] = None,
    resume: Annotated[
        Path | None,
        setting("RESUME", "Go on with this run; alone: with the newest.", metavar="[RUN]"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained and make nothing.")
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(help="With --dry-run: draw what the networks will see, as PNG."),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Learn from folders of images what each defect looks like.

    The data folder holds one folder of good images (normal, good, ok, free or defect-free) and one
    for each defect. What is learned goes to a folder of its own under runs/. Ctrl-C saves; --resume
    goes on where it stopped.

    Example: defectgan train --data ./pcb --classes thread brushing tin wound
    """
    from defectgan.errors import SettingError
    from defectgan.locks import held
    from defectgan.runs import RunFolder, find_model, restarted_run
    from defectgan.training.job import shared_job
    from defectgan.training.peers import join_peers, own_device, restarts
    from defectgan.training.watch import stop_signals

    if preview is not None and not dry_run:
        raise SettingError("--preview draws what a training would see: add --dry-run")
    numbers = gpus_asked_for(device, gpus)
    if numbers and not dry_run:
        raise typer.Exit(launch(numbers))
    target = own_device(f"cuda:{numbers[0]}" if numbers else device)
    peers = join_peers(target)
    reporter = Reporter(quiet=quiet, silent=not peers.first)
    overrides: Overrides = {
        "data": {
            "image_size": image_size,
            "fit": fit
            or ("crop" if crop_to_defect is not None or normal_from_background else None),
            "crop_size": crop_to_defect,
            "normal_class": normal_class,
            "classes": tuple(classes) if classes else None,
            "layout": layout,
            "val_fraction": val_fraction,
            "holdout": holdout,
            "group_regex": group_regex,
            "normal_from_background": normal_from_background or None,
            "mask_values": mask_values,
            "strict": strict or None,
        },
        "optim": {"lr": lr},
        "training": {
            "steps": steps,
            "batch_size": batch_size,
            "seed": seed,
            "precision": precision,
            "save_every": save_every,
            "init_from": str(find_model(init_from).resolve()) if init_from else None,
        },
    }
    alone = ExitStack()
    restarted = restarted_run(out) if peers.any(restarts() > 0) else None
    path = ""
    if peers.first:
        asked = Asked(data, config, name, resume, out)
        processes = max(peers.size, len(numbers))
        job = _job(asked, overrides, restarted, target.type, processes, reporter)
        _describe(job, reporter, all_in="the plan of --json" if dry_run else LOG)
        if dry_run:
            if preview is not None:
                job.preview(preview)
                reporter.say(f"preview: {preview}")
            preset = asked.preset(target.type)
            plan = plan_of(job, preset=preset, device=str(target), out=out)
            print_json(plan) if as_json else print_facts(facts_of(plan))
        else:
            if job.resumed is not None:
                alone.enter_context(held(job.resumed.path))
            path = str(job.begin(out, name or _title(data or job.index.root)).path)
    path = peers.tell(path)
    if not path:
        peers.leave()
        return
    folder = RunFolder(Path(path))
    if peers.first:
        reporter.write_to(folder.log)
    else:
        job = shared_job(folder)
    reporter.say(f"run folder {folder.path}")
    with (
        alone,
        stop_signals() as stop,
        TrainingReport(reporter, job.config.training.steps) as report,
    ):
        outcome = job.run(folder, device=target, watcher=report, stop=stop, peers=peers)
        peers.leave()
    if not peers.first:
        raise typer.Exit(options.INTERRUPTED if outcome.interrupted else 0)
    _show_outcome(outcome, reporter, as_json=as_json)


class Asked(NamedTuple):
    """What train was asked to do, settings aside."""

    data: Path | None
    config: str | None
    name: str | None
    resume: Path | None
    out: Path

    def preset(self, device: str) -> str:
        """The preset or file of settings of a new training."""
        from defectgan.settings.load import default_preset

        return self.config or default_preset(device)


def _job(
    asked: Asked,
    overrides: "Overrides",
    restarted: Path | None,
    device: str,
    processes: int,
    reporter: Reporter,
) -> "Job":
    """The run that was broken off, the one to go on with, or a new one."""
    from defectgan.errors import SettingError
    from defectgan.runs import find_run
    from defectgan.training.job import new_job, resumed_job, shared_batch

    if restarted is not None:
        return resumed_job(restarted, {}, data=asked.data)
    if asked.resume is not None:
        for option, value in (("--config", asked.config), ("--name", asked.name)):
            if value is not None:
                reporter.warn(f"a resumed run keeps its own: {option} {value} is not used")
        return resumed_job(find_run(asked.resume, runs=asked.out), overrides, data=asked.data)
    if asked.data is None:
        raise SettingError("no data: name the folder of the images with --data")
    preset = asked.preset(device)
    if batch := shared_batch(preset, overrides, processes):
        training = {**overrides["training"], "batch_size": batch}
        overrides = {**overrides, "training": training}
        reporter.say(
            f"batch size {batch}: that of {preset} cannot be shared evenly by {processes} processes"
        )
    job = new_job(asked.data, preset, overrides)
    if asked.config is None:
        kind = "a GPU" if device == "cuda" else "a CPU"
        reporter.say(f"preset {preset} (training on {kind}; --config chooses another)")
    return job


def _title(data: Path) -> str:
    """The data folder's name, or that of the folder around a table."""
    return (data if data.is_dir() else data.parent).resolve().name


def _describe(job: "Job", reporter: Reporter, *, all_in: str) -> None:
    counts = ", ".join(f"{name} {count}" for name, count in job.index.counts().items())
    reporter.say(f"images ({job.index.layout}): {counts}")
    if len(splits := job.index.split_counts()) > 1:
        reporter.say("splits: " + ", ".join(f"{name} {n}" for name, n in splits.items()))
    reporter.warn_of(job.index.notes, all_in=all_in)
    if few := [f"{name} {n}" for name, n in job.index.counts().items() if n < FEW]:
        better = "" if job.learns_truths() else ": --config small-data is made for few"
        reporter.warn(f"fewer than {FEW} images to learn from, {', '.join(few)}{better}")
    skipped = job.index.skipped
    head = f"left out {counted(len(skipped), 'file')}:"
    reporter.warn_of(grouped(skipped), all_in=all_in, head=head)


def _show_outcome(outcome: "Outcome", reporter: Reporter, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "run": outcome.run,
                "weights": outcome.weights,
                "steps": outcome.steps,
                "seconds": outcome.seconds,
                "images_per_second": outcome.images_per_second,
            }
        )
    elif outcome.weights is not None:
        typer.echo(f"weights: {outcome.weights}")
    if outcome.interrupted:
        command = f"defectgan train --resume {outcome.run}"
        reporter.warn(
            f"stopped before the first step: there is nothing to save yet; {command} begins anew"
            if outcome.weights is None
            else f"stopped after step {outcome.steps} and saved; go on with: {command}"
        )
        raise typer.Exit(options.INTERRUPTED)
