"""Does the augmentation help? A classifier is trained with and without generated images, and tested
on real ones.

Every network of an arm makes as many optimizer steps on batches of the same size as those of any
other, from the same initial weights a seed; its weights are chosen on the validation images. How
many images are added is chosen on them as well, before any network is shown a test image; each that
is tested sees them once, at its end.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from defectgan.data.samples import SPLITS
from defectgan.errors import SettingError
from defectgan.evaluation.arms import ASKED, FURTHER, GOOD_ONLY, USUAL, Arm, known_arms
from defectgan.evaluation.bench import Bench, Plan, prepare
from defectgan.evaluation.classifier import CLASSICAL, SMALL, Recipe, build
from defectgan.evaluation.frozen import FROZEN, PENALTIES
from defectgan.evaluation.gain_figures import scores
from defectgan.evaluation.ledger import ResultKey, ResultRow, by_key, go_through, keep_said
from defectgan.evaluation.painting import NOBODY, PaintedBy
from defectgan.evaluation.pools import pixels
from defectgan.evaluation.real import RealSplit
from defectgan.evaluation.trainers import Trainers
from defectgan.files import sha256
from defectgan.model.file import Model

FOLDER, CHOICE = "classifiers", "choice"


@dataclass(frozen=True, kw_only=True)
class GainPlan(Plan):
    """What is compared: the arms that are ``asked`` for by name (None: the usual ones that there is
    the material for), each by all ``nets``; ``recipe`` says how a network is trained, its name,
    seed and augmentation aside. ``ratios`` and ``tries`` are those that ``choose`` picks ``ratio``
    and ``candidates`` from.
    """

    asked: tuple[str, ...] | None = None
    nets: tuple[str, ...] = (SMALL,)
    ratios: tuple[float, ...] = ()
    tries: tuple[int, ...] = ()
    recipe: Recipe = field(default_factory=Recipe)
    splits: ClassVar = SPLITS

    @property
    def most(self) -> float:
        """The highest ratio."""
        return max(self.ratio, *self.ratios) if self.ratios else self.ratio

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms, those included that others are held against.

        Raises:
            SettingError: if there is no such arm.
        """
        return known_arms(USUAL if self.asked is None else self.asked)

    @property
    def paints(self) -> bool:
        """Whether any arm learns from a generator's images."""
        return any(arm.painted for arm in self.arms)

    @property
    def controls(self) -> bool:
        """Whether any arm learns from a generator's images without their defects."""
        return any(arm.control for arm in self.arms)

    def painters(self, models: Sequence[Model]) -> list[tuple[PaintedBy, Model]]:
        """Whose images are learned from, if any: each generator's are told apart."""
        tries = self.tries or (self.candidates,)
        return [(PaintedBy.of(m, n), m) for m in models for n in tries if self.paints]

    def keys(self, real: RealSplit, models: Sequence[Model] = ()) -> list[ResultKey]:
        """All networks to train, seed by seed: what is there after a kill can be compared."""
        kinds = [
            (net, arm, painter)
            for net in self.nets
            for arm in self.arms
            if arm.name != GOOD_ONLY or net == FROZEN
            for painter in (self._painters_of(models) if arm.painted else [NOBODY])
        ]
        return [
            ResultKey(arm.name, self.ratio if arm.extra else 0.0, seed, net, *painter)
            for seed in range(self.seeds)
            for net, arm, painter in kinds
            # Its seed chooses between patches that are nearly alike.
            if arm.name != GOOD_ONLY or seed == 0
        ]

    def choosing(self, tries: tuple[int, ...]) -> "GainPlan":
        """With so many candidates to choose from."""
        return replace(self, candidates=tries[-1], tries=tries)

    def _painters_of(self, models: Sequence[Model]) -> list[PaintedBy]:
        return [painter for painter, _ in self.painters(models)]

    @property
    def chooser(self) -> str:
        """The network by which is chosen: the one that is trained in seconds, where it is there."""
        return FROZEN if FROZEN in self.nets else self.nets[0]

    @property
    def open(self) -> bool:
        """Whether there is anything to choose."""
        return self.paints and len(self.ratios) * max(1, len(self.tries)) > 1

    def choices(self, models: Sequence[Model]) -> list[ResultKey]:
        """The networks to choose by: each setting with each generator, once, and none of them."""
        assert ASKED.baseline is not None
        kinds = [(ratio, painter) for ratio in self.ratios for painter in self._painters_of(models)]
        without = ResultKey(ASKED.baseline, 0.0, 0, self.chooser)
        return [without, *(ResultKey(ASKED.name, r, 0, self.chooser, *p) for r, p in kinds)]

    def usable(self, real: RealSplit) -> "GainPlan":
        """With all arms that are asked for, or the usual ones that there is the material for.

        Raises:
            SettingError: if an arm that is asked for has nothing to learn from here.
        """
        lacking = {}
        if not any(real.further.members[1:]):
            lacking[FURTHER] = "learns from real images that are left out for fewer shots"
        if FROZEN not in self.nets:
            lacking[GOOD_ONLY] = f"learns from the fixed features of the network {FROZEN}"
        if self.asked is None:
            return replace(self, asked=tuple(name for name in USUAL if name not in lacking))
        if missing := [arm.name for arm in self.arms if arm.name in lacking]:
            raise SettingError(f"the arm {missing[0]} {lacking[missing[0]]}: there are none here")
        return self

    def check(self, real: RealSplit) -> None:
        """Find out before anything is made whether classifiers can be.

        Raises:
            ModelError: if the weights to begin with are of another network.
        """
        for net in self.nets:
            if net != FROZEN:
                recipe = replace(self.recipe, net=net)
                build(recipe, classes=len(real.classes), channels=real.index.channels)

    def work(self, keys: Sequence[ResultKey]) -> int:
        """How many optimizer steps networks take; a head on fixed features counts as one."""
        return sum(1 if key.net == FROZEN else self.recipe.steps for key in keys)

    def facts(self) -> dict[str, Any]:
        """What a person must know to read the table."""
        weights = self.recipe.weights
        return {
            "classifiers": list(self.nets),
            "begins": f"with {weights}" if weights else "from scratch",
            **self.training_facts(steps=self.recipe.steps, batch_size=self.recipe.batch_size),
            "length": f"of {self.recipe.evaluations} moments of a training, and of "
            f"{len(PENALTIES)} penalties of a head, the best by validation images",
            **({"added": f"{self.ratio:g} for each real one of a defect"} if self.paints else {}),
        }

    def told(self) -> dict[str, Any]:
        """How the networks are trained, for the record: weights by their content."""
        recipe = asdict(replace(self.recipe, seed=0, augment=CLASSICAL, weights=None))
        weights = self.recipe.weights and sha256(self.recipe.weights)
        return recipe | {"net": "each", "augment": CLASSICAL.model_dump(), "weights": weights}


class Choice(NamedTuple):
    """What was chosen on validation images, and the results that it was chosen by."""

    plan: GainPlan
    rows: list[ResultRow]


def choose(plan: GainPlan, test: Bench) -> Choice:
    """The plan with the ratio and candidates that serve best on validation images by balanced
    accuracy, the mean over the generators; of equal ones the least. No network that is trained for
    this is shown a test image.
    """
    rows = _go_through(plan, test, CHOICE, plan.choices(test.models), tested=False)
    scores: dict[tuple[float, int], list[float]] = {}
    for row in rows:
        if row["arm"] == ASKED.name:
            scores.setdefault((row["ratio"], row["candidates"]), []).append(row["val"])
    means = {setting: sum(values) / len(values) for setting, values in scores.items()}
    ratio, candidates = min(means, key=lambda setting: (-means[setting], *setting))
    return Choice(replace(plan, ratio=ratio, candidates=candidates, tries=()), rows)


def run_gain(plan: GainPlan, test: Bench, baselines: Sequence[ResultRow] = ()) -> list[ResultRow]:
    """Train and test the classifiers of a plan; those that the folder has already are not trained
    again.

    Args:
        plan: what is compared.
        test: by what; ``leak.refuse_leaks`` has let the models pass, and the folder is claimed for
            this split: ``generated/``, ``classifiers/results.jsonl``, ``classifiers/predictions/``.
        baselines: rows of the same test, of arms that need no generator, which are not made again.

    Returns:
        A row a network, those given first: its key, steps and scores.

    Raises:
        DataError: if the folder holds the results of another test.
        ModelError: if a model does not know a class.
    """
    given = by_key(baselines)
    keys = [key for key in plan.keys(test.real, test.models) if key not in given]
    return [*baselines, *_go_through(plan, test, FOLDER, keys, tested=True)]


def _go_through(
    plan: GainPlan, test: Bench, folder: str, keys: Sequence[ResultKey], *, tested: bool
) -> list[ResultRow]:
    place = test.out / folder

    def begin() -> Callable[[ResultKey], ResultRow]:
        material = prepare(plan, test)
        trainers = Trainers(material, plan.recipe, test)

        def make(key: ResultKey) -> ResultRow:
            row, said = run_task(key, trainers, test.real.classes, tested=tested, done=test.done)
            return row | keep_said(place, key, said)

        return make

    return go_through(
        place,
        plan.record(test.real, plan.told()),
        keys,
        begin=begin,
        known=lambda made: test.done(plan.work(made)),
    )


def run_task(
    key: ResultKey,
    trainers: Trainers,
    classes: Sequence[str],
    *,
    tested: bool = True,
    done: Callable[[int], None] = lambda count: None,
) -> tuple[ResultRow, dict[str, Tensor]]:
    """Train one network and test it, once.

    Returns:
        Its row, and what it says of the images: ``val`` and where it is ``tested`` ``test``, [N, K]
        logits, or [N, 1] a defect score.
    """
    started = time.perf_counter()
    made = trainers.train(key, done=done)
    material = trainers.material
    parts = {"val": material.val} | ({"test": material.test} if tested else {})
    said = {name: made.logits([i for p in pixels(part) for i in p]) for name, part in parts.items()}
    row = {"steps": made.steps, "kept": made.kept, "val": made.score}
    if tested:
        row |= scores(said["test"].numpy(), [len(members) for members in material.test], classes)
    return row | {"seconds": round(time.perf_counter() - started, 1)}, said
