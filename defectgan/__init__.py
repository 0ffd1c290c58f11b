"""Synthetic defect images with pixel masks for visual inspection, learned from image-level folders
(Defect-GAN).

docs/library.md shows what a program of your own does with it.
"""

from typing import TYPE_CHECKING

from defectgan.errors import (
    CheckFailed,
    DataError,
    DefectganError,
    ModelError,
    OutOfMemory,
    SettingError,
    TrainingError,
)
from defectgan.lazy import front_door

if TYPE_CHECKING:
    from defectgan.evaluation.gain_request import GainRequest as GainRequest
    from defectgan.evaluation.gain_request import evaluate_gain as evaluate_gain
    from defectgan.evaluation.quality_run import evaluate_quality as evaluate_quality
    from defectgan.evaluation.real import SplitPlan as SplitPlan
    from defectgan.evaluation.threshold_run import evaluate_threshold as evaluate_threshold
    from defectgan.export import export as export_model
    from defectgan.generation.prepare import generate as generate
    from defectgan.inspection.flags import Gate as Gate
    from defectgan.inspection.inspect_masks import inspect_masks as inspect_masks
    from defectgan.listener import SILENT as SILENT
    from defectgan.listener import Listener as Listener
    from defectgan.manifest import ManifestRow as ManifestRow
    from defectgan.manifest import read_manifest as read_manifest
    from defectgan.model.file import Model as Model
    from defectgan.model.file import load_model as load_model
    from defectgan.training.start import train as train
    from defectgan.training.watch import Watcher as Watcher

__version__ = "0.1.0"

_HOMES = {
    "GainRequest": "defectgan.evaluation.gain_request",
    "Gate": "defectgan.inspection.flags",
    "Listener": "defectgan.listener",
    "SILENT": "defectgan.listener",
    "ManifestRow": "defectgan.manifest",
    "Model": "defectgan.model.file",
    "SplitPlan": "defectgan.evaluation.real",
    "Watcher": "defectgan.training.watch",
    "evaluate_gain": "defectgan.evaluation.gain_request",
    "evaluate_quality": "defectgan.evaluation.quality_run",
    "evaluate_threshold": "defectgan.evaluation.threshold_run",
    # ``export`` is the module.
    "export_model": "defectgan.export:export",
    "generate": "defectgan.generation.prepare",
    "inspect_masks": "defectgan.inspection.inspect_masks",
    "load_model": "defectgan.model.file",
    "read_manifest": "defectgan.manifest",
    "train": "defectgan.training.start",
}
if not TYPE_CHECKING:
    __getattr__ = front_door(__name__, _HOMES)

__all__ = [
    "SILENT",
    "CheckFailed",
    "DataError",
    "DefectganError",
    "GainRequest",
    "Gate",
    "Listener",
    "ManifestRow",
    "Model",
    "ModelError",
    "OutOfMemory",
    "SettingError",
    "SplitPlan",
    "TrainingError",
    "Watcher",
    "__version__",
    "evaluate_gain",
    "evaluate_quality",
    "evaluate_threshold",
    "export_model",
    "generate",
    "inspect_masks",
    "load_model",
    "read_manifest",
    "train",
]
