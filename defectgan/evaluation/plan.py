"""What the tests of classifiers and of segmenters have in common: how much is made for them, and
how often they are repeated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ValidationError

from defectgan.config import DataConfig
from defectgan.errors import SettingError
from defectgan.evaluation.arms import Material, gather, paint
from defectgan.evaluation.images import see
from defectgan.evaluation.ledger import material
from defectgan.evaluation.real import RealSplit
from defectgan.generation.choose import CANDIDATES, CAP
from defectgan.training.checkpoint import MODEL, Model

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

    def painted_by(self, model: Model | None) -> dict[str, Any]:
        """What a result depends on besides that learns from a generator's images."""
        painted = {MODEL: model and model.sha256, "candidates": self.candidates}
        # On how many good images an image is tried; version 0.1.0 tried each on another one.
        return painted | {"tried_on": CAP} if self.candidates > 1 else painted


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


def prepare(
    plan: Plan, real: RealSplit, model: Model | None, out: Path, *, device: torch.device
) -> Material:
    """All images that a test needs; a generator's are painted below ``out`` first."""
    generated, ratio, seed = None, plan.most, plan.seed
    if plan.paints and model is not None:
        generated = out / GENERATED / f"{ratio:g}x"
        paint(
            model,
            real,
            generated,
            ratio=ratio,
            candidates=plan.candidates,
            seed=seed,
            device=device,
        )
    return gather(real, DataConfig(image_size=plan.image_size), generated, ratio=ratio, seed=seed)
