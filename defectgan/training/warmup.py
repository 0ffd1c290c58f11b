"""The warm-up: the classifier trains alone until it beats chance clearly, so that the generator
gets a class signal at once.
"""

import math
from collections.abc import Callable
from statistics import fmean

import torch
from torch import Tensor

from defectgan.data.index import Index
from defectgan.data.loader import Loader
from defectgan.devices import synchronize
from defectgan.errors import TrainingError
from defectgan.methods.base import WarmUp
from defectgan.training import TIMED_STEPS
from defectgan.training.step import Engine
from defectgan.training.watch import Watcher

# Steps of the warm-up for each step that follows, at most: one takes about a seventeenth of a
# training step's time, so that the warm-up adds a quarter to a short training.
SHARE = 4
# Steps over which the classifier's progress is averaged.
WINDOW = 50

# What there is not in a training whose classifier has no warm-up.
NO_WARMUP = (
    "no kid_share and no best weights: without a warm-up of the classifier (method.warmup_steps) "
    "there is nothing that stands still to judge by, but where the extra 'features' is installed"
)
# Nor in one whose state does not hold what its warm-up came to.
NO_FEATURES = (
    "no kid_share and no best weights from here on: the state is of an earlier version, which kept "
    "nothing that stands still to judge by"
)


def chance_loss(index: Index) -> float:
    """The classification loss of a critic that knows only how often classes are drawn."""
    if not index.multi_label:
        # Among the defects of a set; each class is drawn as often as any other.
        sets = index.known or (range(len(index.classes)),)
        told = [fmean(len(known) - 1 for known in sets if k in known) for k in _defects(index)]
        return math.log(2) + 0.5 * fmean(map(math.log, told))
    shares = [0.5] + [
        0.5 * fmean(fmean(name in s.labels for s in of_class) for of_class in index.members[1:])
        for name in index.classes[1:]
    ]
    return -sum(p * math.log(p) + (1 - p) * math.log(1 - p) for p in shares)


def _defects(index: Index) -> range:
    return range(1, len(index.classes))


def longest(warm_up: WarmUp, steps: int) -> int:
    """Steps of the warm-up of a training of so many steps, at most."""
    return min(warm_up.steps, SHARE * steps)


def take_warm_up(
    engine: Engine,
    batches: Loader,
    warm_up: WarmUp,
    chance: float,
    *,
    watcher: Watcher,
    stop: Callable[[], bool],
) -> bool | None:
    """Train the classifier alone, for ``longest`` steps at most.

    Returns:
        Whether its cross-entropy fell below its goal's share of chance's; None if it was asked to
        stop.

    Raises:
        TrainingError: if its losses are not finite.
    """
    goal, most = warm_up.until * chance, longest(warm_up, engine.config.training.steps)
    window: list[Tensor] = []
    for t in range(most):
        if engine.world.any(stop()):
            return None
        window = [*window[1 - WINDOW :], engine.warm_up_step(t, batches)["cls_r"]]
        if t < TIMED_STEPS:
            synchronize(engine.device)
        watcher.warmed(t + 1, most)
        if (t + 1) % WINDOW and t + 1 < most:
            continue
        mean = torch.stack(window).mean()
        engine.world.average([mean])
        if not mean.isfinite():
            raise TrainingError(
                "the classifier's losses are not finite: train in fp32, or with a lower learning "
                "rate (method.tower_lr)"
            )
        watcher.phase(
            f"classifier ahead: step {t + 1} of at most {most}, cross-entropy "
            f"{float(mean):.2f} (chance {chance:.2f}, goal {goal:.2f})"
        )
        if mean < goal:
            return True
    return False


def missed_goal(warm_up: WarmUp, steps: int) -> str:
    """What to say where the classifier was not sure enough in the end."""
    most = longest(warm_up, steps)
    if most < warm_up.steps:
        return (
            f"the classifier did not reach its goal in {most} steps alone, {SHARE} for each step "
            "of so short a training: expect little of it; longer ones give the classifier up to "
            f"{warm_up.steps}"
        )
    return (
        f"the classifier did not reach its goal in {warm_up.steps} steps alone: the "
        "classes are hard to tell apart, expect the generator to learn slowly"
    )
