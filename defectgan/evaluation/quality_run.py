"""The whole of ``evaluate quality``, from a generated set to the report in a folder."""

from pathlib import Path
from typing import Any, NamedTuple

from defectgan.devices import pick_device
from defectgan.evaluation.comparison import find_comparison
from defectgan.evaluation.features import Wanted, default_features, make_features
from defectgan.evaluation.quality import Quality, measure
from defectgan.evaluation.quality_report import as_record, report_files, write_quality
from defectgan.listener import SILENT, Listener
from defectgan.runs import find_run, unused

# Share of each class of other images that is held out by default.
HOLDOUT = 0.5


class QualityReport(NamedTuple):
    """The figures of a generated set, and the files that have them."""

    generated: Path
    quality: Quality
    report: Path
    record: Path

    def as_json(self) -> dict[str, Any]:
        """All figures and the files as one plain object."""
        files = {"report": self.report, "record": self.record}
        return as_record(self.quality, self.generated) | files


def evaluate_quality(
    generated: Path,
    *,
    data: Path | None = None,
    normal_class: str | None = None,
    holdout: float = HOLDOUT,
    model: Path | None = None,
    trust_model: bool = False,
    features: str | None = None,
    weights: Path | None = None,
    image_size: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    listener: Listener = SILENT,
) -> QualityReport:
    """How near a generated set is to real images that nobody has learned from; writes
    ``quality.md`` and ``quality.json``.

    Args:
        generated: the generated set.
        data: real images in any layout that a training reads; None for those of the model's run,
            with what it held out.
        normal_class: the folder of the good images in ``data``.
        holdout: share of each class of ``data`` that is held out where it has no test images.
        model: run of the model that made the set, None for the one that has its weights.
        trust_model: take it that the model has not seen the images held out.
        features: ``imagenet``, ``domain`` or ``inception``; None for the fixed ones where they are
            installed.
        weights: file of torch-fidelity's Inception.
        image_size: pixels a side, or ``HEIGHTxWIDTH``, at which images are compared.
        steps: those that the domain classifier is trained for.
        seed: draws the weights that it begins with, and what is compared.
        out: folder for the report, ``quality`` in the generated set by default; without one yet.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        listener: who is told how it goes.

    Raises:
        SettingError: if features cannot be what is asked for, or are not installed.
        DataError: if there is nothing to compare, or a report already.
        ModelError: if the model has learned from images held out, or nobody can tell.
    """
    wanted = Wanted(features or default_features(), weights, image_size, steps, seed)
    folder = out or unused(generated / "quality")
    report_files(folder)  # before minutes of work, not after
    comparison = find_comparison(
        generated,
        data=data,
        normal_class=normal_class,
        model=model and find_run(model),
        trust=trust_model,
        holdout=holdout,
    )
    learned = comparison.learned
    with listener.counting("steps of the domain classifier", wanted.training_steps) as done:
        place = pick_device(device)
        made = make_features(wanted, comparison.train, learned, device=place, done=done)
    with listener.counting("images", comparison.size) as done:
        quality = measure(comparison, made, wanted.seen(learned), seed=seed, done=done)
    for note in quality.notes:
        listener.warn(note)
    return QualityReport(generated, quality, *write_quality(folder, quality, generated))
