"""defectgan evaluate gain."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from defectgan_cli import options
from defectgan_cli.console import Reporter, TrainingReport
from defectgan_cli.options import DATA, MODEL, OUTPUT, TEST, TRAINING, setting, switch
from defectgan_cli.results import print_json, print_table

if TYPE_CHECKING:
    from defectgan.evaluation.gain_request import GainRequest, Watching
    from defectgan.evaluation.gain_run import Answer
    from defectgan.training.watch import Watcher

AUTO = "auto"
# Images added for a real one.
LEAST, MOST = 0.01, 100


def gain(
    data: Annotated[
        Path, setting(DATA, "Real images: a folder, a table or a COCO file, as train takes them.")
    ],
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            help="Run folder (latest: the newest) or .safetensors file that has seen none but the "
            "training images; several times for runs of several seeds.",
            show_default="some are trained on them",
            rich_help_panel=MODEL,
        ),
    ] = None,
    trust_model: Annotated[
        bool, options.trust("Take weights without a run: you know what they have seen.")
    ] = False,
    gan_config: Annotated[
        str | None,
        setting(
            MODEL,
            "Preset or YAML file of the generator to train.",
            default="standard on a GPU, quick on a CPU",
        ),
    ] = None,
    gan_steps: Annotated[
        int | None, setting(MODEL, "Its steps.", default=options.PRESET, min=1)
    ] = None,
    gan_seeds: Annotated[
        int | None,
        setting(
            MODEL,
            "Generators to train, one after the other, each with a seed of its own.",
            default="3",
            min=1,
        ),
    ] = None,
    classes: options.ClassesToTestOn = None,
    normal_class: options.NormalClassToTestOn = None,
    group_regex: options.GroupRegexToTestOn = None,
    holdout: Annotated[
        float,
        setting(DATA, "Share of each class without test images kept for testing.", min=0, max=0.9),
    ] = 0.3,
    val_fraction: Annotated[
        float,
        setting(
            DATA,
            "Share of each class without validation images kept to choose weights; segmenters "
            "need none.",
            min=0,
            max=0.9,
        ),
    ] = 0.2,
    val_from: Annotated[
        Literal["train", "test"],
        setting(
            DATA, "Where validation images come from: train, or test if the model saw the former."
        ),
    ] = "train",
    shots: Annotated[
        int | None,
        setting(DATA, "Images of each defect class to learn from.", default="all", min=1),
    ] = None,
    normals: Annotated[
        int | None, setting(DATA, "Good images to learn from.", default="all", min=1)
    ] = None,
    arms: Annotated[
        list[str] | None,
        setting(
            TEST,
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
            TEST,
            "Images added for each real one of a defect class; of several numbers validation "
            "images choose; auto: of 0.5, 1, 2 and 4.",
            default="auto, for segmenters 1",
            metavar="RATIO...",
        ),
    ] = None,
    candidates: options.CandidatesToTrainOn = None,
    segmentation: Annotated[
        bool,
        switch(
            TEST,
            "segmentation",
            "Train segmenters on painted masks, procedural and true ones instead, and test them on "
            "true masks.",
        ),
    ] = False,
    net: Annotated[
        list[str] | None,
        setting(
            TRAINING,
            "Classifiers: small, frozen (a linear head on fixed features), or a ResNet by "
            "torchvision's name.",
            default="resnet18 on a GPU, small on a CPU, and frozen where it is installed",
            metavar="NET...",
        ),
    ] = None,
    net_weights: Annotated[
        Path | None,
        setting(
            TRAINING,
            "safetensors file of torchvision's that all but frozen begin with.",
            default="from scratch",
            metavar="FILE",
        ),
    ] = None,
    image_size: Annotated[
        str, setting(TRAINING, "What it sees: pixels a side, or HEIGHTxWIDTH.")
    ] = "64",
    steps: Annotated[int, setting(TRAINING, "Optimizer steps of every classifier.", min=1)] = 300,
    batch_size: Annotated[
        int | None,
        setting(TRAINING, "Images a step.", default="32, for segmenters 16", min=2),
    ] = None,
    seeds: Annotated[
        int | None,
        setting(
            TEST,
            "Trainings of every arm, with each generator.",
            default="3, with three or more generators 2",
            min=1,
        ),
    ] = None,
    seed: Annotated[int, setting(TEST, "Draws the splits and what is added.", min=0)] = 0,
    defect_rate: Annotated[
        float,
        setting(
            TEST, "Share of parts that are defective, for escapes a thousand parts.", min=0, max=1
        ),
    ] = 0.01,
    fail_on: Annotated[
        Literal["harm"] | None,
        setting(
            OUTPUT,
            "Fail, with exit code 4, where the images do harm.",
            default="none",
            metavar="harm",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        setting(OUTPUT, "Folder for everything.", default="evaluation/<time>-gain"),
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
    from defectgan.errors import CheckFailed
    from defectgan.evaluation.gain_request import GainRequest, evaluate_gain
    from defectgan.evaluation.real import SplitPlan

    request = GainRequest(
        data=data,
        split=SplitPlan(holdout, val_fraction, val_from, shots, normals, seed),
        classes=_names(classes),
        normal_class=normal_class,
        group_regex=group_regex,
        models=tuple(models or ()),
        trust_model=trust_model,
        gan_config=gan_config,
        gan_steps=gan_steps,
        gan_seeds=gan_seeds,
        arms=_names(arms),
        ratios=_numbers(ratio),
        candidates=candidates,
        segmentation=segmentation,
        nets=_names(net),
        net_weights=net_weights,
        image_size=image_size,
        steps=steps,
        batch_size=batch_size,
        seeds=seeds,
        seed=seed,
        defect_rate=defect_rate,
        out=out,
        device=device,
    )
    _refuse_unused(request, fail_on)
    reporter = Reporter(quiet=quiet)
    found = evaluate_gain(request, listener=reporter, watching=_watching(reporter))
    if found.answer is None:
        reporter.warn(f"stopped and saved; the same command with --out {found.folder} goes on")
        raise typer.Exit(options.INTERRUPTED)
    _show(found.answer, found.folder, as_json=as_json)
    if fail_on and found.answer.harms:
        raise CheckFailed(f"{found.answer.lines[0]} Look at {found.answer.report}")


def _names(given: list[str] | None) -> tuple[str, ...] | None:
    return tuple(given) if given else None


def _numbers(texts: list[str] | None) -> tuple[float, ...] | None:
    """Ratios as they are written, ascending; None for the usual ones."""
    from defectgan.errors import SettingError

    if texts in (None, [AUTO]):
        return None
    try:
        numbers = sorted({float(text) for text in texts or ()})
    except ValueError:
        numbers = []
    if not numbers or not LEAST <= numbers[0] <= numbers[-1] <= MOST:
        raise SettingError(
            f"--ratio {' '.join(texts or ())}: expected {AUTO}, or numbers from {LEAST} to {MOST}"
        )
    return tuple(numbers)


def _refuse_unused(request: "GainRequest", fail_on: str | None) -> None:
    """Refuse what is said of things that are not there."""
    r = request
    generators = {"gan_steps": r.gan_steps, "gan_seeds": r.gan_seeds}
    if r.segmentation:
        of_classifiers = {"arms": r.arms, "net": r.nets, "net_weights": r.net_weights}
        why = "is for classifiers: leave it out for segmenters"
        options.refuse(why, **of_classifiers, fail_on=fail_on)
    if not r.plan.paints:
        why = "is for generated images, and no arm here learns from any: leave it out"
        options.refuse(why, **generators, candidates=r.candidates, trust_model=r.trust_model)
    elif not r.models:
        why = "is for a model that you have: name it, or leave this out"
        options.refuse(why, trust_model=r.trust_model)
    if r.models:
        why = f"is of no use: {r.models[0]} is trained already"
        options.refuse(why, gan_config=r.gan_config, **generators)


def _watching(reporter: Reporter) -> "Watching":
    """What shows the training of a generator, and lets a person stop it."""
    from defectgan.training.watch import stop_signals

    @contextmanager
    def watching(steps: int) -> Iterator["tuple[Watcher, Callable[[], bool]]"]:
        with stop_signals() as stop, TrainingReport(reporter, steps) as report:
            yield report, stop

    return watching


def _show(answer: "Answer", folder: Path, *, as_json: bool) -> None:
    from defectgan.evaluation.gain_report import cells, columns

    if as_json:
        files = {"out": folder, "files": answer.files}
        print_json({"says": answer.lines, "table": answer.entries, **files})
        return
    for line in answer.lines:
        typer.echo(line)
    rows = [cells(entry, answer.sheet) for entry in answer.entries]
    print_table(columns(answer.entries, answer.sheet), rows)
    typer.echo(f"report: {answer.report}")
