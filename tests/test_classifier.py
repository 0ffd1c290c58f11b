"""The classifier by which evaluations judge."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from defectgan.data.dataset import to_tensor
from defectgan.errors import ModelError, OutOfMemory, SettingError
from defectgan.evaluation import classifier
from defectgan.evaluation.classifier import (
    SMALL,
    Recipe,
    balanced_accuracy,
    build,
    draw,
    learning,
    outputs,
    predict,
    train_classifier,
)
from defectgan.evaluation.pools import Pixels
from defectgan.images import unit

TINY = Recipe(net=SMALL, steps=8, batch_size=8, augment=None)


def grays(seed: int, *, count: int = 6) -> list[list[Pixels]]:
    """Three classes of noise, each round a gray of its own."""
    rng = np.random.default_rng(seed)
    return [
        [rng.normal(gray, 10, (16, 16, 1)).clip(0, 255).astype(np.uint8) for _ in range(count)]
        for gray in (40, 120, 200)
    ]


def test_classes_are_drawn_evenly_however_many_images_they_have() -> None:
    few, some, many = grays(0, count=40)
    pools = [few[:1], some[:5], many]
    labels = torch.cat([draw(pools, replace(TINY, batch_size=300), s, None)[1] for s in range(3)])
    shares = labels.bincount() / len(labels)
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.05, rtol=0)


def test_a_batch_is_a_function_of_seed_and_step_and_its_labels_are_those_of_its_images() -> None:
    pools = grays(0)
    images, labels = draw(pools, TINY, 5, None)
    torch.testing.assert_close((images, labels), draw(pools, TINY, 5, None))
    assert not torch.equal(images, draw(pools, TINY, 6, None)[0])
    means = (images.mean((1, 2, 3)) + 1) * 127.5
    assert ((means - torch.tensor([40.0, 120.0, 200.0])[labels]).abs() < 10).all()


def test_a_training_makes_its_steps_and_comes_out_the_same_again() -> None:
    told: list[int] = []
    first = train_classifier(grays(0), TINY, done=told.append)
    again = train_classifier(grays(0), TINY)
    assert sum(told) == first.steps == 8
    for one, other in zip(
        first.net.state_dict().values(), again.net.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def stripes(seed: int) -> list[list[Pixels]]:
    """Three classes of patterns: rows, columns, checks."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16] // 2
    return [
        [rng.normal(88 + 80 * (p % 2), 10)[..., None].clip(0, 255).astype(np.uint8)] * 6
        for p in (y, x, x + y)
    ]


def test_a_classifier_learns_patterns_that_it_has_not_seen() -> None:
    made = train_classifier(stripes(0), replace(TINY, steps=20), val=stripes(1))
    assert made.score == balanced_accuracy(made.net, stripes(1)) == 1.0


def test_the_weights_kept_are_the_latest_of_those_that_the_validation_images_find_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[torch.Tensor] = []

    def score(net: Any, pools: object) -> float:
        told.append(net.fc.weight.clone())
        return (0.3, 0.9, 0.9, 0.5)[len(told) - 1]

    monkeypatch.setattr(classifier, "balanced_accuracy", score)
    made = train_classifier(stripes(0), replace(TINY, evaluations=4), val=stripes(1))
    assert (made.kept, made.score, made.steps) == (6, 0.9, 8)
    torch.testing.assert_close(made.net.fc.weight, told[2], rtol=0, atol=0)
    assert not torch.equal(told[2], told[3]) and not made.net.training


def test_balanced_accuracy_is_the_mean_of_the_classes_that_have_images() -> None:
    class Dark(torch.nn.Module):
        """Takes every image for class 0."""

        def __init__(self) -> None:
            super().__init__()
            self.logits = torch.nn.Parameter(torch.tensor([1.0, 0.0, 0.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(x), 3)

    first, second, _ = grays(0)
    assert predict(Dark(), first).tolist() == [0] * 6
    assert balanced_accuracy(Dark(), [first[:1], second, []]) == 0.5


def test_given_weights_see_a_gray_image_as_they_would_in_colour(tmp_path: Path) -> None:
    """All but the last layer are taken; a gray kernel is the sum of the colours'."""
    torch.manual_seed(0)
    given = resnet18()
    save_file(given.state_dict(), tmp_path / "given.safetensors")
    recipe = Recipe(weights=tmp_path / "given.safetensors")
    gray = build(recipe, classes=3, channels=1).eval()
    colour = build(recipe, classes=3, channels=3).eval()
    image = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(gray(image), colour(image.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(colour.layer4[0].conv1.weight, given.layer4[0].conv1.weight)
    assert gray.fc.out_features == 3


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"features.0.weight": torch.zeros(2)}, other)
    with pytest.raises(ModelError, match="weights of another network"):
        build(Recipe(weights=other), classes=3, channels=3)
    other.write_bytes(b"not weights")
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        build(Recipe(weights=other), classes=3, channels=3)
    with pytest.raises(SettingError, match="no network vgg16: expected small, resnet"):
        build(Recipe(net="vgg16"), classes=3, channels=3)


def test_images_that_do_not_fit_into_memory_at_once_are_judged_in_smaller_portions() -> None:
    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return x.mean((1, 2, 3))[:, None]

    images = [image for pool in grays(0) for image in pool]
    expected = torch.stack([to_tensor([unit(image)]).mean() for image in images])
    torch.testing.assert_close(outputs(Small(), images)[:, 0], expected)


@pytest.mark.parametrize("what", ["classifier", "segmenter"])
def test_a_batch_to_learn_from_that_does_not_fit_says_what_to_lower(what: str) -> None:
    with (
        pytest.raises(OutOfMemory, match=f"a {what}'s batch of 8 images of 16 x 12 pixels") as said,
        learning(what, torch.zeros(8, 3, 12, 16)),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert "take a smaller batch or image size" in str(said.value)
    assert said.value.mend == ("batch_size", "4")
