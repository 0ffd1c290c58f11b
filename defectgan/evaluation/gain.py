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
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from defectgan.data.samples import SPLITS
from defectgan.evaluation.arms import ARMS, SWEPT, Arm, Material, known_arms
from defectgan.evaluation.classifier import CLASSICAL, Recipe, build, predict, train_classifier
from defectgan.evaluation.images import Pools, pixels
from defectgan.evaluation.ledger import Key, Row, by_key, go_through
from defectgan.evaluation.plan import Plan, prepare
from defectgan.evaluation.real import RealSplit
from defectgan.files import sha256
from defectgan.training.checkpoint import Model

FOLDER = "classifiers"


@dataclass(frozen=True, kw_only=True)
class GainPlan(Plan):
    """What is compared: ``arms`` by name, and ``sweep``, further ratios of the arm ``SWEPT``;
    ``recipe`` says how a classifier is trained, its seed and augmentation aside.
    """

    arms: tuple[str, ...] = tuple(ARMS)
    sweep: tuple[float, ...] = ()
    recipe: Recipe = field(default_factory=Recipe)
    splits: ClassVar = SPLITS

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
            **self.training_facts(steps=self.recipe.steps, batch_size=self.recipe.batch_size),
        }


class Task(NamedTuple):
    """One classifier to train."""

    arm: Arm
    ratio: float
    seed: int

    @property
    def key(self) -> Key:
        return self.arm.name, self.ratio, self.seed


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
    painted = plan.painted_by(model)

    def begin() -> Callable[[Key], Row]:
        material = prepare(plan, real, model, out, device=device)
        return lambda key: run_task(
            tasks[key], plan.recipe, material, real.classes, device=device, done=done
        )

    made = go_through(
        out / FOLDER,
        plan.record(real, _recipe(plan.recipe)),
        list(tasks),
        model=model,
        origin=lambda key: painted if tasks[key].arm.extra == "synthetic" else {},
        begin=begin,
        known=lambda count: done(count * plan.recipe.steps),
    )
    return [*baselines, *made]


def _recipe(recipe: Recipe) -> dict[str, Any]:
    """How the classifiers are trained, for the record: weights by their content."""
    told = asdict(replace(recipe, seed=0, augment=CLASSICAL, weights=None))
    weights = recipe.weights and sha256(recipe.weights)
    return told | {"augment": CLASSICAL.model_dump(), "weights": weights}


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
