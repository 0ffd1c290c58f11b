"""defectgan inspect-masks."""

from pathlib import Path
from typing import Annotated, Any

import typer

from defectgan.errors import CheckFailed
from defectgan_cli import options
from defectgan_cli.console import LOG, CountReport, Reporter, print_json, print_table
from defectgan_cli.options import setting

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
        setting(None, "Real images to try the model on.", default="the run's own"),
    ] = None,
    per_class: Annotated[
        int, setting(None, "Real images of each class and direction.", min=1)
    ] = 32,
    threshold: Annotated[
        float | None,
        setting(
            None,
            "Opacity above which a pixel counts as defect.",
            default="as recorded, else 0.1",
            min=0,
            max=1,
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Find the threshold by true masks and keep it with the weights."
        ),
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        setting(
            None,
            "Flags that end with code 4: empty, full, border, speckled, duplicate, disagree.",
            default="none",
            metavar="FLAG...",
        ),
    ] = None,
    max_flagged: Annotated[
        float, setting(None, "Share of images that may have these flags.", min=0, max=1)
    ] = 0.0,
    out: Annotated[
        Path | None,
        setting(None, "Folder for the report.", default="inspection, in the set or run, else here"),
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
    from defectgan.inspection.calibrate import LEAST
    from defectgan.inspection.calibrate import calibrate as calibrated
    from defectgan.inspection.flags import Gate, known_flags
    from defectgan.inspection.inspect_masks import inspect, report_files
    from defectgan.inspection.targets import find_target

    reporter = Reporter(quiet=quiet)
    gate = Gate(known_flags(fail_on), max_flagged) if fail_on else None
    target = find_target(what, model=model, data=data, per_class=per_class, device=device)
    report_files(target, out)  # before minutes of work, not after
    everything = str((out or target.folder) / LOG)
    reporter.warn_of(target.notes, all_in=everything)
    if calibrate:
        target, found = calibrated(target)
        reporter.say(
            f"calibrated: opacity above {found:g} agrees best with these true masks, "
            f"kept with {target.weights}"
        )
        if found == LEAST:
            reporter.warn(
                "that is the lowest threshold there is: these masks hardly follow the true ones"
            )
    with CountReport(reporter, "images", len(target.subjects)) as report:
        result = inspect(target, out=out, threshold=threshold, gate=gate, done=report.advance)
    damaged = target.subjects.damaged.items()
    reporter.warn_of([f"left out {path}: {reason}" for path, reason in damaged], all_in=everything)
    if reporter.cut:
        reporter.write_to(result.report.with_name(LOG))
    reporter.say(f"inspected {target.title}")
    if result.verdict is not None and result.verdict[0]:
        reporter.say(result.verdict[1])
    if as_json:
        print_json(
            {
                "report": result.report,
                "contact_sheet": result.contact_sheet,
                "summary": result.findings.summary,
            }
        )
    else:
        _print(result.findings)
        typer.echo(f"report: {result.report}\ncontact sheet: {result.contact_sheet}")
    if result.verdict is not None and not result.verdict[0]:
        raise CheckFailed(f"{result.verdict[1]}: look at {result.report}")


def _print(findings: Any) -> None:
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
