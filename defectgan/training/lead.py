"""The classifier's lead: it trains alone until it beats chance clearly, so that the generator gets
a class signal at once.
"""

import math
from collections.abc import Callable
from statistics import fmean

import torch
from torch import Tensor

from defectgan.config import LEAD_SHARE, TrainingConfig
from defectgan.data.index import Index
from defectgan.data.loader import Loader
from defectgan.devices import synchronize
from defectgan.errors import TrainingError
from defectgan.training import TIMED_STEPS
from defectgan.training.engine import Engine
from defectgan.training.watch import Watcher

# Steps over which the classifier's progress is averaged.
WINDOW = 50

# What there is not in a training whose classifier takes no lead.
NO_LEAD = (
    "no kid_share and no best weights: without a warm-up of the classifier (training.lead_steps) "
    "there is nothing that stands still to judge by, but where the extra 'features' is installed"
)
# Nor in one whose state does not hold what its lead came to.
NO_YARDSTICK = (
    "no kid_share and no best weights from here on: the state is of an earlier version, which kept "
    "nothing that stands still to judge by"
)


def chance_loss(index: Index) -> float:
    """The classification loss of a critic that knows only how often classes are drawn."""
    if not index.multi_label:
        return math.log(2) + 0.5 * math.log(len(index.classes) - 1)
    shares = [0.5] + [
        0.5 * fmean(fmean(name in s.labels for s in of_class) for of_class in index.members[1:])
        for name in index.classes[1:]
    ]
    return -sum(p * math.log(p) + (1 - p) * math.log(1 - p) for p in shares)


def take_lead(
    engine: Engine,
    batches: Loader,
    training: TrainingConfig,
    chance: float,
    *,
    watcher: Watcher,
    stop: Callable[[], bool],
) -> bool | None:
    """Train the classifier alone, for ``longest_lead`` steps at most.

    Returns:
        Whether its cross-entropy fell below ``lead_until`` of chance's; None if it was asked to
        stop.

    Raises:
        TrainingError: if its losses are not finite.
    """
    goal, longest = training.lead_until * chance, training.longest_lead
    window: list[Tensor] = []
    for t in range(longest):
        if engine.peers.any(stop()):
            return None
        window = [*window[1 - WINDOW :], engine.lead_step(t, batches)["cls_r"]]
        if t < TIMED_STEPS:
            synchronize(engine.device)
        watcher.warmed(t + 1, longest)
        if (t + 1) % WINDOW and t + 1 < longest:
            continue
        mean = torch.stack(window).mean()
        engine.peers.average([mean])
        if not mean.isfinite():
            raise TrainingError(
                "the classifier's losses are not finite: train in fp32, or with a lower learning "
                "rate (optim.tower_lr)"
            )
        watcher.phase(
            f"classifier ahead: step {t + 1} of at most {longest}, cross-entropy "
            f"{float(mean):.2f} (chance {chance:.2f}, goal {goal:.2f})"
        )
        if mean < goal:
            return True
    return False


def missed_goal(training: TrainingConfig) -> str:
    """What to say where the classifier was not sure enough in the end."""
    if training.longest_lead < training.lead_steps:
        return (
            f"the classifier did not reach its goal in {training.longest_lead} steps alone, "
            f"{LEAD_SHARE} for each step of so short a training: expect little of it; longer ones "
            f"give the classifier up to {training.lead_steps}"
        )
    return (
        f"the classifier did not reach its goal in {training.lead_steps} steps alone: the "
        "classes are hard to tell apart, expect the generator to learn slowly"
    )
