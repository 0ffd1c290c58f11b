"""The masks of an inspection as a page: a table of the classes, and all images to look through."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from defectgan.data.masks import outline
from defectgan.inspection.flags import FLAGS
from defectgan.inspection.subject import Mask, Pixels, Subject
from defectgan.inspection.tally import Findings, Judged, rounded
from defectgan.pages import encoded, write_page

# The longest side of a thumbnail by the number of images: a page of 2,000 stays under 60 MB.
SIDES = ((300, 256), (1000, 192))
SMALLEST = 128
# Thumbnails that the page unpacks at once.
CHUNK = 32
# Of more images the gallery shows about so many, spread evenly, and at most so many flagged ones
# beside them.
MOST = 2000


class Shown(NamedTuple):
    """A measure as the page names it; ``percent`` says how it is written."""

    key: str
    label: str
    percent: bool
    text: str


MEASURES = (
    Shown("area", "area", True, "share of the image that is masked"),
    Shown("components", "parts", False, "connected parts of the mask"),
    Shown("largest", "largest part", True, "share of the image that the largest part covers"),
    Shown("border", "at border", True, "share of the mask that lies along the border of the image"),
    Shown("softness", "softness", True, "share of the mask between the opacities 0.1 and 0.9"),
    Shown("change", "change inside", False, "how far the masked pixels went, of 255"),
    Shown("strays", "strays", False, "pixels that changed where the mask is 0"),
    Shown("unmasked", "unmasked change", True, "share of the visible change below the threshold"),
    Shown("excess", "mask to change", False, "area of the mask over that of the visible change"),
    Shown("agreement", "agreement", False, "IoU of what is painted and what the model takes away"),
    Shown("iou", "IoU", False, "with the true mask, at the threshold"),
    Shown("iou_best", "best IoU", False, "with the true mask, at the best threshold"),
    Shown("ap", "pixel AP", False, "average precision of the pixels against the true mask"),
    Shown("auroc", "pixel AUROC", False, "area under the ROC curve of the pixels"),
)
# What people call a measure, of an image or of a class.
LABELS = {measure.key: measure.label for measure in MEASURES} | {"pairwise_iou": "alike"}


class Gallery:
    """The thumbnails of ``total`` images: source, result, mask, outline of the true mask, and the
    mask that takes away again what was painted; those that are not there are empty. ``shown`` are
    the places of those that are kept, all of them unless there are very many.
    """

    def __init__(self, total: int) -> None:
        self._side = next((side for most, side in SIDES if total <= most), SMALLEST)
        self._images: list[tuple[str, ...]] = []
        self._apart = max(1, -(-total // MOST))
        self._seen = self._flagged = 0
        self.shown: list[int] = []

    def add(self, subject: Subject, *, flagged: bool) -> None:
        """Keep the thumbnails of a subject, or only count it."""
        place, self._seen = self._seen, self._seen + 1
        self._flagged += flagged
        if place % self._apart and not (flagged and self._flagged <= MOST):
            return
        self.shown.append(place)
        truth = None if subject.truth is None else outline(subject.truth)
        masks = [
            None if mask is None else stencil(mask) for mask in (subject.mask, truth, subject.again)
        ]
        pictures = (subject.before, subject.after, *masks)
        self._images.append(
            tuple("" if p is None else encoded(p, side=self._side) for p in pictures)
        )

    def chunks(self) -> Iterator[list[tuple[str, ...]]]:
        """The thumbnails, as many at once as the page unpacks."""
        for start in range(0, len(self._images), CHUNK):
            yield self._images[start : start + CHUNK]


def stencil(mask: Mask) -> Pixels:
    """White [H, W, 4], as opaque as the mask: the page gives it its colour."""
    alpha = (mask * 255).round().astype(np.uint8)
    return np.dstack([np.full((*mask.shape, 3), 255, np.uint8), alpha])


def write_report(
    path: Path,
    findings: Findings,
    gallery: Gallery,
    *,
    title: str,
    facts: Mapping[str, str],
    verdict: tuple[bool, str] | None,
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: where to.
        findings: what was found.
        gallery: the thumbnails of the same images, added in the same order.
        title: what was inspected, in words.
        facts: where it comes from, name by name.
        verdict: whether it passed what it was held against, and the sentence that says so.
    """
    write_page(
        path,
        "defectgan.inspection",
        "report",
        title=title,
        facts=dict(facts),
        verdict=verdict,
        findings=findings,
        directions=list(dict.fromkeys(direction for _, direction in findings.groups)),
        flags=FLAGS,
        measures=[m for m in MEASURES if any(m.key in row for row in findings.groups.values())],
        heat={key: _heat(heat) for key, heat in findings.heat.items()},
        located=findings.located,
        data=_data([findings.images[place] for place in gallery.shown]),
        shown=len(gallery.shown),
        chunks=gallery.chunks(),
    )


def _heat(heat: Mask) -> str:
    """A heat map from black to yellow, its hottest cell the brightest."""
    levels = (heat * (255 / max(float(heat.max()), 1e-6))).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]
    return encoded(np.ascontiguousarray(colours), side=levels.shape[0])


def _data(images: Sequence[Judged]) -> dict[str, Any]:
    """What the page's script reads."""
    return {
        "chunk": CHUNK,
        "measures": [m._asdict() for m in MEASURES],
        "items": [
            {
                "name": image.name,
                "defect": image.defect,
                "direction": image.direction,
                "flags": image.flags,
                **rounded({m.key: getattr(image.measures, m.key) for m in MEASURES}),
            }
            for image in images
        ],
    }
