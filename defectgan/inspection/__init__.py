"""Inspection of masks.

targets     what a path means: a run, a generated set, real images to try a model on
subjects    the images of a target with their masks
measure     numbers of a mask; against: with true masks; baseline: without a model
flags       what is wrong at a glance, and whether too many are
tally       all of it by class and direction
calibrate   the mask threshold by true masks
inspect_masks  one inspection; report (HTML) and sheet (PNG) are what a person looks at
"""

from typing import TYPE_CHECKING

from defectgan.lazy import front_door

if TYPE_CHECKING:
    from defectgan.inspection.subjects import RealImages as RealImages
    from defectgan.inspection.tally import MEAN as MEAN
    from defectgan.inspection.tally import Tally as Tally
else:
    __getattr__ = front_door(
        __name__,
        {
            "MEAN": "defectgan.inspection.tally",
            "RealImages": "defectgan.inspection.subjects",
            "Tally": "defectgan.inspection.tally",
        },
    )

__all__ = ["MEAN", "RealImages", "Tally"]
