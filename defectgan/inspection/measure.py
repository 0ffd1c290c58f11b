"""Numbers of masks.

A mask [H, W] holds opacities in [0, 1]; a pixel belongs to the defect where its opacity is above a
threshold, and it has visibly changed where it went VISIBLE of 255 or more. Areas are shares of the
H x W pixels.
"""

from dataclasses import dataclass, fields

import numpy as np

from defectgan.data.masks import VISIBLE, along_border, find_parts, is_defect
from defectgan.inspection.subject import RESTORED, Mask, Place, Region, Subject
from defectgan.metrics import ranking
from defectgan.metrics.overlap import iou

# Opacities between which a mask is neither off nor on.
SOFT = (0.1, 0.9)


@dataclass(frozen=True)
class Measures:
    """The numbers of one mask, None for what does not apply.

    ``area``; ``components`` connected parts, of which the largest has area ``largest``; ``border``
    is the share of the mask that lies along the image's border, ``softness`` the share of it that
    is neither off nor on; ``x`` and ``y`` its centre in shares of the whole image; ``agreement``
    the IoU with the mask by which the model takes the defect away again; ``change`` how far the
    pixels inside went, of 255; ``strays`` the changed pixels outside. Of paint ``visible`` is the
    area that has visibly changed, ``unmasked`` the share of that below the threshold, ``excess``
    how many times as large the mask is. Against a true mask ``iou`` at the threshold, ``iou_best``
    at the best one for this image, average precision ``ap`` and ``auroc`` of its pixels.
    """

    area: float
    components: int
    largest: float
    border: float
    softness: float
    x: float | None
    y: float | None
    agreement: float | None
    change: float | None
    strays: int
    visible: float | None
    unmasked: float | None
    excess: float | None
    iou: float | None
    iou_best: float | None
    ap: float | None
    auroc: float | None


NAMES = tuple(field.name for field in fields(Measures))


def measure(subject: Subject, *, threshold: float) -> Measures:
    """Measure a mask, against the true one and the model's second opinion if there are any."""
    found = is_defect(subject.mask, threshold)
    parts = find_parts(found)
    x, y = _centre(found, subject.place)
    change, again = subject.change, subject.again
    against = _against(subject.mask, found, subject.truth)
    return Measures(
        area=float(found.mean()),
        components=len(parts),
        largest=parts[0][-1] / found.size if parts else 0.0,
        border=along_border(found),
        softness=_share(subject.mask < SOFT[1], subject.mask > SOFT[0]),
        x=x,
        y=y,
        agreement=None if again is None else iou(found, is_defect(again, threshold)),
        change=None if change is None or not found.any() else float(change[found].mean()),
        strays=subject.strays,
        **_painted(subject, found),
        **against,
    )


def _painted(subject: Subject, found: Region) -> dict[str, float | None]:
    """How a mask compares with what a person sees of the paint that it stands for."""
    if subject.change is None or subject.direction == RESTORED:
        return dict.fromkeys(("visible", "unmasked", "excess"))
    seen = subject.change >= VISIBLE
    visible = float(seen.mean())
    return {
        "visible": visible,
        "unmasked": 1 - _share(found, seen) if visible else None,
        "excess": float(found.mean()) / visible if visible else None,
    }


def _against(mask: Mask, found: Region, truth: Region | None) -> dict[str, float | None]:
    if truth is None:
        return dict.fromkeys(("iou", "iou_best", "ap", "auroc"))
    ranks = ranking.rank(mask, truth)
    return {
        "iou": iou(found, truth),
        "iou_best": float(ranking.ious(ranks).max()),
        "ap": ranking.average_precision(ranks),
        "auroc": ranking.auroc_of_ranks(ranks),
    }


def _share(part: Region, whole: Region) -> float:
    """How much of a region lies in another one; 0 where it is empty."""
    return float(part[whole].mean()) if whole.any() else 0.0


def _centre(found: Region, place: Place) -> tuple[float | None, float | None]:
    rows, columns = np.nonzero(found)
    if not len(rows):
        return None, None
    left, top, width, height = place
    x = left + width * (float(columns.mean()) + 0.5) / found.shape[1]
    y = top + height * (float(rows.mean()) + 0.5) / found.shape[0]
    return x, y
