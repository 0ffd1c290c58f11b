"""What a sensible person with few images would use: fixed features and a linear head on them.

N images, K classes, F features; images are uint8 [H, W, C]. A head is multinomial logistic
regression on standardised features; classes weigh alike however many images they have, and so do
within a class all its images, real and added. How strongly it is held down is chosen on validation
images, by their cross-entropy, which says more than a share of so few.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.data.augment import Augment
from defectgan.data.dataset import to_tensor
from defectgan.evaluation.classifier import CPU, Recipe
from defectgan.evaluation.pools import Pixels, Pools, batches
from defectgan.images import unit
from defectgan.networks.imagenet import BATCH
from defectgan.settings.data import AugmentConfig

FROZEN = "frozen"
# With augmentation each image has so many copies beside it, until its class has about so many.
COPIES, ENOUGH = 8, 128
# Weights of the squared norm of the head, the strongest first.
PENALTIES = (1.0, 0.1, 0.01, 1e-3, 1e-4)
ITERATIONS = 100


class FrozenFeatures:
    """What a fixed network sees in images, each computed once.

    Args:
        net: images [B, C, H, W] in [-1, 1] to [B, F].
        device: where it is.
    """

    def __init__(self, net: nn.Module, *, device: torch.device = CPU) -> None:
        self._net, self._device = net, device
        self._known: dict[tuple[bytes, int], Tensor] = {}

    def __call__(self, images: Sequence[Pixels]) -> Tensor:
        """The features [N, F] of images as they are, on the CPU."""
        return self._of([(image, -1) for image in images], None)

    def copies(self, images: Sequence[Pixels], augment: AugmentConfig, *, seed: int) -> Tensor:
        """The features of augmented copies, as many of each image as ``copies_of`` says.

        A copy depends on (image, seed, its number) alone: where the same image is learned from in
        another arm, its copies are the same.
        """
        height, width = images[0].shape[:2]
        count = copies_of(len(images))
        seeds = [COPIES * seed + copy for copy in range(count)]
        wanted = [(image, number) for number in seeds for image in images]
        return self._of(wanted, Augment(augment, square=height == width))

    @torch.no_grad()
    def _of(self, wanted: Sequence[tuple[Pixels, int]], augment: Augment | None) -> Tensor:
        keys = [(hashlib.sha256(image.tobytes()).digest(), number) for image, number in wanted]
        missing = {k: w for k, w in zip(keys, wanted, strict=True) if k not in self._known}
        for part in batches(missing, size=BATCH):
            drawn = (self._drawn(key, missing[key], augment) for key in part)
            seen = self._net(to_tensor(list(drawn)).to(self._device)).cpu()
            self._known.update(zip(part, seen, strict=True))
        return torch.stack([self._known[key] for key in keys])

    @staticmethod
    def _drawn(
        key: tuple[bytes, int], wanted: tuple[Pixels, int], augment: Augment | None
    ) -> NDArray[np.float32]:
        image, number = wanted
        if augment is None:
            return unit(image)
        # Two images of one number would be turned alike.
        start = int.from_bytes(key[0][:4], "big")
        return augment(unit(image), seed=(start + number) % 2**31)


def copies_of(count: int) -> int:
    """How many augmented copies each of ``count`` images of a class has."""
    return min(COPIES, max(1, ceil(ENOUGH / count)))


@dataclass(frozen=True)
class LinearHead:
    """A linear head on features; ``kept`` is the penalty that was chosen, ``score`` its balanced
    accuracy on the validation images.
    """

    features: FrozenFeatures
    mean: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor
    kept: float
    score: float
    # At most; a head is solved for rather than trained so long.
    steps: int = len(PENALTIES) * ITERATIONS

    def logits(self, images: Sequence[Pixels]) -> Tensor:
        """What it says of images, [N, K]."""
        seen = (self.features(images) - self.mean) / self.deviation
        return seen @ self.weight.T + self.bias


def train_head(pools: Pools, recipe: Recipe, *, val: Pools, features: FrozenFeatures) -> LinearHead:
    """Train on images of K classes, at least one of each.

    Args:
        pools: the images of each class.
        recipe: its seed and augmentation; nothing else has a meaning here.
        val: images to choose the penalty by.
        features: what is seen of them.
    """
    seen = [_seen(images, recipe, features) for images in pools]
    x, labels = _labelled(seen)
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    x = (x - mean) / deviation
    judged, truth = _labelled([features(images) for images in val if images])
    truth = torch.tensor([k for k, images in enumerate(val) if images])[truth]
    judged = (judged - mean) / deviation
    head = nn.Linear(x.shape[1], len(pools))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    best: tuple[float, LinearHead] | None = None
    for penalty in PENALTIES:  # each begins where a stronger one has ended
        _fit(head, x, labels, penalty)
        with torch.no_grad():
            said = head(judged)
        loss = float(balanced_loss(said, truth))
        if best is None or loss < best[0]:
            score = _balanced(said, truth)
            weight, bias = head.weight.detach().clone(), head.bias.detach().clone()
            best = loss, LinearHead(features, mean, deviation, weight, bias, penalty, score)
    assert best is not None
    return best[1]


def _seen(images: Sequence[Pixels], recipe: Recipe, features: FrozenFeatures) -> Tensor:
    plain = features(images)
    if recipe.augment is None:
        return plain
    return torch.cat([plain, features.copies(images, recipe.augment, seed=recipe.seed)])


def _labelled(classes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    labels = [torch.full((len(part),), k) for k, part in enumerate(classes)]
    return torch.cat(list(classes)), torch.cat(labels)


def balanced_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits [N, K], the mean over the classes that there are of their means."""
    counts = labels.bincount(minlength=logits.shape[1])
    each = F.cross_entropy(logits, labels, reduction="none")
    return (each / counts[labels]).sum() / (counts > 0).sum()


def _balanced(logits: Tensor, labels: Tensor) -> float:
    """Balanced accuracy, over the classes that there are."""
    right = (logits.argmax(1) == labels).float()
    shares = [right[labels == k].mean() for k in set(labels.tolist())]
    return float(torch.stack(shares).mean())


def _fit(head: nn.Linear, x: Tensor, labels: Tensor, penalty: float) -> None:
    """Minimise the balanced loss and ``penalty / 2`` times the squared norm of the weights."""
    optimiser = torch.optim.LBFGS(
        head.parameters(), max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = balanced_loss(head(x), labels) + penalty / 2 * head.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
