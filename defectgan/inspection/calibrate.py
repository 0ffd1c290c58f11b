"""The mask threshold that agrees best with true masks, kept with the weights."""

from dataclasses import replace

import numpy as np

from defectgan.errors import DataError, SettingError
from defectgan.inspection.against import Against
from defectgan.inspection.subjects import RealImages
from defectgan.inspection.targets import Target
from defectgan.metrics import ranking
from defectgan.model.file import record_threshold
from defectgan.model.pixels import INVISIBLE

DIGITS = 6
# Where masks do not follow the true ones, marking everything agrees best: nothing below this is
# taken.
LEAST = INVISIBLE


def calibrate(target: Target) -> tuple[Target, float]:
    """Find the threshold at which the mean over classes of the restoration masks' mean IoU is
    largest, at least LEAST, and record it with the weights, whose default it is from then on.

    Raises:
        SettingError: if what is inspected has no model to calibrate.
        DataError: if no image has a true mask.
    """
    if target.weights is None or not isinstance(target.subjects, RealImages):
        raise SettingError(
            f"{target.title} has no true masks: calibrate a model on real images that have some"
        )
    by_class: dict[str, Against] = {}
    for subject in target.subjects.restored():
        if subject.truth is not None:
            scores = by_class.setdefault(subject.defect, Against())
            threshold = target.thresholds[subject.defect]
            scores.add(subject.mask, subject.truth, threshold=threshold)
    if not by_class:
        raise DataError(
            f"no true masks with the images of {target.title}: expected masks/<class>/<name>.png"
        )
    mean = np.mean([scores.mean_curve for scores in by_class.values()], axis=0)
    threshold = max(LEAST, round(ranking.best_threshold(mean, least=LEAST), DIGITS))
    record_threshold(target.weights, threshold)
    return replace(target, thresholds=dict.fromkeys(target.classes, threshold)), threshold
