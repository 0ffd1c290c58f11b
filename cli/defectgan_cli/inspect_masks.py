"""defectgan inspect-masks."""

from pathlib import Path
from typing import Annotated, Any

import typer

from defectgan_cli import options
from defectgan_cli.console import Reporter, print_json, print_table
from defectgan_cli.options import setting


def inspect_masks(
    generated: Annotated[
        Path | None,
        typer.Argument(
            help="A folder that generate wrote. Without it: the model on real images, both ways.",
            show_default=False,
        ),
    ] = None,
    model: options.Model = None,
    data: Annotated[
        Path | None,
        setting(None, "Real images to try the model on.", default="the run's own"),
    ] = None,
    per_class: Annotated[
        int, setting(None, "Real images of each class and direction.", min=1)
    ] = 32,
    threshold: Annotated[
        float, setting(None, "Opacity above which a pixel counts as defect.", min=0, max=1)
    ] = 0.3,
    out: Annotated[
        Path | None,
        setting(None, "Folder for the sheet.", default="inspection, in what is inspected"),
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """See and judge masks: a contact sheet, and a table of areas and of empty and full-frame masks.

    On real images the model takes each defect away again; where the data folder has true masks, IoU
    says how well the mask finds the defect.

    Example: defectgan inspect-masks generated/20261122-101500-brushing
    """
    from defectgan.inspection.run import inspect_generated, inspect_model

    reporter = Reporter(quiet=quiet)
    if generated is not None:
        result = inspect_generated(generated, out=out, threshold=threshold)
    else:
        result = inspect_model(
            model, data=data, out=out, per_class=per_class, threshold=threshold, device=device
        )
    reporter.say(f"inspected {result.subject}")
    if as_json:
        print_json(
            {
                "report": result.report,
                "contact_sheet": result.contact_sheet,
                "summary": result.summary,
            }
        )
        return
    columns = ("class", "images", "area", "empty", "full", "flagged", "iou")
    print_table(columns, [_row(name, row, columns[1:]) for name, row in result.summary.items()])
    typer.echo(f"contact sheet: {result.contact_sheet}")


def _row(name: str, row: dict[str, Any], columns: tuple[str, ...]) -> list[Any]:
    return [name, *(row.get(column) for column in columns)]
