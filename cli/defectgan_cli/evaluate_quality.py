"""defectgan evaluate quality."""

from pathlib import Path
from typing import Annotated

import typer

from defectgan_cli import options
from defectgan_cli.console import Reporter
from defectgan_cli.options import DATA, METHOD, MODEL, OUTPUT, setting
from defectgan_cli.results import print_json, print_table


def quality(
    generated: Annotated[Path, typer.Argument(help="A generated set.", show_default=False)],
    data: Annotated[
        Path | None,
        setting(
            DATA,
            "Real images, in any layout that train reads.",
            default="those of the model's run, with what it held out",
        ),
    ] = None,
    normal_class: options.NormalClassOfRun = None,
    holdout: Annotated[
        float | None,
        setting(
            DATA,
            "Share of each class of --data that is held out where it has no test images.",
            default="0.5",
            min=0.05,
            max=0.95,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        setting(
            MODEL,
            "Run of the model that made the set (latest: the newest).",
            default="the one under runs/ that has its weights",
        ),
    ] = None,
    trust_model: Annotated[
        bool, options.trust("Take it that the model has not seen the images held out.")
    ] = False,
    features: Annotated[
        str | None,
        setting(
            METHOD,
            "imagenet (EfficientNet-Lite2, of the extra 'features'), domain (a classifier trained "
            "on the real training images, kept in the cache) or inception (with --weights).",
            default="imagenet where that extra is installed, else domain",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        setting(
            METHOD,
            "File of torch-fidelity's Inception; nothing is ever downloaded.",
            default="none",
            metavar="FILE",
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        setting(
            METHOD,
            "Size at which images are compared: pixels a side, or HEIGHTxWIDTH.",
            default="the model's; for imagenet at least 128, for inception 304",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        setting(
            METHOD,
            "Steps that the domain classifier is trained for.",
            default="300",
            min=1,
        ),
    ] = None,
    seed: Annotated[
        int,
        setting(
            METHOD,
            "Draws the weights that the domain classifier begins with, and what is compared.",
            min=0,
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        setting(OUTPUT, "Folder for the table.", default="quality, in the generated set"),
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
    from defectgan.evaluation.quality_report import cells, columns
    from defectgan.evaluation.quality_run import HOLDOUT, evaluate_quality

    if data is None:
        options.refuse(
            "is for real images that you name: name them with --data, or leave it out",
            normal_class=normal_class,
            holdout=holdout,
        )
    result = evaluate_quality(
        generated,
        data=data,
        normal_class=normal_class,
        holdout=HOLDOUT if holdout is None else holdout,
        model=model,
        trust_model=trust_model,
        features=features,
        weights=weights,
        image_size=image_size,
        steps=steps,
        seed=seed,
        out=out,
        device=device,
        listener=Reporter(quiet=quiet),
    )
    if as_json:
        print_json(result.as_json())
    else:
        print_table(columns(result.quality), [cells(row) for row in result.quality.rows])
        typer.echo(f"report: {result.report}")
