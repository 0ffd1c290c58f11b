"""A threshold before the first real defect: set by good images and generated defects alone.

The good images are parted by piece: from one part a detector learns (``detector``), the other sets
the threshold, in one of two ways.

good       the lowest score that refuses at most the share that is allowed; this needs no defects,
           and says nothing of how many are found
generated  among the thresholds that refuse no more, the one at which generated defects are best
           told from good images: higher than the other where they leave room, so that fewer good
           ones are refused for as many of them found

What generated defects add to the first is what to expect of it: the share of each class that is
found. Where there are real defects, held out from all this, both are held against them, once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectgan.config import DataConfig
from defectgan.data.dataset import ImageSet, to_tensor
from defectgan.data.index import Index
from defectgan.devices import upload
from defectgan.evaluation.detector import Detector, Maps, fit_detector
from defectgan.evaluation.images import batches
from defectgan.evaluation.threshold_images import Material
from defectgan.images import unit
from defectgan.metrics.refusal import (
    FEWEST,
    auroc,
    best_f1,
    best_told_at,
    f1_at,
    measurable_shares,
    threshold_at,
)

By = Literal["good", "generated"]
Scores = NDArray[np.float64]
# The scores of the images of each class [N], good ones first.
ByClass = Sequence[Scores]

BATCH = 32
# Below this AUROC a detector is of little use.
TOLD = 0.7


@dataclass(frozen=True)
class Transfer:
    """What a threshold is worth on real images that nothing has learned from: the share of good
    ones refused, of defects ``found``, of all and of each class; ``f1`` of the defects, and what
    share it is of the highest at any threshold.
    """

    refused: float
    found: float
    by_class: Mapping[str, float]
    f1: float
    of_best_f1: float


@dataclass(frozen=True)
class Choice:
    """A threshold: ``refused`` is the share of the good images that set it which lie above,
    ``found`` that of the generated defects, of all and of each class.
    """

    by: By
    threshold: float
    refused: float
    found: float
    by_class: Mapping[str, float]
    transfer: Transfer | None


@dataclass(frozen=True)
class Result:
    """Both thresholds; ``share`` may be refused; ``auroc`` says how well the detector tells defects
    from good images that it does not know, ``generated`` and ``real`` ones, if there are any;
    ``images`` are counts by what they serve for and class; ``notes`` are what a person should know.
    """

    share: float
    choices: tuple[Choice, ...]
    auroc: Mapping[str, float]
    images: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Which threshold transfers better, as a sentence."""
        good, generated = self.choices
        if good.transfer is None or generated.transfer is None:
            return "no real defects are held out: how the thresholds transfer is not known"
        ours, theirs = generated.transfer.f1, good.transfer.f1
        told = f"F1 {max(ours, theirs):.3f} against {min(ours, theirs):.3f} on real images"
        if ours == theirs:
            return f"both thresholds transfer alike: F1 {ours:.3f} on real images"
        better = "generated defects" if ours > theirs else "good images alone"
        return f"the threshold by {better} transfers better: {told}"

    def table(self) -> list[dict[str, Any]]:
        """The choices as plain objects."""
        return [asdict(choice) for choice in self.choices]


def choose(
    material: Material,
    generated: Index,
    maps: Maps,
    *,
    image_size: tuple[int, int],
    share: float,
    device: torch.device,
    seed: int = 0,
    notes: Sequence[str] = (),
    done: Callable[[int], None] = lambda count: None,
) -> Result:
    """Both thresholds, and how they transfer; the test images are looked at once, at the end.

    Args:
        material: the real images.
        generated: the generated defects.
        maps: what the detector sees images by.
        image_size: height and width that it sees.
        share: of the good images that may be refused.
        device: where to compute.
        seed: draws what the detector keeps.
        notes: what a person should know of the images.
        done: called with the number of images seen since the last call.

    Raises:
        DataError: if an image is damaged.
    """
    seen = DataConfig(image_size=image_size, cache="none")

    def of_class(index: Index, k: int) -> Iterator[Tensor]:
        for batch in batches(ImageSet(index, seen), k, size=BATCH):
            yield upload(to_tensor([unit(image) for image in batch]), device)
            done(len(batch))

    def scored(index: Index) -> list[Scores]:
        return [_scores(detector, of_class(index, k)) for k in range(len(index.classes))]

    detector = fit_detector(maps, of_class(material.fit, 0), seed=seed)
    good = scored(material.held_out)[0]
    painted = scored(generated)[1:]
    defects = np.concatenate(painted)
    together = _together([good, *painted])
    thresholds: dict[By, float] = {
        "good": threshold_at(good, share),
        "generated": best_told_at(*together, share=share),
    }
    real = None if material.test is None else scored(material.test)
    choices = [
        Choice(
            by,
            limit,
            _above(good, limit),
            _above(defects, limit),
            _by_class(painted, generated.classes, limit),
            None if real is None else _transfer(real, material.fit.classes, limit),
        )
        for by, limit in thresholds.items()
    ]
    parts = {
        "learned from": material.fit,
        "set the threshold": material.held_out,
        "generated": generated,
        **({} if material.test is None else {"tested": material.test}),
    }
    images = {name: {c: n for c, n in p.counts().items() if n} for name, p in parts.items()}
    told = {"generated": auroc(*together)}
    if real is not None:
        told["real"] = auroc(*_together(real))
    about = (*notes, *_about_few(len(good), share), *_about_untold(told))
    return Result(share, tuple(choices), told, images, about)


def images_seen(material: Material, generated: Index) -> int:
    """How many images ``choose`` sees."""
    parts = (material.fit, material.held_out, generated, material.test)
    return sum(sum(part.counts().values()) for part in parts if part is not None)


def _about_few(good: int, share: float) -> Iterator[str]:
    if not measurable_shares(good, (share,)):
        yield (
            f"{good} good images cannot show that {share:.2%} of them are refused, which takes "
            f"{round(FEWEST / share) if share else 'any number'}: the threshold lies at the "
            "highest of their scores"
        )


def _about_untold(told: Mapping[str, float]) -> Iterator[str]:
    for kind, area in told.items():
        if area < TOLD:
            yield (
                f"the detector hardly tells {kind} defects from good images (AUROC {area:.2f}; 0.5 "
                "is chance): no threshold finds many of them"
            )


def _together(by_class: ByClass) -> tuple[Scores, NDArray[np.bool_]]:
    """All scores [N], and which are those of defects."""
    scores = np.concatenate(by_class)
    return scores, np.arange(len(scores)) >= len(by_class[0])


def _scores(detector: Detector, images: Iterator[Tensor]) -> Scores:
    parts = [detector(batch)[0].double().cpu().numpy() for batch in images]
    return np.concatenate(parts) if parts else np.empty(0)


def _transfer(real: ByClass, names: Sequence[str], limit: float) -> Transfer:
    good, *defects = real
    scores, is_defect = _together(real)
    f1 = f1_at(scores, is_defect, limit)
    return Transfer(
        refused=_above(good, limit),
        found=_above(np.concatenate(defects), limit),
        by_class=_by_class(defects, names, limit),
        f1=f1,
        of_best_f1=f1 / best_f1(scores, is_defect)[0],
    )


def _by_class(defects: ByClass, names: Sequence[str], limit: float) -> dict[str, float]:
    """Of the classes that have images."""
    parts = zip(names[1:], defects, strict=True)
    return {name: _above(scores, limit) for name, scores in parts if len(scores)}


def _above(scores: Scores, limit: float) -> float:
    return float((scores > limit).mean())
