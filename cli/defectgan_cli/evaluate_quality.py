"""defectgan evaluate quality."""

from pathlib import Path
from typing import Annotated

import typer

from defectgan_cli import options
from defectgan_cli.console import CountReport, Reporter, print_json, print_table
from defectgan_cli.options import setting

# Share of each class of other images that is held out by itself.
HOLDOUT = 0.5


def quality(
    generated: Annotated[Path, typer.Argument(help="A generated set.", show_default=False)],
    data: Annotated[
        Path | None,
        setting(
            None,
            "Real images, in any layout that train reads.",
            default="those of the model's run, with what it held out",
        ),
    ] = None,
    normal_class: Annotated[
        str | None,
        setting(
            None,
            "Folder of the good images in --data.",
            default="normal, good, ok, free or defect-free, or as in the model's run",
        ),
    ] = None,
    holdout: Annotated[
        float | None,
        setting(
            None,
            "Share of each class of --data that is held out where it has no test images.",
            default=str(HOLDOUT),
            min=0.05,
            max=0.95,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        setting(
            None,
            "Run of the model that made the set (latest: the newest).",
            default="the one under runs/ that has its weights",
        ),
    ] = None,
    trust_model: Annotated[
        bool,
        typer.Option(
            "--trust-model", help="Take it that the model has not seen the images held out."
        ),
    ] = False,
    features: Annotated[
        str | None,
        setting(
            None,
            "imagenet (EfficientNet-Lite2, of the extra 'features'), domain (a classifier trained "
            "on the real training images, kept in the cache) or inception (with --weights).",
            default="imagenet where that extra is installed, else domain",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        setting(
            None,
            "File of torch-fidelity's Inception; nothing is ever downloaded.",
            default="none",
            metavar="FILE",
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        setting(
            None,
            "Size at which images are compared: pixels a side, or HEIGHTxWIDTH.",
            default="the model's; for imagenet at least 128, for inception 304",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        setting(None, "Steps that the domain classifier is trained for.", default="300", min=1),
    ] = None,
    seed: Annotated[
        int,
        setting(
            None,
            "Draws the weights that the domain classifier begins with, and what is compared.",
            min=0,
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        setting(None, "Folder for the table.", default="quality, in the generated set"),
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """How near a generated set is to real images that nobody has learned from.

    Beside it stand the floor (one half of those real images against the other) and the ceiling
    (normal images called defects). KID comes first: FID is biased for few images.

    Example: defectgan evaluate quality for-training
    """
    from defectgan.devices import pick_device
    from defectgan.evaluation.comparison import find_comparison
    from defectgan.evaluation.features import Wanted, default_features, make_features
    from defectgan.evaluation.quality import measure
    from defectgan.evaluation.quality_report import (
        as_record,
        cells,
        columns,
        report_files,
        write_quality,
    )
    from defectgan.runs import find_run, unused

    reporter = Reporter(quiet=quiet)
    wanted = Wanted(features or default_features(), weights, image_size, steps, seed)
    folder = out or unused(generated / "quality")
    report_files(folder)  # before minutes of work, not after
    run = model and find_run(model)
    if data is None:
        options.refuse(
            "is for real images that you name: name them with --data, or leave it out",
            normal_class=normal_class,
            holdout=holdout,
        )
    comparison = find_comparison(
        generated,
        data=data,
        normal_class=normal_class,
        model=run,
        trust=trust_model,
        holdout=HOLDOUT if holdout is None else holdout,
    )
    with CountReport(reporter, "steps of the domain classifier", wanted.training_steps) as report:
        made = make_features(
            wanted,
            comparison.train,
            comparison.learned,
            device=pick_device(device),
            done=report.advance,
        )
    seen = wanted.seen(comparison.learned)
    with CountReport(reporter, "images", comparison.size) as report:
        result = measure(comparison, made, seen, seed=seed, done=report.advance)
    for note in result.notes:
        reporter.warn(note)
    report_file, record_file = write_quality(folder, result, generated)
    if as_json:
        print_json(as_record(result, generated) | {"report": report_file, "record": record_file})
    else:
        print_table(columns(result), [cells(row) for row in result.rows])
        typer.echo(f"report: {report_file}")
