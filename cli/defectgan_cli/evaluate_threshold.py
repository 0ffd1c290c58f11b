"""defectgan evaluate threshold."""

from pathlib import Path
from typing import Annotated

import typer

from defectgan_cli import options
from defectgan_cli.console import Reporter
from defectgan_cli.options import DATA, METHOD, MODEL, OUTPUT, setting
from defectgan_cli.results import print_json, print_table


def threshold(
    data: Annotated[
        Path,
        setting(
            DATA,
            "Real images, in any layout that train reads; good ones are enough. Test defects tell "
            "how the threshold transfers.",
        ),
    ],
    generated: Annotated[
        Path | None,
        setting(DATA, "A generated set.", default="painted by --model", metavar="FOLDER"),
    ] = None,
    model: Annotated[
        Path | None,
        setting(
            MODEL,
            "Run folder or .safetensors file that paints; of --generated, the run that made it.",
            default="the newest run; for --generated the one that has its weights",
        ),
    ] = None,
    trust_model: Annotated[
        bool, options.trust("Take it that the model has not seen the test images.")
    ] = False,
    n: Annotated[
        int | None,
        setting(METHOD, "Images that are painted of each class.", default="50", min=1),
    ] = None,
    refusals: Annotated[
        float,
        setting(METHOD, "Share of good images that may be refused.", min=0.0, max=0.5),
    ] = 0.01,
    normal_class: options.NormalClassOfData = None,
    group_regex: options.GroupRegexToTestOn = None,
    holdout: Annotated[
        float,
        setting(
            DATA,
            "Share of each class that is kept to test the threshold, where --data names no test "
            "images.",
            min=0.0,
            max=0.95,
        ),
    ] = 0.0,
    image_size: Annotated[
        str,
        setting(
            METHOD,
            "Size at which the detector sees images: pixels a side, or HEIGHTxWIDTH.",
        ),
    ] = "128",
    seed: Annotated[
        int,
        setting(METHOD, "Draws what is held out, what is painted and what is kept.", min=0),
    ] = 0,
    out: Annotated[
        Path | None, setting(OUTPUT, "Folder for the report.", default="threshold, here")
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Which threshold of a detector keeps refusals low, before the first real defect.

    The detector learns from good images alone. Other good images, and generated defects, set the
    threshold; real test defects, where there are any, tell how it transfers.

    Example: defectgan evaluate threshold --data pcb --model latest
    """
    from defectgan.evaluation.threshold_report import classes, summary
    from defectgan.evaluation.threshold_run import EACH, evaluate_threshold

    if generated is not None:
        options.refuse("is for images that are painted here: leave it out", n=n)
    found = evaluate_threshold(
        data,
        generated=generated,
        model=model,
        trust_model=trust_model,
        each=n or EACH,
        refusals=refusals,
        normal_class=normal_class,
        group_regex=group_regex,
        holdout=holdout,
        image_size=image_size,
        seed=seed,
        out=out,
        device=device,
        listener=Reporter(quiet=quiet),
    )
    if as_json:
        print_json(found.as_json())
    else:
        typer.echo(found.result.verdict)
        print_table(*summary(found.result))
        print_table(*classes(found.result))
        typer.echo(f"report: {found.report}")
