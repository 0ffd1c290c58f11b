"""defectgan train."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defectgan.words import counted
from defectgan_cli import options
from defectgan_cli.console import Reporter, TrainingReport, grouped
from defectgan_cli.launch import gpus_asked_for, launch
from defectgan_cli.options import DATA, MACHINE, METHOD, OUTPUT, PRESET, TRAINING, setting, switch
from defectgan_cli.results import print_facts, print_json, print_table
from defectgan_cli.train_plan import facts_of

if TYPE_CHECKING:
    import torch

    from defectgan.training.distributed import World
    from defectgan.training.job import Job
    from defectgan.training.start import TrainRequest
    from defectgan.training.watch import Outcome

# The file of a run that holds what was said.
LOG = "the run's log.txt"


def train(
    data: Annotated[
        list[Path] | None,
        setting(
            DATA,
            "Folder with one folder a class, or of another known form, or its table; again for "
            "each further data set, for a method that learns from several (stargan).",
            env="DATA",
        ),
    ] = None,
    classes: options.Classes = None,
    normal_class: options.NormalClass = None,
    layout: Annotated[
        str | None,
        setting(
            DATA,
            "How the images are kept: see docs/layouts.md.",
            env="LAYOUT",
            default="recognised",
        ),
    ] = None,
    val_fraction: Annotated[
        float | None,
        setting(
            DATA, "Share of each class kept for validation.", env="VAL_FRACTION", default=PRESET
        ),
    ] = None,
    holdout: Annotated[
        float | None,
        setting(
            DATA,
            "Share of each class that has no test images yet, kept for testing.",
            env="HOLDOUT",
            default=PRESET,
        ),
    ] = None,
    group_regex: options.GroupRegex = None,
    normal_from_background: Annotated[
        bool,
        setting(
            DATA,
            "Fit crop, with good windows from beside the defects of each image.",
            env="NORMAL_FROM_BACKGROUND",
        ),
    ] = False,
    pairs: Annotated[
        Path | None,
        setting(
            DATA,
            "Folder with each image of a defect as it is without it, called alike: for methods "
            "that learn from pairs.",
            env="PAIRS",
            default="none",
            metavar="FOLDER",
        ),
    ] = None,
    mask_values: Annotated[
        str | None,
        setting(
            DATA,
            "What is defect in mask files: plain, any, alpha or inverted.",
            env="MASK_VALUES",
            default="recognised, and said",
        ),
    ] = None,
    strict: Annotated[
        bool,
        setting(
            DATA, "Stop at a file that cannot be used instead of leaving it out.", env="STRICT"
        ),
    ] = False,
    config: Annotated[
        str | None,
        setting(
            METHOD,
            "Preset or YAML file.",
            env="CONFIG",
            default="standard on a GPU, quick on a CPU",
        ),
    ] = None,
    steps: Annotated[
        int | None, setting(TRAINING, "Generator steps.", env="STEPS", default=PRESET)
    ] = None,
    image_size: Annotated[
        str | None,
        setting(
            DATA, "Training size: pixels a side, or HEIGHTxWIDTH.", env="IMAGE_SIZE", default=PRESET
        ),
    ] = None,
    fit: Annotated[
        str | None,
        setting(
            DATA,
            "How images become that size: resize, letterbox, or crop (windows at a fixed scale).",
            env="FIT",
            default=PRESET,
        ),
    ] = None,
    crop_to_defect: Annotated[
        int | None,
        setting(
            DATA,
            "Fit crop, with windows of SIZE image pixels a side round the defects.",
            env="CROP_TO_DEFECT",
            default="the training size",
            metavar="SIZE",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        setting(TRAINING, "Images a batch, half of them normal.", env="BATCH_SIZE", default=PRESET),
    ] = None,
    lr: Annotated[
        float | None,
        setting(TRAINING, "Learning rate of the first step.", env="LR", default=PRESET),
    ] = None,
    seed: Annotated[
        int | None,
        setting(TRAINING, "Seed of all that is drawn at random.", env="SEED", default=PRESET),
    ] = None,
    precision: Annotated[
        str | None, setting(MACHINE, "auto, fp32 or bf16.", env="PRECISION", default=PRESET)
    ] = None,
    save_every: Annotated[
        int | None,
        setting(
            OUTPUT, "Steps between checkpoints.", env="SAVE_EVERY", default="one every few minutes"
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        setting(
            TRAINING,
            "Begin with the weights of this run or file, also for other classes; headstart: those "
            "that come with the package and know drawn defects; none: at random.",
            env="INIT_FROM",
            default=PRESET,
            metavar="MODEL",
        ),
    ] = None,
    device: options.Devices = "auto",
    gpus: Annotated[
        int | None,
        setting(
            MACHINE, "Train on so many GPUs of this machine.", env="GPUS", default="one", min=1
        ),
    ] = None,
    out: Annotated[
        Path, setting(OUTPUT, "Folder that the run's folder is made in.", env="RUNS")
    ] = Path("runs"),
    name: Annotated[
        str | None, setting(OUTPUT, "Name of the run.", env="NAME", default="the data folder's")
    ] = None,
    resume: Annotated[
        Path | None,
        setting(
            TRAINING, "Go on with this run; alone: with the newest.", env="RESUME", metavar="[RUN]"
        ),
    ] = None,
    list_presets: Annotated[
        bool,
        switch(
            METHOD, "list-presets", "Say what presets there are and what data each needs; no more."
        ),
    ] = False,
    dry_run: options.DryRun = False,
    preview: Annotated[
        Path | None,
        setting(OUTPUT, "With --dry-run: draw what the networks will see, as PNG."),
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
    if list_presets:
        _list_presets(as_json=as_json)
        return
    from defectgan.errors import SettingError
    from defectgan.processes import own_device
    from defectgan.training.distributed import join_world
    from defectgan.training.start import TrainRequest

    if preview is not None and not dry_run:
        raise SettingError("--preview draws what a training would see: add --dry-run")
    numbers = gpus_asked_for(device, gpus)
    if numbers and not dry_run:
        goes_on = "The last checkpoint is whole; go on with --resume"
        raise typer.Exit(launch(numbers, goes_on=goes_on))
    place = own_device(f"cuda:{numbers[0]}" if numbers else device)
    world = join_world(place)
    settings: dict[str, dict[str, Any]] = {
        "data": {
            "image_size": image_size,
            "fit": fit,
            "crop_size": crop_to_defect,
            "normal_class": normal_class,
            "classes": tuple(classes) if classes else None,
            "layout": layout,
            "val_fraction": val_fraction,
            "holdout": holdout,
            "group_regex": group_regex,
            "normal_from_background": normal_from_background or None,
            "pairs": str(pairs) if pairs is not None else None,
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
            "init_from": init_from,
        },
    }
    request = TrainRequest(tuple(data or ()), config, settings, resume, out, name)
    reporter = Reporter(quiet=quiet, silent=not world.first)
    if dry_run:
        processes = max(world.size, len(numbers))
        if world.first:
            _plan(request, place, processes, reporter, preview, as_json=as_json)
        world.leave()
    else:
        _train(request, place, world, reporter, as_json=as_json)


def _list_presets(*, as_json: bool) -> None:
    from defectgan.methods.presets import Preset, presets

    found = presets()
    if as_json:
        print_json({"presets": [preset._asdict() for preset in found]})
    else:
        print_table([name.replace("_", " ") for name in Preset._fields], found, numbers=False)


def _plan(
    request: "TrainRequest",
    place: "torch.device",
    processes: int,
    reporter: Reporter,
    preview: Path | None,
    *,
    as_json: bool,
) -> None:
    """Say what would be trained."""
    from defectgan.training.dry_run import plan_of

    job = _find(request, place.type, processes, reporter, None, all_in="the plan of --json")
    if preview is not None:
        job.preview(preview)
        reporter.say(f"preview: {preview}")
    plan = plan_of(job, preset=request.preset(place.type), device=str(place), out=request.out)
    print_json(plan) if as_json else print_facts(facts_of(plan))


def _train(
    request: "TrainRequest",
    place: "torch.device",
    world: "World",
    reporter: Reporter,
    *,
    as_json: bool,
) -> None:
    """Take part in a training; the first process says what came of it."""
    from defectgan.processes import restarts
    from defectgan.runs import restarted_run
    from defectgan.training.start import begun
    from defectgan.training.watch import stop_signals

    restarted = restarted_run(request.out) if world.any(restarts() > 0) else None

    def find() -> "Job":
        return _find(request, place.type, world.size, reporter, restarted, all_in=LOG)

    with begun(request, world, find) as (job, folder):
        if world.first:
            reporter.write_to(folder.log)
        reporter.say(f"run folder {folder.path}")
        steps = job.config.training.steps
        with stop_signals() as stop, TrainingReport(reporter, steps) as report:
            outcome = job.run(folder, device=place, watcher=report, stop=stop, world=world)
            world.leave()
    if not world.first:
        raise typer.Exit(options.INTERRUPTED if outcome.interrupted else 0)
    _show_outcome(outcome, reporter, as_json=as_json)


def _find(
    request: "TrainRequest",
    device: str,
    processes: int,
    reporter: Reporter,
    restarted: Path | None,
    *,
    all_in: str,
) -> "Job":
    """The job that is asked for; says what it is."""
    from defectgan.training.start import find_job

    if request.resume is not None and restarted is None:
        for option, value in (("--config", request.config), ("--name", request.name)):
            if value is not None:
                reporter.warn(f"a resumed run keeps its own: {option} {value} is not used")
    job = find_job(
        request, device=device, processes=processes, restarted=restarted, say=reporter.say
    )
    if request.config is None and job.resumed is None:
        kind = "a GPU" if device == "cuda" else "a CPU"
        preset = request.preset(device)
        reporter.say(f"preset {preset} (training on {kind}; --config chooses another)")
    _describe(job, reporter, all_in=all_in)
    return job


def _describe(job: "Job", reporter: Reporter, *, all_in: str) -> None:
    from defectgan.training.start import FEW, few_images

    counts = ", ".join(f"{name} {count}" for name, count in job.index.counts().items())
    reporter.say(f"images ({job.index.layout}): {counts}")
    if len(splits := job.index.split_counts()) > 1:
        reporter.say("splits: " + ", ".join(f"{name} {n}" for name, n in splits.items()))
    reporter.warn_of(job.index.notes, all_in=all_in)
    if few := [f"{name} {n}" for name, n in few_images(job).items()]:
        better = "" if job.learns_truths() else ": --config small-data is made for few"
        reporter.warn(f"fewer than {FEW} images to learn from, {', '.join(few)}{better}")
    skipped = job.index.skipped
    head = f"left out {counted(len(skipped), 'file')}:"
    reporter.warn_of(grouped(skipped), all_in=all_in, head=head)


def _show_outcome(outcome: "Outcome", reporter: Reporter, *, as_json: bool) -> None:
    if as_json:
        print_json({name: v for name, v in vars(outcome).items() if name != "interrupted"})
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
