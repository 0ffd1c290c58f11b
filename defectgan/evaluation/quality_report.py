"""What a comparison comes to, as a table that a person reads and files that stay."""

import json
from pathlib import Path
from typing import Any

from defectgan.evaluation.markdown import table_lines
from defectgan.evaluation.quality import Quality, QualityRow
from defectgan.files import new_files, write_atomically

REPORT, RECORD = "quality.md", "quality.json"


def columns(quality: Quality) -> tuple[str, ...]:
    """The heads of the table; a distance is never named without its features."""
    named = ("named right",) if any(row.named is not None for row in quality.rows) else ()
    by = quality.features
    return (
        *("class", "compared", "images", f"KID ({by})", "share", f"FID ({by})"),
        *("precision", "recall", "diversity", *named),
    )


def cells(row: QualityRow) -> list[str]:
    """A row as a person reads it."""
    shares = [row.precision, row.recall, row.diversity]
    if row.named is not None:
        shares.append(row.named)
    return [
        *(row.defect, row.kind, str(row.images)),
        f"{row.kid:.3g} ± {row.kid_std:.2g}",
        "" if row.share is None else f"{row.share:.2f} ± {row.share_std:.2f}",
        f"{row.fid:.3g}",
        *("" if share is None else f"{share:.2f}" for share in shares),
    ]


def report_files(out: Path) -> tuple[Path, Path]:
    """The Markdown and the JSON file of a report in a folder, which holds neither yet.

    Raises:
        DataError: if there is such a file.
    """
    report, record = new_files(out, (REPORT, RECORD))
    return report, record


def write_quality(out: Path, quality: Quality, folder: Path) -> tuple[Path, Path]:
    """Write the table as Markdown and all figures as JSON.

    Args:
        out: the folder.
        quality: the figures.
        folder: the generated set that they are of.

    Raises:
        DataError: if it holds a report.
    """
    report, record = report_files(out)
    write_atomically(record, json.dumps(as_record(quality, folder), indent=1).encode())
    write_atomically(report, _markdown(quality, folder).encode())
    return report, record


def as_record(quality: Quality, folder: Path) -> dict[str, Any]:
    """All figures as one plain object."""
    return {
        "generated": str(folder.resolve()),
        "features": {"name": quality.features, **quality.facts},
        "images": quality.images,
        "notes": list(quality.notes),
        "table": quality.table(),
    }


def _markdown(quality: Quality, folder: Path) -> str:
    facts = {"features": quality.features, **quality.facts}
    return "\n".join(
        [
            f"# Quality of {folder}",
            "",
            *(f"- {name}: {value}" for name, value in facts.items()),
            *(f"- {note}" for note in quality.notes),
            "",
            *table_lines(columns(quality), [cells(row) for row in quality.rows]),
            "",
        ]
    )
