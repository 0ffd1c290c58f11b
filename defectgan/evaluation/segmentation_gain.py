"""Are the painted masks worth anything? Segmenters that learn from them, from procedural ones and
from true ones, tested on true masks.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import torch

from defectgan.config import DataConfig
from defectgan.data.dataset import ImageSet
from defectgan.data.masks import half_covered
from defectgan.data.samples import TEST, TRAIN
from defectgan.errors import DataError
from defectgan.evaluation.ledger import Key, Row, go_through
from defectgan.evaluation.plan import Plan, prepare
from defectgan.evaluation.real import RealSplit
from defectgan.evaluation.segmentation import Origin, SegmentationRecipe, segment
from defectgan.training.checkpoint import Model

FOLDER = "segmenters"


@dataclass(frozen=True, kw_only=True)
class SegmentationPlan(Plan):
    """``recipe`` says how a segmenter is trained, its seed aside."""

    recipe: SegmentationRecipe = field(default_factory=SegmentationRecipe)
    # The last weights of a segmenter are taken: nothing is chosen.
    splits: ClassVar = (TRAIN, TEST)

    def check(self, real: RealSplit) -> None:
        """Find out before anything is made whether segmenters can be tested.

        Raises:
            DataError: if the true masks of test images show no defect, or there are none.
        """
        images = ImageSet(real.part(TEST), DataConfig(image_size=self.image_size), truths=True)
        defects = (sample for sample in images.index.samples if sample.labels)
        truths = (images.truth(sample) for sample in defects)
        if not any(truth is not None and half_covered(truth).any() for truth in truths):
            raise DataError(
                f"no test image of a defect in {real.index.root} has a true mask that shows "
                f"anything at {self.image_size[1]} x {self.image_size[0]} pixels: a segmenter is "
                "tested on those; give some of them a mask"
            )

    def keys(self, real: RealSplit) -> list[Key]:
        """All segmenters to train, seed by seed; true masks are learned from where every class of
        the training images has some.
        """
        kinds: list[tuple[Origin, float]] = [("procedural", self.ratio), ("synthetic", self.ratio)]
        if all(any(s.mask for s in members) for members in real.part(TRAIN).members[1:]):
            kinds.append(("true", 0.0))
        return [(origin, ratio, seed) for seed in range(self.seeds) for origin, ratio in kinds]

    def facts(self) -> dict[str, Any]:
        """What a person must know to read the table."""
        return {
            "segmenter": f"U-Net of {self.recipe.width} channels",
            **self.training_facts(steps=self.recipe.steps, batch_size=self.recipe.batch_size),
        }


def run_segmentation(
    plan: SegmentationPlan,
    real: RealSplit,
    model: Model | None,
    out: Path,
    *,
    device: torch.device,
    done: Callable[[int], None] = lambda count: None,
) -> list[Row]:
    """Train and test the segmenters of a plan; as ``gain.run_gain``, with the folder
    ``segmenters/``.

    Raises:
        DataError: if the folder holds the results of another test, or there are no true masks to
            test on.
        ModelError: if the model does not know a class.
    """

    def begin() -> Callable[[Key], Row]:
        material = prepare(plan, real, model, out, device=device)

        def make(key: Key) -> Row:
            origin, recipe = cast(Origin, key[0]), replace(plan.recipe, seed=key[2])
            row = segment(
                material, origin, recipe, real.classes, ratio=plan.ratio, device=device, done=done
            )
            each = {name: scores["ap"] for name, scores in row["classes"].items()}
            return row | {"class_ap": {k: ap for k, ap in each.items() if ap is not None}}

        return make

    return go_through(
        out / FOLDER,
        plan.record(real, asdict(replace(plan.recipe, seed=0))),
        plan.keys(real),
        model=model,
        origin=lambda key: plan.painted_by(model) if key[0] == "synthetic" else {},
        begin=begin,
        known=lambda count: done(count * plan.recipe.steps),
    )
