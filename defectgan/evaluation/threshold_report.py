"""What the thresholds come to, as tables that a person reads and files that stay."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from defectgan.evaluation.markdown import table_lines
from defectgan.evaluation.threshold import ThresholdChoice, ThresholdResult
from defectgan.evaluation.threshold_intervals import Sure
from defectgan.files import new_files, write_atomically

REPORT, RECORD = "threshold.md", "threshold.json"
NAMES = {"good": "good images alone", "generated": "generated defects"}
COLUMNS = (
    *("threshold by", "threshold", "good refused", "generated found"),
    *("real good refused", "real found", "F1", "of the best F1"),
)
Table = tuple[tuple[str, ...], list[list[str]]]


def summary(result: ThresholdResult) -> Table:
    """Heads and cells: a row a threshold, what real images say of it where there are any."""
    tested = any(choice.transfer for choice in result.choices)
    return COLUMNS if tested else COLUMNS[:4], [_cells(choice) for choice in result.choices]


def _cells(choice: ThresholdChoice) -> list[str]:
    shares = [_said(choice.refused, ".2%"), _said(choice.found, ".1%")]
    if (real := choice.transfer) is not None:
        shares += [_said(real.refused, ".2%"), _said(real.found, ".1%")]
        shares += [_said(real.f1, ".3f"), _said(real.of_best_f1, ".3f")]
    return [NAMES[choice.by], _said(choice.threshold, ".4g"), *shares]


def _said(figure: Sure, form: str) -> str:
    """A figure and its bounds of 95 %."""
    value, low, high = (f"{number:{form}}" for number in figure)
    return f"{value} ({low} to {high})"


def classes(result: ThresholdResult) -> Table:
    """Heads and cells: a row a class, the share of it that is found at each threshold."""
    sides: list[tuple[str, Mapping[str, Sure]]] = []
    for choice in result.choices:
        sides.append((f"generated found, by {NAMES[choice.by]}", choice.by_class))
        if choice.transfer is not None:
            sides.append((f"real found, by {NAMES[choice.by]}", choice.transfer.by_class))
    names = dict.fromkeys(name for _, found in sides for name in found)
    rows = [
        [name, *(_said(found[name], ".1%") if name in found else "" for _, found in sides)]
        for name in names
    ]
    return ("class", *(head for head, _ in sides)), rows


def report_files(out: Path) -> tuple[Path, Path]:
    """The Markdown and the JSON file of a report in a folder, which holds neither yet.

    Raises:
        DataError: if there is such a file.
    """
    report, record = new_files(out, (REPORT, RECORD))
    return report, record


def write_thresholds(
    out: Path, result: ThresholdResult, facts: Mapping[str, Any]
) -> tuple[Path, Path]:
    """Write the tables as Markdown and all figures as JSON; ``facts`` say what they are of.

    Raises:
        DataError: if the folder holds a report.
    """
    report, record = report_files(out)
    write_atomically(record, json.dumps(as_record(result, facts), indent=1).encode())
    write_atomically(report, _markdown(result, facts).encode())
    return report, record


def as_record(result: ThresholdResult, facts: Mapping[str, Any]) -> dict[str, Any]:
    """All figures as one plain object."""
    return {
        **facts,
        "share": result.share,
        "auroc": {kind: list(area) for kind, area in result.auroc.items()},
        "images": result.images,
        "verdict": result.verdict,
        "notes": list(result.notes),
        "table": result.table(),
    }


def _markdown(result: ThresholdResult, facts: Mapping[str, Any]) -> str:
    counts = {
        name: ", ".join(f"{c} {n}" for c, n in classes.items())
        for name, classes in result.images.items()
    }
    told = ", ".join(f"{kind} {_said(area, '.3f')}" for kind, area in result.auroc.items())
    return "\n".join(
        [
            f"# Thresholds that refuse at most {result.share:.2%} of good images",
            "",
            f"{result.verdict[0].upper()}{result.verdict[1:]}.",
            "",
            *(f"- {name}: {value}" for name, value in {**facts, **counts}.items()),
            f"- AUROC of defects: {told}",
            "- in brackets: intervals of 95 % over the pieces that the images show",
            *(f"- {note}" for note in result.notes),
            "",
            *table_lines(*summary(result)),
            "",
            *table_lines(*classes(result)),
            "",
        ]
    )
