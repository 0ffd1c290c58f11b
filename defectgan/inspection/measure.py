"""Numbers of masks.

A mask [H, W] holds opacities in [0, 1]; a pixel belongs to the defect where its opacity is above a
threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Shares of the image below and above which a mask is called empty and full-frame.
EMPTY_AREA = 0.0005
FULL_AREA = 0.9

Mask = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Subject:
    """An image whose mask is judged.

    ``direction`` says what was done: "restored", "defaced" or "generated";
    ``before`` and ``after`` [H, W, C] are the image without and with what the mask says was
    changed, ``truth`` [H, W] is the true mask in {False, True} where there is one.
    """

    name: str
    defect: str
    direction: str
    before: Pixels | None
    after: Pixels
    mask: Mask
    truth: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Measures:
    """The numbers of one mask; ``iou`` is None without a true mask."""

    area: float
    empty: bool
    full: bool
    iou: float | None


def measure(mask: Mask, truth: NDArray[np.bool_] | None, *, threshold: float) -> Measures:
    """Measure a mask, against the true one if there is one."""
    found = mask > threshold
    area = float(found.mean())
    return Measures(
        area=area,
        empty=area < EMPTY_AREA,
        full=area > FULL_AREA,
        iou=None if truth is None else iou(found, truth),
    )


def iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two regions; 1 where both are empty."""
    union = np.logical_or(found, truth).sum()
    return float(np.logical_and(found, truth).sum() / union) if union else 1.0


def summarize(measured: Mapping[str, Sequence[Measures]]) -> dict[str, dict[str, Any]]:
    """``{class: {images, area, empty, full, flagged, iou?}}``: counts, and means."""
    return {name: _row(numbers) for name, numbers in measured.items() if numbers}


def _row(numbers: Sequence[Measures]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "images": len(numbers),
        "area": round(float(np.mean([m.area for m in numbers])), 4),
        "empty": sum(m.empty for m in numbers),
        "full": sum(m.full for m in numbers),
        "flagged": sum(m.empty or m.full for m in numbers),
    }
    if ious := [m.iou for m in numbers if m.iou is not None]:
        row["iou"] = round(float(np.mean(ious)), 3)
    return row
