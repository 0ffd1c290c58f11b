"""What the tests of classifiers and of segmenters have in common: how much is made for them, and
how often they are repeated.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import ValidationError

from defectgan.errors import SettingError
from defectgan.evaluation.arms import Material, gather
from defectgan.evaluation.frozen import FrozenFeatures
from defectgan.evaluation.ledger import material
from defectgan.evaluation.painting import PaintedBy, paint, take_away
from defectgan.evaluation.pools import see
from defectgan.evaluation.real import RealSplit
from defectgan.generation import CANDIDATES
from defectgan.model.file import Model
from defectgan.networks.imagenet import JUDGE, ImagenetFeatures, imagenet
from defectgan.settings.data import DataConfig

GENERATED = "generated"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``ratio`` made images for each real one of a defect class; so many ``seeds``, trainings of
    every arm; ``image_size``, height and width that the networks see; ``seed`` draws what is made;
    ``candidates`` as of ``generate``.
    """

    ratio: float = 1.0
    seeds: int = 5
    image_size: tuple[int, int] = (64, 64)
    seed: int = 0
    candidates: int = CANDIDATES
    splits: ClassVar[tuple[str, ...]]

    @property
    def paints(self) -> bool:
        """Whether anything learns from a generator's images."""
        return True

    @property
    def controls(self) -> bool:
        """Whether anything learns from a generator's images without their defects."""
        return False

    @property
    def most(self) -> float:
        """The highest ratio."""
        return self.ratio

    def training_facts(self, *, steps: int, batch_size: int) -> dict[str, Any]:
        """How much the networks see, for a person who reads the table."""
        height, width = self.image_size
        return {
            "sees": f"{width} x {height} pixels",
            "steps": steps,
            "batch": batch_size,
            "seeds": self.seeds,
            **({"candidates": self.candidates} if self.paints else {}),
        }

    def record(self, real: RealSplit, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """All that every result depends on; ``recipe`` says how a network is trained."""
        return {
            "image_size": list(self.image_size),
            "recipe": recipe,
            "seed": self.seed,
            **material(real),
        }

    def choosing(self, tries: tuple[int, ...]) -> Self:
        """With the most of so many candidates: nothing is chosen."""
        return replace(self, candidates=tries[-1])

    def painters(self, models: Sequence[Model]) -> list[tuple[PaintedBy, Model]]:
        """Whose images are learned from, if any: each generator's are told apart."""
        return [(PaintedBy.of(model, self.candidates), model) for model in models if self.paints]


@dataclass(frozen=True)
class Bench:
    """What all trainings of a test share: its images, its generators, where it is written and
    computed, and who is told of each optimizer step.
    """

    real: RealSplit
    models: Sequence[Model]
    out: Path
    device: torch.device
    done: Callable[[int], None] = lambda count: None

    @cached_property
    def judge(self) -> ImagenetFeatures:
        """The fixed network.

        Raises:
            SettingError: if it is not installed.
        """
        return imagenet(JUDGE, device=self.device)

    @cached_property
    def features(self) -> FrozenFeatures:
        """What it sees in each image, computed once for all trainings."""
        return FrozenFeatures(self.judge, device=self.device)


def refuse_damaged(plan: Plan, real: RealSplit) -> None:
    """Decode all real images, before hours are spent on what could not be tested then.

    Raises:
        DataError: if one is damaged.
    """
    for split in plan.splits:
        see(real.part(split), DataConfig(image_size=plan.image_size), truths=True)


def seen_size(size: str) -> tuple[int, int]:
    """Height and width from "64" or "48x64".

    Raises:
        SettingError: if that is no size that networks here see.
    """
    try:
        return DataConfig.model_validate({"image_size": size}).image_size
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise SettingError(f"a network cannot see the size {size}: {reason}") from error


def prepare(plan: Plan, test: Bench) -> Material:
    """All images that a test needs; those of generators are painted below ``out`` first."""
    generated = {}
    for painter, model in plan.painters(test.models):
        generated[painter] = test.out / GENERATED / str(painter)
        paint(
            model,
            test.real,
            generated[painter],
            ratio=plan.most,
            candidates=painter.candidates,
            seed=plan.seed,
            device=test.device,
        )
        if plan.controls:
            take_away(model, test.real, generated[painter], device=test.device)
    return gather(
        test.real,
        DataConfig(image_size=plan.image_size),
        generated,
        ratio=plan.most,
        seed=plan.seed,
        control=plan.controls,
    )
