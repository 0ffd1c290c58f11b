"""defectgan evaluate gain."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from defectgan.generation.choose import CANDIDATES
from defectgan_cli import options
from defectgan_cli.console import CountReport, Reporter, TrainingReport, print_json, print_table
from defectgan_cli.gain_plan import (
    Network,
    classifiers,
    generator_config,
    refuse_unused,
    segmenters,
)
from defectgan_cli.options import setting

if TYPE_CHECKING:
    import torch

    from defectgan.evaluation.gain import GainPlan
    from defectgan.evaluation.real import RealSplit
    from defectgan.evaluation.segmentation_gain import SegmentationPlan
    from defectgan.methods.config import Config

# Their trainings differ by more than those of classifiers.
GENERATORS = 3


def gain(
    data: Annotated[
        Path, setting(None, "Real images: a folder, a table or a COCO file, as train takes them.")
    ],
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            help="Run folder (latest: the newest) or .safetensors file that has seen none but the "
            "training images; several times for runs of several seeds.",
            show_default="some are trained on them",
        ),
    ] = None,
    trust_model: Annotated[
        bool,
        typer.Option(
            "--trust-model", help="Take weights without a run: you know what they have seen."
        ),
    ] = False,
    gan_config: Annotated[
        str | None,
        setting(
            None,
            "Preset or YAML file of the generator to train.",
            default="standard on a GPU, quick on a CPU",
        ),
    ] = None,
    gan_steps: Annotated[
        int | None, setting(None, "Its steps.", default=options.PRESET, min=1)
    ] = None,
    gan_seeds: Annotated[
        int | None,
        setting(
            None,
            "Generators to train, one after the other, each with a seed of its own.",
            default=f"{GENERATORS}",
            min=1,
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        setting(None, "Defect classes in this order.", default="all", metavar="NAME..."),
    ] = None,
    normal_class: Annotated[
        str | None,
        setting(
            None, "Folder of the good images.", default="normal, good, ok, free or defect-free"
        ),
    ] = None,
    group_regex: Annotated[
        str | None,
        setting(
            None,
            "Finds in a file name which piece it shows; images of a piece are never split.",
            default="none",
        ),
    ] = None,
    holdout: Annotated[
        float,
        setting(None, "Share of each class without test images kept for testing.", min=0, max=0.9),
    ] = 0.3,
    val_fraction: Annotated[
        float,
        setting(
            None,
            "Share of each class without validation images kept to choose weights; segmenters "
            "need none.",
            min=0,
            max=0.9,
        ),
    ] = 0.2,
    val_from: Annotated[
        Literal["train", "test"],
        setting(
            None, "Where validation images come from: train, or test if the model saw the former."
        ),
    ] = "train",
    shots: Annotated[
        int | None,
        setting(None, "Images of each defect class to learn from.", default="all", min=1),
    ] = None,
    normals: Annotated[
        int | None, setting(None, "Good images to learn from.", default="all", min=1)
    ] = None,
    arms: Annotated[
        list[str] | None,
        setting(
            None,
            "Arms, their baselines come along: good-only, real, synthetic, procedural, classical, "
            "classical+synthetic, classical+procedural, classical+mix, "
            "classical+synthetic+control, classical+more-real.",
            default="all but synthetic and procedural, as far as there is the material",
            metavar="ARM...",
        ),
    ] = None,
    ratio: Annotated[
        list[str] | None,
        setting(
            None,
            "Images added for each real one of a defect class; of several numbers validation "
            "images choose; auto: of 0.5, 1, 2 and 4.",
            default="auto, for segmenters 1",
            metavar="RATIO...",
        ),
    ] = None,
    candidates: options.CandidatesToTrainOn = None,
    segmentation: Annotated[
        bool,
        typer.Option(
            "--segmentation",
            help="Train segmenters on painted masks, procedural and true ones instead, and test "
            "them on true masks.",
        ),
    ] = False,
    net: Annotated[
        list[str] | None,
        setting(
            None,
            "Classifiers: small, frozen (a linear head on fixed features), or a ResNet by "
            "torchvision's name.",
            default="resnet18 on a GPU, small on a CPU, and frozen where it is installed",
            metavar="NET...",
        ),
    ] = None,
    net_weights: Annotated[
        Path | None,
        setting(
            None,
            "safetensors file of torchvision's that all but frozen begin with.",
            default="from scratch",
            metavar="FILE",
        ),
    ] = None,
    image_size: Annotated[
        str, setting(None, "What it sees: pixels a side, or HEIGHTxWIDTH.")
    ] = "64",
    steps: Annotated[int, setting(None, "Optimizer steps of every classifier.", min=1)] = 300,
    batch_size: Annotated[
        int | None,
        setting(None, "Images a step.", default="32, for segmenters 16", min=2),
    ] = None,
    seeds: Annotated[
        int | None,
        setting(
            None,
            "Trainings of every arm, with each generator.",
            default="3, with three or more generators 2",
            min=1,
        ),
    ] = None,
    seed: Annotated[int, setting(None, "Draws the splits and what is added.", min=0)] = 0,
    defect_rate: Annotated[
        float,
        setting(
            None, "Share of parts that are defective, for escapes a thousand parts.", min=0, max=1
        ),
    ] = 0.01,
    fail_on: Annotated[
        Literal["harm"] | None,
        setting(
            None,
            "Fail, with exit code 4, where the images do harm.",
            default="none",
            metavar="harm",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        setting(None, "Folder for everything.", default="evaluation/<time>-gain"),
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Train classifiers with and without generated images, and test them on real ones.

    The answer stands in the first line and in gain.html. How many images are added is chosen on
    validation images; the test images are looked at once. A test that was cut short goes on when it
    is called again with the same --out, also with more seeds, arms, classifiers or models.

    Example: defectgan evaluate gain --data pcb --model runs/latest
    """
    from defectgan.devices import pick_device
    from defectgan.errors import CheckFailed
    from defectgan.evaluation.bench import Bench, refuse_damaged
    from defectgan.evaluation.gain_report import cells, columns, require_packages
    from defectgan.evaluation.gain_run import answer, ready, work
    from defectgan.evaluation.leak import refuse_leaks
    from defectgan.evaluation.ledger import claim
    from defectgan.evaluation.painting import load_painters, refuse_unproved
    from defectgan.evaluation.real import SplitPlan, split_real
    from defectgan.locks import held
    from defectgan.runs import find_model, unused

    reporter = Reporter(quiet=quiet)
    require_packages()
    place = pick_device(device)
    on_gpu = place.type == "cuda"
    # The report of a set shall take no more than half an hour of two cores.
    trainings = seeds or (2 if (len(models or ()) or gan_seeds or GENERATORS) >= 3 else 3)
    plan: GainPlan | SegmentationPlan
    if segmentation:
        why = "is for classifiers: leave it out for segmenters"
        options.refuse(why, arms=arms, net=net, net_weights=net_weights, fail_on=fail_on)
        plan = segmenters(trainings, seed, image_size, ratio, steps, batch_size)
    else:
        network = Network(net, net_weights, steps, batch_size)
        plan = classifiers(trainings, seed, image_size, ratio, arms, network, on_gpu=on_gpu)
    of_generator = {"gan_steps": gan_steps, "gan_seeds": gan_seeds}
    refuse_unused(plan.paints, models, candidates, trust=trust_model, **of_generator)
    given = [find_model(model) for model in models or ()]
    chosen = {
        "classes": tuple(classes) if classes else None,
        "normal_class": normal_class,
        "group_regex": group_regex,
    }
    config = generator_config(given, gan_config, gan_steps, gan_seeds, chosen, device=place.type)
    split = SplitPlan(holdout, val_fraction, val_from, shots, normals, seed)
    real = split_real(data, config.data, split, needed=plan.splits)
    _describe(real, reporter)
    plan = ready(plan, real)
    painters = given if plan.paints else []
    notes = [note for model in painters for note in refuse_leaks(model, real, trust=trust_model)]
    trained = load_painters(painters, device=place)
    for model in trained:
        refuse_unproved(model, candidates)
    folder = out or unused(Path("evaluation") / f"{time.strftime('%Y%m%d-%H%M%S')}-gain")
    claim(folder, real)
    with held(folder):
        reporter.say(f"everything goes to {folder}")
        if plan.paints and not painters:
            refuse_damaged(plan, real)
            painters = _train(real, config, gan_seeds or GENERATORS, folder, place, reporter)
            notes = [note for model in painters for note in refuse_leaks(model, real)]
            trained = load_painters(painters, device=place)
        for note in notes:
            reporter.say(note)
        plan = plan.choosing((candidates,) if candidates else (1, CANDIDATES))
        with CountReport(reporter, "steps of networks", work(plan, real, trained)) as report:
            test = Bench(real, trained, folder, place, report.advance)
            found = answer(plan, test, notes=notes, defect_rate=defect_rate)
    if as_json:
        files = {"out": folder, "files": found.files}
        print_json({"says": found.lines, "table": found.entries, **files})
    else:
        for line in found.lines:
            typer.echo(line)
        rows = [cells(entry, found.sheet) for entry in found.entries]
        print_table(columns(found.entries, found.sheet), rows)
        typer.echo(f"report: {found.report}")
    if fail_on and found.harms:
        raise CheckFailed(f"{found.lines[0]} Look at {found.report}")


def _describe(real: "RealSplit", reporter: Reporter) -> None:
    for name, counts in real.counts().items():
        reporter.say(f"{name}: " + ", ".join(f"{c} {n}" for c, n in counts.items()))
    if real.left_out:
        reporter.say(f"left out: {len(real.left_out)} training images")
    for note in real.notes:
        reporter.warn(note)
    for _, reason in real.index.skipped:
        reporter.warn(f"left out: {reason}")


def _train(
    real: "RealSplit",
    config: "Config",
    count: int,
    folder: Path,
    place: "torch.device",
    reporter: Reporter,
) -> list[Path]:
    """The runs of generators that have learned from the training images, all steps done."""
    from defectgan.evaluation.gan_training import of_seeds, train_generator
    from defectgan.training.watch import stop_signals

    runs = []
    for number, settings in enumerate(of_seeds(config, count), start=1):
        reporter.say(f"generator {number} of {count}, seed {settings.training.seed}")
        steps = settings.training.steps
        with stop_signals() as stop, TrainingReport(reporter, steps) as report:
            run = train_generator(real, settings, folder, device=place, watcher=report, stop=stop)
        if run is None:
            reporter.warn(f"stopped and saved; the same command with --out {folder} goes on")
            raise typer.Exit(options.INTERRUPTED)
        runs.append(run)
    return runs
