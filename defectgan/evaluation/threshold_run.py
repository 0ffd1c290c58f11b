"""The whole of ``evaluate threshold``, from real good images to the report in a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from defectgan.devices import pick_device
from defectgan.evaluation.bench import seen_size
from defectgan.evaluation.threshold import ThresholdResult, choose, images_seen
from defectgan.evaluation.threshold_images import (
    ThresholdMaterial,
    gather,
    generated_defects,
    paint,
    refuse_seen_by,
    refuse_unseen,
)
from defectgan.evaluation.threshold_report import as_record, report_files, write_thresholds
from defectgan.listener import SILENT, Listener
from defectgan.model.file import load_model
from defectgan.networks.imagenet import JUDGE, imagenet
from defectgan.runs import find_model, find_run, unused
from defectgan.settings.data import DataConfig

# Images painted of each class.
EACH = 50


class ThresholdReport(NamedTuple):
    """The thresholds, what they are of, and the files that have them."""

    result: ThresholdResult
    facts: Mapping[str, Any]
    report: Path
    record: Path

    def as_json(self) -> dict[str, Any]:
        """All figures and the files as one plain object."""
        files = {"report": self.report, "record": self.record}
        return as_record(self.result, self.facts) | files


def evaluate_threshold(
    data: Path,
    *,
    generated: Path | None = None,
    model: Path | None = None,
    trust_model: bool = False,
    each: int = EACH,
    refusals: float = 0.01,
    normal_class: str | None = None,
    group_regex: str | None = None,
    holdout: float = 0.0,
    image_size: str = "128",
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    listener: Listener = SILENT,
) -> ThresholdReport:
    """Which threshold of a detector keeps refusals low, before the first real defect; writes
    ``threshold.md`` and ``threshold.json``.

    Args:
        data: real images; good ones are enough, test defects tell how the threshold transfers.
        generated: a generated set, None to let the model paint one below ``out``.
        model: run folder or weights that paint, None for the newest run; of a generated set the run
            that made it, None to find it by its weights.
        trust_model: take it that the model has not seen the test images.
        each: images that are painted of each class.
        refusals: share of good images that may be refused.
        normal_class: the folder of the good images.
        group_regex: finds in a file's name the piece that it shows; pieces are never parted.
        holdout: share of each class that is kept to test, where the data names no test images.
        image_size: pixels a side, or ``HEIGHTxWIDTH``, at which the detector sees images.
        seed: draws what is held out, painted and kept.
        out: folder for the report, ``threshold`` here by default; without one yet.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        listener: who is told how it goes.

    Raises:
        SettingError: if the size is none, or the detector's features are not installed.
        DataError: if there are too few images, or there is a report already.
        ModelError: if the model has seen the test images, or nobody can tell.
    """
    size, place = seen_size(image_size), pick_device(device)
    folder = out or unused(Path("threshold"))
    report_files(folder)  # before minutes of work, not after
    net = imagenet(JUDGE, device=place)
    painter = find_model(model) if generated is None else model and find_run(model)
    config = DataConfig(normal_class=normal_class, group_regex=group_regex)
    material = gather(data, config, holdout=holdout, seed=seed)
    notes = refuse_seen_by(material, generated=generated, model=painter, trust=trust_model)
    made = generated or folder / "generated"
    if generated is None:
        assert painter is not None
        _paint(painter, material, made, size, each, seed, place, listener)
    refuse_unseen(material, size, generated=generated)
    defects, about_made = generated_defects(made, material)
    with listener.counting("images", images_seen(material, defects)) as done:
        result = choose(
            material,
            defects,
            net.maps,
            image_size=size,
            share=refusals,
            device=place,
            seed=seed,
            notes=(*material.notes, *notes, *about_made),
            done=done,
        )
    for note in result.notes:
        listener.warn(note)
    facts = {
        "data": str(data.resolve()),
        "generated defects": str(made.resolve()),
        "features": f"{net.name} (SHA-256 {net.sha256[:16]})",
        "image size": f"{size[1]} x {size[0]}",
        "seed": seed,
    }
    return ThresholdReport(result, facts, *write_thresholds(folder, result, facts))


def _paint(
    painter: Path,
    material: ThresholdMaterial,
    folder: Path,
    size: tuple[int, int],
    each: int,
    seed: int,
    place: torch.device,
    listener: Listener,
) -> None:
    model = load_model(painter, device=place)
    refuse_unseen(material, size, model=model)
    with listener.counting("images painted", each * len(model.info.classes[1:])) as done:
        paint(model, material, folder, each=each, seed=seed, device=place, done=done)
