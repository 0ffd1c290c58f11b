"""An inspection: measure, draw the sheet, write both down."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from defectgan.config import DataConfig
from defectgan.data.index import Index, index_data, read_split
from defectgan.devices import pick_device
from defectgan.errors import DataError
from defectgan.files import write_atomically
from defectgan.generation.writers import read_manifest
from defectgan.inspection.measure import Measures, Subject, measure, summarize
from defectgan.inspection.report import ContactSheet
from defectgan.inspection.subjects import generated_subjects, model_subjects
from defectgan.runs import RunFolder, beside, find_run, unused
from defectgan.training.checkpoint import load_model

FOLDER = "inspection"


@dataclass(frozen=True)
class Inspection:
    """What was inspected, in words, the files that say so, and the summary ``{class: {images, area,
    empty, ...}}``.
    """

    subject: str
    report: Path
    contact_sheet: Path
    summary: dict[str, dict[str, Any]]


def inspect_generated(folder: Path, *, out: Path | None, threshold: float) -> Inspection:
    """Inspect a folder that generate wrote."""
    classes = list(dict.fromkeys(row["class"] for row in read_manifest(folder)))
    subjects = generated_subjects(folder)
    return _inspect(str(folder), subjects, classes, out or unused(folder / FOLDER), threshold)


def inspect_model(
    model: Path | None,
    *,
    data: Path | None,
    out: Path | None,
    per_class: int,
    threshold: float,
    device: str,
) -> Inspection:
    """Inspect a model on real images: those of ``data``, or its run's own, held out if there are
    any.
    """
    path = find_run(model)
    target = pick_device(device)
    trained = load_model(path, device=target)
    if data is not None:
        learned = trained.info.config.data
        wanted = DataConfig(classes=trained.info.classes[1:], normal_class=learned.normal_class)
        index = index_data(data, wanted)
        images = str(data)
    else:
        index, images = _own_images(path)
    subjects = model_subjects(trained, index, per_class=per_class, device=target)
    folder = out or unused(beside(path) / FOLDER)
    return _inspect(f"{path} on {images}", subjects, index.classes[1:], folder, threshold)


def _own_images(run: Path) -> tuple[Index, str]:
    """A run's images, and what they are."""
    if not run.is_dir():
        raise DataError(f"{run} is weights alone: name the folder of real images to try them on")
    index = read_split(RunFolder(run).split)
    if any(sample.labels for sample in index.held_out):
        return replace(index, samples=index.held_out), "the images that it held out"
    return index, "the images that it learned from"


def _inspect(
    subject: str,
    subjects: Iterable[Subject],
    classes: Sequence[str],
    out: Path,
    threshold: float,
) -> Inspection:
    measured: dict[str, list[Measures]] = {name: [] for name in classes}
    sheet = ContactSheet()
    for item in subjects:
        measured[item.defect].append(measure(item.mask, item.truth, threshold=threshold))
        sheet.add(item)
    summary = summarize(measured)
    report, picture = out / "summary.json", out / "contact_sheet.png"
    sheet.save(picture, classes=classes)
    record = {"inspected": subject, "threshold": threshold, "summary": summary}
    write_atomically(report, json.dumps(record, indent=1).encode())
    return Inspection(subject, report, picture, summary)
