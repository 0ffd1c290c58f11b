"""A classifier trained in a known number of steps on classes drawn evenly.

B batch, C image channels (1 or 3), K classes, H x W pixels; images are as seen [H, W, C] until a
batch is made of them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model, list_models
from torchvision.models.resnet import BasicBlock, ResNet

from defectgan.data.augment import Augment
from defectgan.data.dataset import to_tensor
from defectgan.devices import place, seeded, upload
from defectgan.errors import ModelError, SettingError
from defectgan.evaluation.pools import Pixels, Pools, uploaded
from defectgan.images import unit
from defectgan.memory import Portions, enough_memory
from defectgan.settings.data import AugmentConfig
from defectgan.words import counted

CPU = torch.device("cpu")
SMALL = "small"
# Pose and exposure as an inspection line varies them.
CLASSICAL = AugmentConfig(contrast=0.2, brightness=0.1, gamma=0.2)


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained; ``steps`` are those of the optimizer, ``net`` is ``small`` or a
    ResNet of torchvision's, ``weights`` a safetensors file with its tensors to begin with,
    ``augment`` None for images as they are; of ``evaluations`` on validation images, spread evenly
    over the steps, the best is kept.
    """

    net: str = "resnet18"
    steps: int = 300
    batch_size: int = 32
    seed: int = 0
    augment: AugmentConfig | None = CLASSICAL
    weights: Path | None = None
    evaluations: int = 5


@dataclass(frozen=True)
class Classifier:
    """A trained network in evaluation mode; ``steps`` were made, ``kept`` is the one whose weights
    these are, ``score`` its balanced accuracy on the validation images, None without any.
    """

    net: ResNet
    steps: int
    kept: int
    score: float | None = None

    def logits(self, images: Sequence[Pixels]) -> Tensor:
        """What it says of images, [N, K], on the CPU."""
        return outputs(self.net, images)


class SmallResNet(ResNet):  # type: ignore[misc]
    """One block a level, half the channels: a sixth of the arithmetic of a ResNet-18."""

    def __init__(self, *, num_classes: int) -> None:
        super().__init__(BasicBlock, [1, 1, 1, 1])
        self.fc = nn.Linear(512 // 2, num_classes)

    def _make_layer(self, block: Any, planes: int, blocks: int, **options: Any) -> nn.Sequential:
        layer: nn.Sequential = super()._make_layer(block, planes // 2, blocks, **options)
        return layer


def known_net(name: str, *, besides: Sequence[str] = ()) -> str:
    """The name of a network; ``besides`` are those that the message names too.

    Raises:
        SettingError: if there is no such network.
    """
    resnets = [n for n in list_models() if n.startswith(("resnet", "resnext", "wide_resnet"))]
    if name not in (SMALL, *resnets):
        expected = ", ".join((SMALL, *besides, *resnets))
        raise SettingError(f"no network {name}: expected {expected}")
    return name


def build(recipe: Recipe, *, classes: int, channels: int) -> ResNet:
    """A network for C channels and K classes, drawn by the recipe's seed.

    From scratch its stem halves the size once, for the small images that are trained on here; with
    weights it is torchvision's own, and the kernels of a gray image are the sums over colours.

    Raises:
        SettingError: if there is no such network.
        ModelError: if the weights cannot be read, or are of another network.
    """
    known_net(recipe.net)
    with seeded(recipe.seed):
        net: ResNet = (
            SmallResNet(num_classes=classes)
            if recipe.net == SMALL
            else get_model(recipe.net, weights=None, num_classes=classes)
        )
        if recipe.weights is not None:
            return _filled(net, recipe.weights, channels)
        net.conv1 = nn.Conv2d(channels, 64, 3, stride=2, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net


def _filled(net: ResNet, path: Path, channels: int) -> ResNet:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a whole safetensors file: {error}") from error
    kept = {name: t for name, t in tensors.items() if not name.startswith("fc.")}
    wanted = {n: t.shape for n, t in net.state_dict().items() if not n.startswith("fc.")}
    # Files from before 2018 do not count the batches that a normalization has seen.
    needed = {n for n in wanted if not n.endswith("num_batches_tracked")}
    if wrong := [n for n in (*needed, *kept) if n not in kept or wanted.get(n) != kept[n].shape]:
        raise ModelError(
            f"{path} holds weights of another network: {len(wrong)} tensors do not fit, the first "
            f"{wrong[0]}; expected those of torchvision's network of the same name"
        )
    net.load_state_dict(kept, strict=False)
    if channels == 1:
        summed = net.conv1.weight.detach().sum(1, keepdim=True)
        net.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        net.conv1.weight = nn.Parameter(summed)
    return net


def train_classifier(
    pools: Pools,
    recipe: Recipe,
    *,
    val: Pools | None = None,
    device: torch.device = CPU,
    done: Callable[[int], None] = lambda count: None,
) -> Classifier:
    """Train on images of K classes: AdamW, the rate a cosine to 0.

    What is drawn at a step depends on (seed, step) alone: the class evenly, then an image of its
    pool evenly, real or generated.

    Args:
        pools: the images of each class, at least one of each.
        recipe: how.
        val: images to choose the weights by; None keeps the last.
        device: where to compute.
        done: called with the number of steps made since the last call.

    Raises:
        OutOfMemory: if a batch does not fit into memory.
    """
    net = build(recipe, classes=len(pools), channels=pools[0][0].shape[2])
    net = place(net, device).train()
    adam = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, recipe.steps)
    augment = _augment(recipe, pools)
    looks = {recipe.steps * n // recipe.evaluations for n in range(1, recipe.evaluations + 1)}
    best = Classifier(net, recipe.steps, recipe.steps)
    for step in range(recipe.steps):
        images, labels = draw(pools, recipe, step, augment)
        with learning("classifier", images):
            loss = F.cross_entropy(net(upload(images, device)), upload(labels, device))
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
        schedule.step()
        if val is not None and step + 1 in looks:
            score = balanced_accuracy(net.eval(), val)
            if best.score is None or score >= best.score:
                best = Classifier(deepcopy(net), recipe.steps, step + 1, score)
            net.train()
        done(1)
    best.net.eval()
    return best


def learning(what: str, images: Tensor) -> AbstractContextManager[None]:
    """A step on a batch [B, C, H, W] within; it raises ``OutOfMemory`` where memory ends."""
    count, _, height, width = images.shape
    return enough_memory(
        f"a {what}'s batch of {counted(count, 'image')} of {width} x {height} pixels",
        "take a smaller batch or image size",
        mend=("batch_size", str(max(2, count // 2))),
    )


def _augment(recipe: Recipe, pools: Pools) -> Augment | None:
    height, width = pools[0][0].shape[:2]
    return Augment(recipe.augment, square=height == width) if recipe.augment else None


def draw(pools: Pools, recipe: Recipe, step: int, augment: Augment | None) -> tuple[Tensor, Tensor]:
    """The batch of a step: images [B, C, H, W] in [-1, 1] and their classes [B]."""
    rng = np.random.default_rng([recipe.seed, step])
    labels = rng.integers(len(pools), size=recipe.batch_size)
    images = [unit(pools[k][int(rng.integers(len(pools[k])))]) for k in labels.tolist()]
    seeds = rng.integers(2**31, size=recipe.batch_size).tolist()
    if augment is not None:
        images = [augment(image, seed=seed) for image, seed in zip(images, seeds, strict=True)]
    return to_tensor(images), torch.from_numpy(labels)


@torch.no_grad()
def outputs(net: nn.Module, images: Sequence[Pixels], *, batch_size: int = 32) -> Tensor:
    """What a network says of images, [N, F], on the CPU."""
    device = next(net.parameters()).device

    def say_of(part: slice) -> Tensor:
        said: Tensor = net(uploaded(images[part], device))
        return said.cpu()

    return torch.cat(Portions(batch_size, "images to judge")(len(images), say_of))


def predict(net: nn.Module, images: Sequence[Pixels]) -> Tensor:
    """The class [N] that a classifier names for each image."""
    return outputs(net, images).argmax(1)


def balanced_accuracy(net: nn.Module, pools: Pools) -> float:
    """The mean over the classes that have images of the share that is named right."""
    shares = [(predict(net, p) == k).float().mean() for k, p in enumerate(pools) if p]
    return float(torch.stack(shares).mean())
