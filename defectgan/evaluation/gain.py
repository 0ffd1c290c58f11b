"""Does the augmentation help? A classifier is trained with and without generated images, and tested
on real ones.

Every arm makes the same number of optimizer steps on batches of the same size, from the same
initial weights a seed; its weights are chosen on the validation images; the test images are looked
at once, at the end.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError

from defectgan.config import DataConfig
from defectgan.errors import DataError, SettingError
from defectgan.evaluation.arms import ARMS, SWEPT, Arm, Material, gather, known_arms, paint
from defectgan.evaluation.classifier import CLASSICAL, Recipe, predict, train_classifier
from defectgan.evaluation.images import Pools, pixels
from defectgan.evaluation.real import RealSplit, as_table
from defectgan.files import (
    append_json_lines,
    read_json_lines,
    sha256,
    write_atomically,
    write_json_lines,
)
from defectgan.training.checkpoint import Model

TABLE, JOB, RESULTS, GENERATED = "labels.csv", "job.json", "results.jsonl", "generated"


@dataclass(frozen=True)
class GainPlan:
    """What is compared: ``arms`` by name, with ``ratio`` added images a real one of a defect class,
    and ``sweep`` further ratios of the arm ``SWEPT``; so many ``seeds``; ``recipe`` says how a
    classifier is trained, its seed and augmentation aside; ``seed`` draws what is added.
    """

    arms: tuple[str, ...] = tuple(ARMS)
    ratio: float = 1.0
    sweep: tuple[float, ...] = ()
    seeds: int = 5
    image_size: tuple[int, int] = (64, 64)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0

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

    def record(self, real: RealSplit, model: Model | None) -> dict[str, Any]:
        """All that a classifier's result depends on, arm, ratio and seed aside."""
        weights = self.recipe.weights
        recipe = asdict(replace(self.recipe, seed=0, augment=CLASSICAL, weights=None))
        recipe["augment"] = CLASSICAL.model_dump()
        return {
            "image_size": list(self.image_size),
            "recipe": recipe | {"weights": weights and sha256(weights)},
            "seed": self.seed,
            "classes": list(real.classes),
            "images": real.counts(),
            "model_sha256": model and model.sha256,
        }


class Task(NamedTuple):
    """One classifier to train."""

    arm: Arm
    ratio: float
    seed: int

    @property
    def key(self) -> tuple[str, float, int]:
        return self.arm.name, self.ratio, self.seed


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


def claim(out: Path, real: RealSplit) -> None:
    """Write down the split in the folder of a test, which is new or holds the same one.

    Raises:
        DataError: if it holds anything else.
    """
    table, text = out / TABLE, as_table(real.index)
    if table.is_file():
        if table.read_text(encoding="utf-8") != text:
            raise DataError(
                f"{out} holds a test with other splits (see {TABLE}): name another folder, "
                "nothing was written"
            )
    elif out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty: name another folder, nothing was written")
    else:
        write_atomically(table, text.encode())


def run_gain(
    plan: GainPlan,
    real: RealSplit,
    model: Model | None,
    out: Path,
    *,
    device: torch.device,
    done: Callable[[int], None] = lambda count: None,
) -> list[dict[str, Any]]:
    """Train and test the classifiers of a plan; those that the folder has already are not trained
    again.

    Args:
        plan: what is compared.
        real: the real images; ``leak.refuse_leaks`` has let the model pass.
        model: the generator, on the device; None where no arm needs one.
        out: the folder, claimed for this split: ``generated/``, ``results.jsonl``.
        device: where to compute.
        done: called with the number of optimizer steps made since the last call.

    Returns:
        A row a classifier: arm, ratio, seed, steps, scores.

    Raises:
        DataError: if the folder holds the results of another test.
        ModelError: if the model does not know a class.
    """
    open_job(out, plan.record(real, model))
    known = read_json_lines(out / RESULTS)
    write_json_lines(out / RESULTS, known)  # without what a kill cut short
    finished = {_key(row): row for row in known}
    tasks = plan.tasks()
    waiting = [task for task in tasks if task.key not in finished]
    done((len(tasks) - len(waiting)) * plan.recipe.steps)
    if waiting:
        material = _material(plan, real, model, out, device)
    for task in waiting:
        row = run_task(task, plan.recipe, material, device=device, done=done)
        append_json_lines(out / RESULTS, [row])
        finished[task.key] = row
    return [finished[task.key] for task in tasks]


def open_job(out: Path, record: dict[str, Any]) -> None:
    """Begin in a folder, or go on in one that holds the same job.

    Raises:
        DataError: if it holds the results of another one.
    """
    path, text = out / JOB, json.dumps(record, indent=1)
    if not path.is_file():
        write_atomically(path, text.encode())
    elif path.read_text(encoding="utf-8") != text:
        raise DataError(
            f"{out} holds the results of another test (see {JOB}): name another folder, nothing "
            "was written"
        )


def _material(
    plan: GainPlan, real: RealSplit, model: Model | None, out: Path, device: torch.device
) -> Material:
    generated = None
    if model is not None:
        generated = out / GENERATED / f"{plan.most:g}x"
        paint(
            model,
            real,
            generated,
            ratio=plan.most,
            seed=plan.seed,
            device=device,
            done=lambda count: None,
        )
    config = DataConfig(image_size=plan.image_size)
    return gather(real, config, generated, ratio=plan.most, seed=plan.seed)


def run_task(
    task: Task,
    recipe: Recipe,
    material: Material,
    *,
    device: torch.device,
    done: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
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
        **scores(classifier.net, pixels(material.test)),
        "seconds": round(time.perf_counter() - started, 1),
    }


def scores(net: torch.nn.Module, test: Pools) -> dict[str, Any]:
    """What a classifier is worth on images of K classes: accuracy, macro-F1, the recall of each
    class [K], and the confusion [K, K], a row a true class.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

    true = np.concatenate([np.full(len(members), k) for k, members in enumerate(test)])
    named = predict(net, [image for members in test for image in members]).numpy()
    labels: Sequence[int] = range(len(test))
    return {
        "accuracy": float(accuracy_score(true, named)),
        "macro_f1": float(f1_score(true, named, labels=labels, average="macro", zero_division=0)),
        "recall": recall_score(true, named, labels=labels, average=None, zero_division=0).tolist(),
        "confusion": confusion_matrix(true, named, labels=labels).tolist(),
    }


def _key(row: dict[str, Any]) -> tuple[str, float, int]:
    return row["arm"], row["ratio"], row["seed"]


def facts(plan: GainPlan, real: RealSplit, model: Model | None) -> dict[str, Any]:
    """What a person must know to read the table, and to make it again."""
    recipe = plan.recipe
    return {
        "title": f"Gain on {real.index.root}",
        "data": str(real.index.root.resolve()),
        "images": real.counts(),
        "model": str(model.path) if model else "none",
        "model_sha256": model.sha256 if model else "none",
        "classifier": f"{recipe.net}, "
        + (f"from {recipe.weights}" if recipe.weights else "from scratch"),
        "sees": " x ".join(str(side) for side in reversed(plan.image_size)) + " pixels",
        "steps": recipe.steps,
        "batch": recipe.batch_size,
        "seeds": plan.seeds,
    }
