"""The classifier's lead: it trains alone until it beats chance clearly, so that the generator gets
a class signal at once.
"""

import math
from collections.abc import Callable
from statistics import fmean

import torch
from torch import Tensor

from defectgan.config import TrainingConfig
from defectgan.data.index import Index
from defectgan.data.loader import Loader
from defectgan.errors import TrainingError
from defectgan.training.engine import Engine

# Steps over which the classifier's progress is averaged.
WINDOW = 50


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
    say: Callable[[str], None],
    stop: Callable[[], bool],
) -> bool | None:
    """Train the classifier alone, for ``lead_steps`` at most.

    Returns:
        Whether its cross-entropy fell below ``lead_until`` of chance's; None if it was asked to
        stop.

    Raises:
        TrainingError: if its losses are not finite.
    """
    goal = training.lead_until * chance
    window: list[Tensor] = []
    for t in range(training.lead_steps):
        if engine.peers.any(stop()):
            return None
        window = [*window[1 - WINDOW :], engine.lead_step(t, batches)["cls_r"]]
        if (t + 1) % WINDOW:
            continue
        mean = torch.stack(window).mean()
        engine.peers.average([mean])
        if not mean.isfinite():
            raise TrainingError(
                "the classifier's losses are not finite: train in fp32, or with a lower learning "
                "rate (optim.tower_lr)"
            )
        say(
            f"classifier ahead: step {t + 1} of at most {training.lead_steps}, cross-entropy "
            f"{float(mean):.2f} (chance {chance:.2f}, goal {goal:.2f})"
        )
        if mean < goal:
            return True
    return False
