"""The whole of ``inspect-masks``: measure, draw, write down."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectgan.files import new_files, write_atomically
from defectgan.inspection.calibrate import LEAST
from defectgan.inspection.calibrate import calibrate as calibrated
from defectgan.inspection.flags import Gate
from defectgan.inspection.measure import NAMES
from defectgan.inspection.report import Gallery, write_report
from defectgan.inspection.sheet import ContactSheet
from defectgan.inspection.tally import Findings, Tally, rounded
from defectgan.inspection.targets import Target, find_target
from defectgan.listener import LOG, SILENT, Listener
from defectgan.ours import mark_own

FILES = ("report.html", "contact_sheet.png", "summary.json", "masks.csv")
# Real images of each class and direction.
PER_CLASS = 32


@dataclass(frozen=True)
class Inspection:
    """What was found, the verdict of the gate if there was one, and the files that say so."""

    findings: Findings
    verdict: tuple[bool, str] | None
    report: Path
    contact_sheet: Path
    summary: Path
    masks: Path


def inspect_masks(
    what: Path | None = None,
    *,
    model: Path | None = None,
    data: Path | None = None,
    per_class: int = PER_CLASS,
    threshold: float | None = None,
    calibrate: bool = False,
    gate: Gate | None = None,
    out: Path | None = None,
    device: str = "auto",
    listener: Listener = SILENT,
) -> Inspection:
    """Recognise what is to be inspected, and inspect it; see ``inspect``.

    Args:
        what: a generated set, a run or its weights, or a folder of real images; None for the newest
            run.
        model: run or weights to try on real images, None for the newest run.
        data: real images to try a model on, None for the run's own.
        per_class: real images of each class and direction.
        threshold: opacity above which a pixel counts as defect, None for the recorded ones.
        calibrate: find the threshold by true masks first, and keep it with the weights.
        gate: what the set is held against.
        out: folder for the report; ``inspection`` in the set or run by default, without one yet.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        listener: who is told how it goes.

    Raises:
        SettingError: if the same thing is named twice, or there is nothing to calibrate.
        DataError: if there is nothing to inspect, or a report already.
        ModelError: if there is no model.
    """
    target = find_target(what, model=model, data=data, per_class=per_class, device=device)
    log = report_files(target, out)[0].with_name(LOG)  # before minutes of work, not after
    listener.warn_of(target.notes, all_in=log)
    if calibrate:
        target = _calibrated(target, listener)
    with listener.counting("images", len(target.subjects)) as done:
        found = inspect(target, out=out, threshold=threshold, gate=gate, done=done)
    damaged = target.subjects.damaged.items()
    listener.warn_of([f"left out {path}: {reason}" for path, reason in damaged], all_in=log)
    listener.say(f"inspected {target.title}")
    return found


def _calibrated(target: Target, listener: Listener) -> Target:
    target, found = calibrated(target)
    listener.say(
        f"calibrated: opacity above {found:g} agrees best with these true masks, "
        f"kept with {target.weights}"
    )
    if found == LEAST:
        listener.warn(
            "that is the lowest threshold there is: these masks hardly follow the true ones"
        )
    return target


def inspect(
    target: Target,
    *,
    out: Path | None = None,
    threshold: float | None = None,
    gate: Gate | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> Inspection:
    """Inspect a target and write ``report.html``, ``contact_sheet.png``, ``summary.json`` and
    ``masks.csv``.

    Args:
        target: what is inspected.
        out: the folder for the files, None for the target's own.
        threshold: opacity above which a pixel counts as defect, None for the recorded ones.
        gate: what the set is held against; the report shows the verdict.
        done: called with the number of images judged since the last call.

    Raises:
        DataError: if a file is gone or damaged, or none can be read; before anything is judged if
            the folder holds such files already.
    """
    files = report_files(target, out)
    mark_own(files[0].parent, "an inspection")
    used = target.thresholds if threshold is None else dict.fromkeys(target.classes, threshold)
    tally, sheet = Tally(threshold=used), ContactSheet()
    gallery = Gallery(len(target.subjects))
    for subject in target.subjects:
        judged = tally.add(subject)
        sheet.add(subject)
        gallery.add(subject, flagged=bool(judged.flags))
        done(1)
    findings = tally.finish(target.classes)
    verdict = gate.verdict([image.flags for image in findings.images]) if gate else None
    result = Inspection(findings, verdict, *files)
    sheet.save(result.contact_sheet, classes=target.classes)
    write_atomically(result.masks, _table(findings).encode())
    record = _record(target, used, findings)
    write_atomically(result.summary, json.dumps(record, indent=1).encode())
    write_report(
        result.report,
        findings,
        gallery,
        title=target.title,
        facts=target.facts | {"threshold": _in_words(used)},
        verdict=verdict,
    )
    return result


def report_files(target: Target, out: Path | None) -> list[Path]:
    """The files of an inspection in a folder, which holds none of them yet.

    Raises:
        DataError: if it holds one.
    """
    return new_files(out or target.folder, FILES)


def _in_words(thresholds: Mapping[str, float]) -> str:
    """The same for all classes, or each."""
    if len(set(thresholds.values())) == 1:
        return f"opacity above {next(iter(thresholds.values())):g}"
    return "opacity above " + ", ".join(f"{t:g} ({name})" for name, t in thresholds.items())


def _record(target: Target, thresholds: dict[str, float], findings: Findings) -> dict[str, Any]:
    return {
        "inspected": target.title,
        **target.facts,
        "thresholds": thresholds,
        "images": len(findings.images),
        "flagged": findings.flagged,
        "flags": findings.flags,
        "summary": findings.summary,
        "groups": [
            {
                "class": defect,
                "direction": direction,
                **row,
                "heat": findings.heat[defect, direction].round(3).tolist(),
            }
            for (defect, direction), row in findings.groups.items()
        ],
    }


def _table(findings: Findings) -> str:
    """A row an image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "class", "direction", "flags", *NAMES))
    for image in findings.images:
        values = rounded(vars(image.measures))
        row: Sequence[Any] = (image.name, image.defect, image.direction, "|".join(image.flags))
        writer.writerow((*row, *(values.get(name, "") for name in NAMES)))
    return text.getvalue()
