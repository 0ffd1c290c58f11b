"""A linear head on fixed features."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.evaluation.classifier import CLASSICAL, Recipe
from defectgan.evaluation.frozen import (
    COPIES,
    ENOUGH,
    PENALTIES,
    FrozenFeatures,
    balanced_loss,
    copies_of,
    train_head,
)
from defectgan.evaluation.pools import Pixels

RECIPE = Recipe(augment=None)


class Moments(nn.Module):
    """Mean and spread of an image: features that are known beforehand; counts its images."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return torch.stack([images.mean((1, 2, 3)), images.std((1, 2, 3))], 1)


def grays(seed: int, counts: tuple[int, ...], *, spread: float = 12) -> list[list[Pixels]]:
    """Classes of noise, each round a gray of its own."""
    rng = np.random.default_rng(seed)
    return [
        [noise(gray + rng.normal(0, spread), rng) for _ in range(count)]
        for gray, count in zip((60, 100, 180), counts, strict=False)
    ]


def noise(gray: float, rng: np.random.Generator) -> Pixels:
    return (gray + rng.normal(0, 8, (16, 16, 1))).clip(0, 255).astype(np.uint8)


def test_the_balanced_loss_is_the_mean_over_classes_of_their_mean_cross_entropy() -> None:
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 0, 0, 0, 2, 2])
    means = [F.cross_entropy(logits[labels == k], labels[labels == k]) for k in (0, 2)]
    torch.testing.assert_close(balanced_loss(logits, labels), torch.stack(means).mean())


def test_a_head_is_the_minimum_of_its_loss_for_the_penalty_that_validation_images_choose() -> None:
    """At a minimum the gradient is 0, and no other penalty does better on validation images."""
    features = FrozenFeatures(Moments())
    train, val = grays(0, (9, 30, 9)), grays(1, (20, 20, 20))
    head = train_head(train, RECIPE, val=val, features=features)
    x = torch.cat([features(images) for images in train])
    labels = torch.arange(3).repeat_interleave(torch.tensor([9, 30, 9]))
    weight, bias = head.weight.clone().requires_grad_(), head.bias.clone().requires_grad_()
    logits = (x - x.mean(0)) / (x.std(0) + 1e-6) @ weight.T + bias
    loss = balanced_loss(logits, labels) + head.kept / 2 * weight.square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None and weight.grad.abs().max() < 1e-3
    assert head.kept in PENALTIES
    said = head.logits([image for images in val for image in images])
    named = said.argmax(1).reshape(3, 20)
    shares = (named == torch.arange(3)[:, None]).float().mean(1)
    assert head.score == pytest.approx(float(shares.mean())) and head.score > 0.8


def test_where_classes_cannot_be_told_apart_the_strongest_penalty_is_chosen() -> None:
    rng = np.random.default_rng(0)
    noise = [
        [rng.integers(0, 256, (16, 16, 1)).astype(np.uint8) for _ in range(12)] for _ in range(2)
    ]
    head = train_head(noise, RECIPE, val=[noise[1], noise[0]], features=FrozenFeatures(Moments()))
    assert head.kept == max(PENALTIES)


def test_features_of_an_image_are_computed_once() -> None:
    net = Moments()
    features = FrozenFeatures(net)
    images = grays(0, (5,))[0]
    first = features(images)
    torch.testing.assert_close(features([*images, images[2]]), torch.cat([first, first[2:3]]))
    assert net.seen == 5


def test_copies_depend_on_the_image_and_the_seed_and_are_those_of_any_other_arm() -> None:
    features = FrozenFeatures(Moments())
    few = grays(0, (20,))[0]
    alone = features.copies(few, CLASSICAL, seed=0)
    among = FrozenFeatures(Moments()).copies(few[::-1], CLASSICAL, seed=0)
    assert len(alone) == len(among) == 20 * copies_of(20)
    known = alone.reshape(-1, 20, 2)
    torch.testing.assert_close(among.reshape(-1, 20, 2), known.flip(1))
    assert not torch.isclose(known[0], known[1]).all(1).any()
    other = features.copies(few, CLASSICAL, seed=1).reshape(-1, 20, 2)
    assert not torch.isclose(known[0], other[0]).all(1).any()


def test_a_class_has_copies_until_it_has_enough_images() -> None:
    assert copies_of(1) == copies_of(ENOUGH // COPIES) == COPIES
    assert copies_of(ENOUGH // 2) == 2 and copies_of(ENOUGH) == copies_of(10 * ENOUGH) == 1


def test_augmentation_is_learned_from_where_it_is_asked_for() -> None:
    net = Moments()
    train, val = grays(0, (8, 8, 8)), grays(1, (4, 4, 4))
    train_head(train, RECIPE, val=val, features=FrozenFeatures(net))
    plain, net.seen = net.seen, 0
    train_head(train, replace(RECIPE, augment=CLASSICAL), val=val, features=FrozenFeatures(net))
    assert (plain, net.seen) == (24 + 12, 24 * (1 + COPIES) + 12)
