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
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from defectgan.data.dataset import ImageSet
from defectgan.data.index import Index
from defectgan.evaluation.detector import Detector, Maps, fit_detector
from defectgan.evaluation.pools import batches, uploaded, views
from defectgan.evaluation.threshold_images import ThresholdMaterial
from defectgan.evaluation.threshold_intervals import AboveThreshold, Scored, Scores, Sure
from defectgan.metrics.refusal import FEWEST, measurable_shares
from defectgan.settings.data import DataConfig

By = Literal["good", "generated"]
BATCH = 32
# Below this AUROC a detector is of little use.
TOLD = 0.7


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold: ``refused`` is the share of the good images that set it which lie above,
    ``found`` that of the generated defects, of all and of each class; ``transfer`` is what it is
    worth on real images that nothing has learned from. All with their bounds.
    """

    by: By
    threshold: Sure
    refused: Sure
    found: Sure
    by_class: Mapping[str, Sure]
    transfer: AboveThreshold | None


@dataclass(frozen=True)
class ThresholdResult:
    """Both thresholds; ``share`` may be refused; ``auroc`` says how well the detector tells defects
    from good images that it does not know, ``generated`` and ``real`` ones, if there are any;
    ``images`` are counts by what they serve for and class; ``notes`` are what a person should know.
    """

    share: float
    choices: tuple[ThresholdChoice, ...]
    auroc: Mapping[str, Sure]
    images: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Which threshold transfers better, as a sentence."""
        good, generated = self.choices
        if good.transfer is None or generated.transfer is None:
            return "no real defects are held out: how the thresholds transfer is not known"
        ours, theirs = generated.transfer.f1.value, good.transfer.f1.value
        told = f"F1 {max(ours, theirs):.3f} against {min(ours, theirs):.3f} on real images"
        if ours == theirs:
            return f"both thresholds transfer alike: F1 {ours:.3f} on real images"
        better = "generated defects" if ours > theirs else "good images alone"
        return f"the threshold by {better} transfers better: {told}"

    def table(self) -> list[dict[str, Any]]:
        """The choices as plain objects; a figure is its value, lower and upper bound of 95 %."""
        return [
            {name: _plain(value) for name, value in vars(choice).items()} for choice in self.choices
        ]


def choose(
    material: ThresholdMaterial,
    generated: Index,
    maps: Maps,
    *,
    image_size: tuple[int, int],
    share: float,
    device: torch.device,
    seed: int = 0,
    notes: Sequence[str] = (),
    done: Callable[[int], None] = lambda count: None,
) -> ThresholdResult:
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
        for batch in batches(views(ImageSet(index, seen), k), size=BATCH):
            yield uploaded(batch, device)
            done(len(batch))

    def scored(index: Index) -> list[Scores]:
        return [_scores(detector, of_class(index, k)) for k in range(len(index.classes))]

    detector = fit_detector(maps, of_class(material.fit, 0), seed=seed)
    good, painted = scored(material.held_out)[0], scored(generated)[1:]
    setting = Scored.of(
        generated.classes,
        [good, *painted],
        [material.held_out.members[0], *generated.members[1:]],
    )
    real = None
    if (test := material.test) is not None:
        real = Scored.of(test.classes, scored(test), test.members)
    thresholds: dict[By, Sure] = {
        "good": setting.threshold_by_good(share),
        "generated": setting.threshold_by_defects(share),
    }
    choices = []
    for by, limit in thresholds.items():
        set_by = setting.found(limit.value)
        transfer = None if real is None else real.found(limit.value)
        choices.append(
            ThresholdChoice(by, limit, set_by.refused, set_by.found, set_by.by_class, transfer)
        )
    parts = {
        "learned from": material.fit,
        "set the threshold": material.held_out,
        "generated": generated,
        **({} if material.test is None else {"tested": material.test}),
    }
    images = {name: {c: n for c, n in p.counts().items() if n} for name, p in parts.items()}
    told = {"generated": setting.auroc()}
    if real is not None:
        told["real"] = real.auroc()
    about = (*notes, *_about_few(len(good), share), *_about_untold(told))
    return ThresholdResult(share, tuple(choices), told, images, about)


def images_seen(material: ThresholdMaterial, generated: Index) -> int:
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


def _about_untold(told: Mapping[str, Sure]) -> Iterator[str]:
    for kind, (area, *_) in told.items():
        if area < TOLD:
            yield (
                f"the detector hardly tells {kind} defects from good images (AUROC {area:.2f}; 0.5 "
                "is chance): no threshold finds many of them"
            )


def _plain(value: Any) -> Any:
    """As JSON has it: a figure is a list."""
    if isinstance(value, Sure):
        return list(value)
    if isinstance(value, AboveThreshold):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return value


def _scores(detector: Detector, images: Iterator[Tensor]) -> Scores:
    parts = [detector(batch)[0].double().cpu().numpy() for batch in images]
    return np.concatenate(parts) if parts else np.empty(0)
