"""defectgan evaluate gain."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from defectgan.generation.choose import CANDIDATES
from defectgan_cli import options
from defectgan_cli.console import CountReport, Reporter, TrainingReport, print_json, print_table
from defectgan_cli.options import setting

if TYPE_CHECKING:
    import torch

    from defectgan.config import Config
    from defectgan.evaluation.gain_report import Sheet
    from defectgan.evaluation.plan import Plan
    from defectgan.evaluation.real import RealSplit


def gain(
    data: Annotated[
        Path, setting(None, "Real images: a folder, a table or a COCO file, as train takes them.")
    ],
    model: Annotated[
        Path | None,
        setting(
            None,
            "Run folder (latest: the newest) or .safetensors file that has seen none but the "
            "training images.",
            default="one is trained on them",
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
            "Arms, their baselines come along: real, synthetic, procedural, classical, "
            "classical+synthetic, classical+procedural.",
            default="all",
            metavar="ARM...",
        ),
    ] = None,
    ratio: Annotated[
        float, setting(None, "Images added for each real one of a defect class.", min=0.01)
    ] = 1.0,
    sweep: Annotated[
        list[float] | None,
        setting(
            None,
            "Further ratios for classical+synthetic, such as 0.5 2 4.",
            default="none",
            metavar="RATIO...",
            min=0.01,
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
        str | None,
        setting(
            None,
            "Classifier: small, or a ResNet by torchvision's name.",
            default="resnet18 on a GPU, small on a CPU",
        ),
    ] = None,
    net_weights: Annotated[
        Path | None,
        setting(
            None,
            "safetensors file of torchvision's that it begins with.",
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
    seeds: Annotated[int, setting(None, "Trainings of every arm.", min=1)] = 5,
    seed: Annotated[int, setting(None, "Draws the splits and what is added.", min=0)] = 0,
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

    Every arm has the same steps and batches; its weights are chosen on validation images, the test
    images are looked at once. A test that was cut short goes on when it is called again with the
    same --out, also with more seeds or arms.

    Example: defectgan evaluate gain --data pcb --model runs/latest
    """
    from defectgan.devices import pick_device
    from defectgan.evaluation.arms import refuse_unproved
    from defectgan.evaluation.gain_report import (
        about,
        cells,
        columns,
        compare,
        require_packages,
        write_gain,
    )
    from defectgan.evaluation.leak import refuse_leaks
    from defectgan.evaluation.ledger import claim
    from defectgan.evaluation.plan import Plan, refuse_damaged, seen_size
    from defectgan.evaluation.real import SplitPlan, split_real
    from defectgan.runs import find_model, unused
    from defectgan.training.checkpoint import load_model

    reporter = Reporter(quiet=quiet)
    require_packages()
    place = pick_device(device)
    on_gpu = place.type == "cuda"
    plan = Plan(
        ratio=ratio,
        seeds=seeds,
        image_size=seen_size(image_size),
        seed=seed,
        candidates=candidates or CANDIDATES,
    )
    if segmentation:
        options.refuse(
            "is for classifiers: leave it out for segmenters",
            arms=arms,
            sweep=sweep,
            net=net,
            net_weights=net_weights,
        )
        test = _segmenters(plan, steps, batch_size)
    else:
        name = net or ("resnet18" if on_gpu else "small")
        test = _classifiers(plan, arms, sweep, Network(name, net_weights, steps, batch_size))
    _refuse_unused(test.plan.paints, model, gan_steps, candidates, trust=trust_model)
    model = model and find_model(model)
    chosen = {
        "classes": tuple(classes) if classes else None,
        "normal_class": normal_class,
        "group_regex": group_regex,
    }
    config = _generator_config(model, gan_config, gan_steps, chosen, device=place.type)
    split = SplitPlan(holdout, val_fraction, val_from, shots, normals, seed)
    real = split_real(data, config.data, split, needed=test.plan.splits)
    _describe(real, reporter)
    test.plan.check(real)
    trainings = len(test.plan.keys(real))
    painter = model if test.plan.paints else None
    notes = refuse_leaks(painter, real, trust=trust_model) if painter else ()
    trained = load_model(painter, device=place) if painter else None
    if trained is not None:
        refuse_unproved(trained, candidates)
    folder = out or unused(Path("evaluation") / f"{time.strftime('%Y%m%d-%H%M%S')}-gain")
    claim(folder, real)
    reporter.say(f"everything goes to {folder}")
    if test.plan.paints and painter is None:
        refuse_damaged(test.plan, real)
        painter = _train(real, config, folder, place, reporter)
        notes = refuse_leaks(painter, real)
        trained = load_model(painter, device=place)
    for note in notes:
        reporter.say(note)
    with CountReport(reporter, f"{test.noun} steps", trainings * steps) as report:
        rows = test.run(test.plan, real, trained, folder, device=place, done=report.advance)
    entries = compare(rows, test.sheet)
    files = write_gain(folder, entries, test.sheet, about(real, trained, notes) | test.plan.facts())
    if as_json:
        print_json({"table": entries, "out": folder, "files": files})
    else:
        print_table(columns(entries, test.sheet), [cells(e, test.sheet) for e in entries])
        typer.echo(f"report: {files['md']}")


class Test(NamedTuple):
    """What is trained and tested, how, and how it is told."""

    noun: str
    plan: Any
    run: Any
    sheet: "Sheet"


class Network(NamedTuple):
    """The classifier that was asked for."""

    name: str
    weights: Path | None
    steps: int
    batch_size: int | None


def _refuse_unused(
    paints: bool,
    model: Path | None,
    gan_steps: int | None,
    candidates: int | None,
    *,
    trust: bool,
) -> None:
    """Refuse what is said of a generator that is not there."""
    if not paints:
        why = "is for generated images, and no arm here learns from any: leave it out"
        options.refuse(why, gan_steps=gan_steps, candidates=candidates, trust_model=trust)
    elif model is None:
        options.refuse(
            "is for a model that you have: name it, or leave this out", trust_model=trust
        )


def _classifiers(
    plan: "Plan", arms: list[str] | None, sweep: list[float] | None, network: Network
) -> Test:
    from defectgan.evaluation.arms import ARMS, known_arms
    from defectgan.evaluation.classifier import Recipe, known_net
    from defectgan.evaluation.gain import GainPlan, run_gain
    from defectgan.evaluation.gain_report import CLASSIFIERS

    recipe = Recipe(
        net=known_net(network.name),
        steps=network.steps,
        batch_size=network.batch_size or Recipe.batch_size,
        weights=network.weights,
    )
    named = tuple(arm.name for arm in known_arms(arms or tuple(ARMS)))
    of_classifiers = GainPlan(**vars(plan), arms=named, sweep=tuple(sweep or ()), recipe=recipe)
    return Test("classifier", of_classifiers, run_gain, CLASSIFIERS)


def _segmenters(plan: "Plan", steps: int, batch_size: int | None) -> Test:
    from defectgan.evaluation.gain_report import SEGMENTERS
    from defectgan.evaluation.segmentation import SegmentationRecipe
    from defectgan.evaluation.segmentation_gain import SegmentationPlan, run_segmentation

    recipe = SegmentationRecipe(steps=steps, batch_size=batch_size or SegmentationRecipe.batch_size)
    of_segmenters = SegmentationPlan(**vars(plan), recipe=recipe)
    return Test("segmenter", of_segmenters, run_segmentation, SEGMENTERS)


def _generator_config(
    model: Path | None,
    gan_config: str | None,
    gan_steps: int | None,
    data: dict[str, Any],
    *,
    device: str,
) -> "Config":
    """The settings of the model that is given, or of the one to train, but for what is asked for of
    the data.
    """
    from defectgan.config import Config, DataConfig, default_preset, load_config
    from defectgan.errors import SettingError
    from defectgan.training.checkpoint import read_info, weights_file

    if model is None:
        preset = gan_config or default_preset(device)
        return load_config(preset, {"data": data, "training": {"steps": gan_steps}})
    if gan_config is not None or gan_steps is not None:
        raise SettingError(
            f"{model} is trained already: --gan-config and --gan-steps are of no use"
        )
    info = read_info(weights_file(model))
    for name in data["classes"] or ():
        info.label_of(name)
    form = info.form
    seen_and_read = form.view.model_dump() | form.reading.model_dump()
    known = seen_and_read | {"classes": info.classes[1:]}
    given = known | {name: value for name, value in data.items() if value is not None}
    return Config(data=DataConfig(**given), generator=form.generator, critic=form.critic)


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
    real: "RealSplit", config: "Config", folder: Path, place: "torch.device", reporter: Reporter
) -> Path:
    """The run of a generator that has learned from the training images, all steps done."""
    from defectgan.evaluation.generator import train_generator
    from defectgan.training.watch import stop_signals

    with stop_signals() as stop, TrainingReport(reporter, config.training.steps) as report:
        run = train_generator(real, config, folder, device=place, watcher=report, stop=stop)
    if run is None:
        reporter.warn(f"stopped and saved; the same command with --out {folder} goes on")
        raise typer.Exit(options.INTERRUPTED)
    return run
