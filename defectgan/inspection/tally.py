"""Measures of many masks, gathered by class and direction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from defectgan.data.masks import is_defect
from defectgan.inspection.against import Against
from defectgan.inspection.baseline import local_contrast, otsu
from defectgan.inspection.flags import DUPLICATE, EMPTY, FLAGS, FULL, duplicates, flags_of
from defectgan.inspection.measure import NAMES, Measures, measure
from defectgan.inspection.subject import Mask, Place, Region, Subject
from defectgan.metrics.overlap import pairwise_iou

# Cells a side of a heat map, and of the small masks whose overlap says how alike they are.
HEAT = 32
SMALL = 48
# Masks of a group that are compared with each other.
COMPARED = 512
# What is averaged over a group; against true masks all pixels are ranked together instead.
AVERAGED = NAMES[: NAMES.index("strays")]
LOCATED = ("iou", "iou_best", "ap", "auroc")
# What is said of paint: areas of all images of a group together.
PAINTED = ("visible", "unmasked", "excess")
# What is held against true masks beside the mask itself: what a restoration changed in the image,
# wherever its mask is faint; and what needs no model.
RIVALS = ("changed", "otsu")
MEAN = "mean of classes"
DIGITS = 4


@dataclass(frozen=True)
class Judged:
    """An image with its numbers and flags."""

    name: str
    defect: str
    direction: str
    measures: Measures
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """What an inspection found: the images; a row each class, ``summary``, and each class and
    direction, ``groups``; heat maps [HEAT, HEAT], the share of a group's images that have a defect
    there.
    """

    images: tuple[Judged, ...]
    summary: dict[str, dict[str, Any]]
    groups: dict[tuple[str, str], dict[str, Any]]
    heat: dict[tuple[str, str], Mask]

    @property
    def flags(self) -> dict[str, int]:
        """How many images have each flag."""
        return count_flags(self.images)

    @property
    def located(self) -> dict[str, dict[str, Any]]:
        """The scores against true masks by class and, where there are several, their ``mean``; each
        with those of ``RIVALS``. Empty without true masks.
        """
        rows = {name: row for name, row in self.summary.items() if RIVALS[0] in row}
        if len(rows) < 2:
            return rows
        each = list(rows.values())
        rivals = {rival: _means([row[rival] for row in each]) for rival in RIVALS}
        return rows | {MEAN: _means(each) | rivals}

    @property
    def flagged(self) -> int:
        """How many images have any flag."""
        return sum(bool(image.flags) for image in self.images)


@dataclass
class _Group:
    """What is kept of the images of a class and direction."""

    heat: Mask = field(default_factory=lambda: np.zeros((HEAT, HEAT), np.float32))
    small: list[Region] = field(default_factory=list)
    ours: Against = field(default_factory=Against)
    rivals: dict[str, Against] = field(default_factory=lambda: {r: Against() for r in RIVALS})


class Tally:
    """Measures one subject after the other; keeps numbers and small masks of them."""

    def __init__(self, *, threshold: float | Mapping[str, float]) -> None:
        """Args: the opacity above which a pixel is defect, one for all or that of each class."""
        self._threshold = threshold
        self._images: list[Judged] = []
        self._digests: list[tuple[str, str] | None] = []
        self._groups: dict[tuple[str, str], _Group] = {}

    def add(self, subject: Subject) -> Judged:
        """Measure a subject; returns what is known before all are there, duplicates are not."""
        s, given = subject, self._threshold
        threshold = given if isinstance(given, float | int) else given[s.defect]
        measures = measure(s, threshold=threshold)
        judged = Judged(s.name, s.defect, s.direction, measures, flags_of(measures))
        self._images.append(judged)
        self._digests.append((s.direction, s.digest) if s.digest else None)
        group = self._groups.setdefault((s.defect, s.direction), _Group())
        found = is_defect(s.mask, threshold)
        _heat(group.heat, found, s.place)
        if found.any() and len(group.small) < COMPARED:
            group.small.append(_resized(found, SMALL, SMALL) >= 0.5)
        if s.truth is not None and s.before is not None and s.change is not None:
            group.ours.add(s.mask, s.truth, threshold=threshold)
            scores = (s.change / np.float32(255), local_contrast(s.before))
            for rival, found_by in zip(RIVALS, scores, strict=True):
                group.rivals[rival].add(found_by, s.truth, threshold=otsu(found_by))
        return judged

    def finish(self, classes: Sequence[str]) -> Findings:
        """What was found, in the order of the classes."""
        same = duplicates(self._digests)
        images = [
            replace(image, flags=_with_duplicate(image.flags)) if i in same else image
            for i, image in enumerate(self._images)
        ]
        keys = sorted(self._groups, key=lambda key: classes.index(key[0]))
        rows = {key: _row(_of(images, *key), self._groups[key]) for key in keys}
        return Findings(
            images=tuple(images),
            summary={
                name: _class_row(_of(images, name), [rows[key] for key in keys if key[0] == name])
                for name in dict.fromkeys(key[0] for key in keys)
            },
            groups=rows,
            heat={key: self._groups[key].heat / rows[key]["images"] for key in keys},
        )


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return rounded({name: _mean([row.get(name) for row in rows]) for name in LOCATED})


def count_flags(images: Iterable[Judged]) -> dict[str, int]:
    """How many images have each flag."""
    flags = [image.flags for image in images]
    return {name: sum(name in f for f in flags) for name in FLAGS}


def _with_duplicate(flags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in FLAGS if name in flags or name == DUPLICATE)


def _of(images: Sequence[Judged], defect: str, direction: str | None = None) -> list[Judged]:
    return [i for i in images if i.defect == defect and direction in (None, i.direction)]


def _row(images: Sequence[Judged], group: _Group) -> dict[str, Any]:
    row = _counts(images) | {
        name: _mean([getattr(i.measures, name) for i in images]) for name in AVERAGED
    }
    row |= _painted([i.measures for i in images])
    row["pairwise_iou"] = pairwise_iou(group.small)
    if group.ours.ious:
        row |= group.ours.row()
        row |= {rival: rounded(against.row()) for rival, against in group.rivals.items()}
    return rounded(row)


def _painted(measures: Sequence[Measures]) -> dict[str, float | None]:
    """PAINTED of the images where something is visible or not: a mean of their ratios would hang
    on those where next to nothing is.
    """
    known = [(m.visible, m.unmasked or 0.0, m.area) for m in measures if m.visible is not None]
    visible = sum(v for v, _, _ in known)
    if not visible:
        return {"visible": 0.0} if known else {}
    return {
        "visible": visible / len(known),
        "unmasked": sum(v * unmasked for v, unmasked, _ in known) / visible,
        "excess": sum(area for _, _, area in known) / visible,
    }


def _class_row(images: Sequence[Judged], groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All images of a class; what was measured in one direction alone as it is."""
    row = _counts(images) | {"area": _mean([i.measures.area for i in images])}
    for group in groups:
        names = ("agreement", *PAINTED, *LOCATED, "threshold_best", *RIVALS)
        row |= {name: group[name] for name in names if name in group}
    return rounded(row)


def _counts(images: Sequence[Judged]) -> dict[str, Any]:
    flags = count_flags(images)
    return {
        "images": len(images),
        "flagged": sum(bool(i.flags) for i in images),
        "empty": flags[EMPTY],
        "full": flags[FULL],
        "flags": {name: count for name, count in flags.items() if count},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """The row with shorter numbers, without what does not apply."""
    return {
        name: round(value, DIGITS) if isinstance(value, float) else value
        for name, value in row.items()
        if value is not None
    }


def _heat(heat: Mask, found: Region, place: Place) -> None:
    """Add a mask to the part of a heat map that is its place in the image."""
    left, top, width, height = (round(share * HEAT) for share in place)
    left, top = min(left, HEAT - 1), min(top, HEAT - 1)
    width, height = max(1, min(width, HEAT - left)), max(1, min(height, HEAT - top))
    heat[top : top + height, left : left + width] += _resized(found, width, height)


def _resized(found: Region, width: int, height: int) -> Mask:
    """The share of each cell that is found."""
    size = (width, height)
    return np.asarray(
        cv2.resize(found.astype(np.float32), size, interpolation=cv2.INTER_AREA), dtype=np.float32
    )
