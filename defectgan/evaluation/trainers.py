"""Trains the networks of a test by their keys: convolutional ones, and heads on fixed features."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from defectgan.evaluation.arms import ARMS, GOOD_ONLY, Material
from defectgan.evaluation.bench import Bench
from defectgan.evaluation.classifier import CLASSICAL, Recipe, train_classifier
from defectgan.evaluation.detector import fit_detector
from defectgan.evaluation.frozen import FROZEN, train_head
from defectgan.evaluation.ledger import ResultKey
from defectgan.evaluation.painting import PaintedBy
from defectgan.evaluation.pools import Pixels, batches, pixels, uploaded
from defectgan.networks.imagenet import BATCH


class Trained(Protocol):
    """A network that has learned; what was ``kept`` of its training by validation images, and its
    balanced accuracy on them, None where it knows no classes.
    """

    @property
    def steps(self) -> int: ...
    @property
    def kept(self) -> float: ...
    @property
    def score(self) -> float | None: ...

    def logits(self, images: Sequence[Pixels]) -> Tensor:
        """What it says of images, [N, K] by class, or [N, 1] the higher the likelier a defect."""
        ...


class Trainers:
    """Trains on the images of a test; fixed features are computed once for all heads."""

    def __init__(self, material: Material, recipe: Recipe, bench: Bench) -> None:
        self.material = material
        self._recipe, self._bench = recipe, bench

    def train(self, key: ResultKey, *, done: Callable[[int], None] = lambda count: None) -> Trained:
        """The network of a key; ``done`` is called with the number of optimizer steps made since
        the last call.
        """
        arm = ARMS[key.arm]
        if arm.name == GOOD_ONLY:
            done(1)
            return self._good_only(key)
        augment = CLASSICAL if arm.classical else None
        recipe = replace(self._recipe, net=key.net, seed=key.seed, augment=augment)
        val = pixels(self.material.val)
        painter = PaintedBy(key.generator, key.candidates)
        pools = pixels(self.material.learned_from(arm, key.ratio, painter))
        if key.net == FROZEN:
            made: Trained = train_head(pools, recipe, val=val, features=self._bench.features)
            done(1)
            return made
        trained = train_classifier(pools, recipe, val=val, device=self._bench.device, done=done)
        assert trained.steps == recipe.steps, "an arm of more steps than another proves nothing"
        return trained

    def _good_only(self, key: ResultKey) -> Trained:
        images = pixels(self.material.train)[0]
        detector = fit_detector(self._bench.judge.maps, self._batches(images), seed=key.seed)

        def scores(images: Sequence[Pixels]) -> Tensor:
            return torch.cat([detector(batch)[0].cpu() for batch in self._batches(images)])[:, None]

        return GoodOnly(scores)

    def _batches(self, images: Sequence[Pixels]) -> Iterator[Tensor]:
        return (uploaded(part, self._bench.device) for part in batches(images, size=BATCH))


@dataclass(frozen=True)
class GoodOnly:
    """A detector that knows no classes: its score, as ``Trained``."""

    logits: Callable[[Sequence[Pixels]], Tensor]
    steps: int = 0
    kept: float = 0
    score: float | None = None
