"""Are the painted masks worth anything? Segmenters that learn from them, from procedural ones and
from true ones, tested on true masks.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, cast

import torch

from defectgan.data.dataset import ImageSet
from defectgan.data.masks import half_covered
from defectgan.data.samples import TEST, TRAIN
from defectgan.errors import DataError
from defectgan.evaluation.bench import Bench, Plan, prepare
from defectgan.evaluation.ledger import ResultKey, ResultRow, go_through, keep_said
from defectgan.evaluation.painting import NOBODY, PaintedBy
from defectgan.evaluation.real import RealSplit
from defectgan.evaluation.segmentation import Origin, SegmentationRecipe, segment
from defectgan.model.file import Model
from defectgan.settings.data import DataConfig

FOLDER = "segmenters"
NET = "unet"


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

    def work(self, keys: Sequence[ResultKey]) -> int:
        """How many optimizer steps segmenters take."""
        return len(keys) * self.recipe.steps

    def keys(self, real: RealSplit, models: Sequence[Model] = ()) -> list[ResultKey]:
        """All segmenters to train, seed by seed; true masks are learned from where every class of
        the training images has some.
        """
        painters = [painter for painter, _ in self.painters(models)]
        kinds: list[tuple[Origin, float, PaintedBy]] = [("procedural", self.ratio, NOBODY)]
        kinds += [("synthetic", self.ratio, painter) for painter in painters]
        if all(any(s.mask for s in members) for members in real.part(TRAIN).members[1:]):
            kinds.append(("true", 0.0, NOBODY))
        return [
            ResultKey(origin, ratio, seed, NET, *painter)
            for seed in range(self.seeds)
            for origin, ratio, painter in kinds
        ]

    def facts(self) -> dict[str, Any]:
        """What a person must know to read the table."""
        return {
            "segmenter": f"U-Net of {self.recipe.width} channels",
            **self.training_facts(steps=self.recipe.steps, batch_size=self.recipe.batch_size),
        }


def run_segmentation(plan: SegmentationPlan, test: Bench) -> list[ResultRow]:
    """Train and test the segmenters of a plan; as ``gain.run_gain``, with the folder
    ``segmenters/``.

    Raises:
        DataError: if the folder holds the results of another test, or there are no true masks to
            test on.
        ModelError: if a model does not know a class.
    """

    def begin() -> Callable[[ResultKey], ResultRow]:
        material = prepare(plan, test)

        def make(key: ResultKey) -> ResultRow:
            row, said = segment(
                material,
                cast(Origin, key.arm),
                replace(plan.recipe, seed=key.seed),
                test.real.classes,
                ratio=plan.ratio,
                painter=PaintedBy(key.generator, key.candidates),
                device=test.device,
                done=test.done,
            )
            return row | keep_said(test.out / FOLDER, key, {TEST: torch.from_numpy(said)})

        return make

    return go_through(
        test.out / FOLDER,
        plan.record(test.real, asdict(replace(plan.recipe, seed=0))),
        plan.keys(test.real, test.models),
        begin=begin,
        known=lambda made: test.done(plan.work(made)),
    )
