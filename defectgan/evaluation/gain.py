"""Does the augmentation help? A classifier is trained with and without generated images, and tested
on real ones.

Every arm makes the same number of optimizer steps on batches of the same size, from the same
initial weights a seed; its weights are chosen on the validation images; the test images are looked
at once, at the end.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from pydantic import ValidationError

from defectgan.config import DataConfig
from defectgan.data.samples import TEST, TRAIN, VAL
from defectgan.errors import SettingError
from defectgan.evaluation.arms import ARMS, SWEPT, Arm, Material, gather, known_arms, paint
from defectgan.evaluation.classifier import CLASSICAL, Recipe, build, predict, train_classifier
from defectgan.evaluation.images import Pools, pixels
from defectgan.evaluation.ledger import Key, Row, by_key, go_through, material
from defectgan.evaluation.real import RealSplit
from defectgan.files import sha256
from defectgan.training.checkpoint import Model

FOLDER, GENERATED = "classifiers", "generated"


class Adding(Protocol):
    """What the plan of a test says of the images that are added to real ones: ``most`` for each."""

    @property
    def most(self) -> float: ...
    @property
    def candidates(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def image_size(self) -> tuple[int, int]: ...


@dataclass(frozen=True)
class GainPlan:
    """What is compared: ``arms`` by name, with ``ratio`` added images a real one of a defect class,
    and ``sweep`` further ratios of the arm ``SWEPT``; so many ``seeds``; ``recipe`` says how a
    classifier is trained, its seed and augmentation aside; ``seed`` draws what is added;
    ``candidates`` as of ``generate``.
    """

    arms: tuple[str, ...] = tuple(ARMS)
    ratio: float = 1.0
    sweep: tuple[float, ...] = ()
    seeds: int = 5
    image_size: tuple[int, int] = (64, 64)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    candidates: int = 1
    splits: ClassVar = (TRAIN, VAL, TEST)

    @property
    def most(self) -> float:
        """The highest ratio."""
        return max(self.ratio, *self.sweep) if self.sweep else self.ratio

    @property
    def paints(self) -> bool:
        """Whether any arm learns from a generator's images."""
        return any(task.arm.extra == "synthetic" for task in self.tasks())

    def tasks(self) -> list["Task"]:
        """All classifiers to train, seed by seed: what is there after a kill can be compared."""
        arms = known_arms([*self.arms, *([SWEPT] if self.sweep else [])])
        swept = [(ARMS[SWEPT], ratio) for ratio in sorted({*self.sweep} - {self.ratio})]
        kinds = [(arm, self.ratio if arm.extra else 0.0) for arm in arms] + swept
        return [Task(arm, ratio, seed) for seed in range(self.seeds) for arm, ratio in kinds]

    def check(self, real: RealSplit) -> None:
        """Find out before anything is made whether classifiers can be.

        Raises:
            ModelError: if the weights to begin with are of another network.
        """
        build(self.recipe, classes=len(real.classes), channels=real.index.channels)

    def keys(self, real: RealSplit) -> list[Key]:
        """What tells the classifiers apart, whatever the images."""
        return [task.key for task in self.tasks()]

    def facts(self) -> dict[str, Any]:
        """What a person must know to read the table."""
        weights = self.recipe.weights
        return {
            "classifier": self.recipe.net,
            "begins": f"with {weights}" if weights else "from scratch",
            **training_facts(self.image_size, self.recipe.steps, self.recipe.batch_size),
            "seeds": self.seeds,
            "candidates": self.candidates,
        }

    def record(self, real: RealSplit, model: Model | None) -> dict[str, Any]:
        """All that a classifier's result depends on, arm, ratio and seed aside."""
        weights = self.recipe.weights
        recipe = asdict(replace(self.recipe, seed=0, augment=CLASSICAL, weights=None))
        recipe["augment"] = CLASSICAL.model_dump()
        return {
            "image_size": list(self.image_size),
            "recipe": recipe | {"weights": weights and sha256(weights)},
            "seed": self.seed,
            "candidates": self.candidates,
            **material(real, model),
        }


class Task(NamedTuple):
    """One classifier to train."""

    arm: Arm
    ratio: float
    seed: int

    @property
    def key(self) -> Key:
        return self.arm.name, self.ratio, self.seed


def training_facts(size: tuple[int, int], steps: int, batch_size: int) -> dict[str, Any]:
    """How much a network sees."""
    height, width = size
    return {"sees": f"{width} x {height} pixels", "steps": steps, "batch": batch_size}


def classifier_size(size: str) -> tuple[int, int]:
    """Height and width from "64" or "48x64".

    Raises:
        SettingError: if that is no size that networks here see.
    """
    try:
        return DataConfig.model_validate({"image_size": size}).image_size
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise SettingError(f"a classifier cannot see the size {size}: {reason}") from error


def run_gain(
    plan: GainPlan,
    real: RealSplit,
    model: Model | None,
    out: Path,
    *,
    device: torch.device,
    done: Callable[[int], None] = lambda count: None,
    baselines: Sequence[Row] = (),
) -> list[Row]:
    """Train and test the classifiers of a plan; those that the folder has already are not trained
    again.

    Args:
        plan: what is compared.
        real: the real images; ``leak.refuse_leaks`` has let the model pass.
        model: the generator, on the device; None where no arm needs one.
        out: the folder, claimed for this split: ``generated/``, ``classifiers/results.jsonl``.
        device: where to compute.
        done: called with the number of optimizer steps made since the last call.
        baselines: rows of the same test, of arms that need no generator, which are not made again.

    Returns:
        A row a classifier, those given first: arm, ratio, seed, steps, scores.

    Raises:
        DataError: if the folder holds the results of another test.
        ModelError: if the model does not know a class.
    """
    given = by_key(baselines)
    tasks = {task.key: task for task in plan.tasks() if task.key not in given}

    def begin() -> Callable[[Key], Row]:
        material = prepare(plan, real, model, out, device=device)
        return lambda key: run_task(
            tasks[key], plan.recipe, material, real.classes, device=device, done=done
        )

    made = go_through(
        out / FOLDER,
        plan.record(real, model),
        list(tasks),
        begin=begin,
        known=lambda count: done(count * plan.recipe.steps),
    )
    return [*baselines, *made]


def prepare(
    plan: Adding, real: RealSplit, model: Model | None, out: Path, *, device: torch.device
) -> Material:
    """All images that a test needs; a generator's are painted below ``out`` first."""
    generated, ratio, seed = None, plan.most, plan.seed
    if model is not None:
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


def run_task(
    task: Task,
    recipe: Recipe,
    material: Material,
    classes: Sequence[str],
    *,
    device: torch.device,
    done: Callable[[int], None] = lambda count: None,
) -> Row:
    """Train one classifier and test it, once."""
    started = time.perf_counter()
    made = 0

    def count(steps: int) -> None:
        nonlocal made
        made += steps
        done(steps)

    classifier = train_classifier(
        pixels(material.learned_from(task.arm, task.ratio)),
        replace(recipe, seed=task.seed, augment=CLASSICAL if task.arm.classical else None),
        val=pixels(material.val),
        device=device,
        done=count,
    )
    assert made == recipe.steps, "an arm that makes more steps than another proves nothing"
    return {
        "arm": task.arm.name,
        "ratio": task.ratio,
        "seed": task.seed,
        "steps": made,
        "kept": classifier.kept,
        "val": classifier.score,
        **scores(classifier.net, pixels(material.test), classes),
        "seconds": round(time.perf_counter() - started, 1),
    }


def scores(net: torch.nn.Module, test: Pools, classes: Sequence[str]) -> dict[str, Any]:
    """What a classifier is worth on images of K classes: accuracy, macro-F1, the recall of each
    class by name, and the confusion [K, K], a row a true class.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

    true = np.concatenate([np.full(len(members), k) for k, members in enumerate(test)])
    named = predict(net, [image for members in test for image in members]).numpy()
    labels: Sequence[int] = range(len(test))
    recalls = recall_score(true, named, labels=labels, average=None, zero_division=0)
    return {
        "accuracy": float(accuracy_score(true, named)),
        "macro_f1": float(f1_score(true, named, labels=labels, average="macro", zero_division=0)),
        "recall": dict(zip(classes, recalls.tolist(), strict=True)),
        "confusion": confusion_matrix(true, named, labels=labels).tolist(),
    }
