"""defectgan inspect-masks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defectgan.errors import CheckFailed
from defectgan.listener import LOG
from defectgan_cli import options
from defectgan_cli.console import Reporter
from defectgan_cli.options import DATA, METHOD, OUTPUT, setting, switch
from defectgan_cli.results import print_json, print_table

if TYPE_CHECKING:
    from defectgan.inspection.tally import Findings

GROUPS = (
    *("images", "area", "components", "border", "softness"),
    *("unmasked", "excess", "agreement", "pairwise_iou", "flagged"),
)
LOCATED = ("iou", "iou_best", "ap", "auroc")


def inspect_masks(
    what: Annotated[
        Path | None,
        typer.Argument(
            help="A generated set, a run or its weights, or a folder of real images. Without it: "
            "the newest run.",
            show_default=False,
        ),
    ] = None,
    model: options.Model = None,
    data: Annotated[
        Path | None,
        setting(DATA, "Real images to try the model on.", default="the run's own"),
    ] = None,
    per_class: Annotated[
        int, setting(DATA, "Real images of each class and direction.", min=1)
    ] = 32,
    threshold: Annotated[
        float | None,
        setting(
            METHOD,
            "Opacity above which a pixel counts as defect.",
            default="as recorded, else 0.1",
            min=0,
            max=1,
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        switch(
            METHOD, "calibrate", "Find the threshold by true masks and keep it with the weights."
        ),
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        setting(
            OUTPUT,
            "Flags that end with code 4: empty, full, border, speckled, duplicate, disagree.",
            default="none",
            metavar="FLAG...",
        ),
    ] = None,
    max_flagged: Annotated[
        float, setting(OUTPUT, "Share of images that may have these flags.", min=0, max=1)
    ] = 0.0,
    out: Annotated[
        Path | None,
        setting(
            OUTPUT,
            "Folder for the report.",
            default="inspection, in the set or run, else here",
        ),
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """See and judge every mask: a report to look through, tables, and flags that a script can act
    on.

    On real images the model takes each defect away again; where the data folder has true masks,
    the tables say how well it finds them, beside a baseline that learns nothing.

    Example: defectgan inspect-masks generated/20261122-101500-brushing --fail-on empty duplicate
    """
    from defectgan.inspection.flags import Gate, known_flags
    from defectgan.inspection.inspect_masks import inspect_masks as inspected

    reporter = Reporter(quiet=quiet)
    found = inspected(
        what,
        model=model,
        data=data,
        per_class=per_class,
        threshold=threshold,
        calibrate=calibrate,
        gate=Gate(known_flags(fail_on), max_flagged) if fail_on else None,
        out=out,
        device=device,
        listener=reporter,
    )
    if reporter.cut:
        reporter.write_to(found.report.with_name(LOG))
    passed, verdict = found.verdict or (True, "")
    if verdict and passed:
        reporter.say(verdict)
    if as_json:
        files = {"report": found.report, "contact_sheet": found.contact_sheet}
        print_json({**files, "summary": found.findings.summary})
    else:
        _print(found.findings)
        typer.echo(f"report: {found.report}\ncontact sheet: {found.contact_sheet}")
    if not passed:
        raise CheckFailed(f"{verdict}: look at {found.report}")


def _print(findings: "Findings") -> None:
    """The groups, below them each flag that is raised, and how well defects are found."""
    from defectgan.inspection.flags import FLAGS
    from defectgan.inspection.report import LABELS

    groups = [{"class": k[0], "direction": k[1], **row} for k, row in findings.groups.items()]
    names = [name for name in GROUPS if any(name in row for row in groups)]
    columns = ("class", "direction", *names)
    cells = [[_short(row.get(name)) for name in columns] for row in groups]
    print_table([LABELS.get(name, name) for name in columns], cells)
    raised = {name: count for name, count in findings.flags.items() if count}
    for name, count in raised.items():
        typer.echo(f"{name} {count} of {len(findings.images)}: {FLAGS[name]}")
    if located := findings.located:
        rows = []
        for name, row in located.items():
            by = {"mask": row, "change": row["changed"], "contrast": row["otsu"]}
            for located_by, scores in by.items():
                rows.append([name, located_by, *(_short(scores.get(score)) for score in LOCATED)])
        typer.echo("")
        print_table(("class", "found by", *(LABELS[score] for score in LOCATED)), rows)


def _short(value: Any) -> Any:
    return f"{value:.3g}" if isinstance(value, float) else value
