"""What masks are worth: a segmenter learns from masks that nobody drew, and is tested on true
ones.

Every arm sees the same good images, as many steps, and defects of one origin: ``synthetic``, a
generator's images with the masks that it painted; ``procedural``, pasted or blended ones with the
masks of that; ``true``, real training images with their true masks, as a reference for what drawing
masks by hand gives. Cut and paste takes its defects out along true masks, where there are any; a
generator has seen none, but where it was trained with mask supervision.

B batch, C image channels, H x W pixels; images are as seen [H, W, C], masks [H, W, 1] in 0..255
until a batch is made of them.

Source: Ronneberger et al., "U-Net", MICCAI 2015; dice: Milletari et al., "V-Net", 3DV 2016.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.data.augment import Augment
from defectgan.data.dataset import Seen, to_tensor
from defectgan.data.masks import half_covered
from defectgan.devices import place, seeded, upload
from defectgan.errors import DataError
from defectgan.evaluation.arms import Material, SeenByClass
from defectgan.evaluation.classifier import CLASSICAL, CPU, learning, outputs
from defectgan.evaluation.painting import NOBODY, PaintedBy, added
from defectgan.evaluation.segmentation_figures import SaidOfPixels, pixel_scores, said_of
from defectgan.images import unit

Origin = Literal["synthetic", "procedural", "true"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)
LEVELS = 4


@dataclass(frozen=True)
class SegmentationRecipe:
    """How a segmenter is trained: optimizer steps, images a batch, half of them good (of an odd
    number one less), channels at full resolution, the largest learning rate.
    """

    steps: int = 300
    batch_size: int = 16
    width: int = 16
    lr: float = 2e-3
    seed: int = 0


class UNet(nn.Module):
    """Images [B, C, H, W] in [-1, 1] to the logits [B, 1, H, W] of being defect; H and W are
    multiples of 8.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        inputs = [channels, *widths]
        self.down = nn.ModuleList(map(_block, inputs[:LEVELS], widths))
        pairs = list(zip(widths[1:], widths[:-1], strict=True))
        self.up = nn.ModuleList(_block(deep + flat, flat) for deep, flat in reversed(pairs))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            seen.append(x)
        for block, beside in zip(self.up, reversed(seen[:-1]), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0), beside], 1))
        logits: Tensor = self.head(x)
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in (inputs, outputs):
        conv = nn.Conv2d(size, outputs, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def segmentation_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of the pixels and 1 - dice of the batch, both [B, 1, H, W], truth in {0, 1}."""
    found = logits.sigmoid()
    dice = (2 * (found * truth).sum() + 1) / (found.sum() + truth.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, truth) + 1 - dice


def learned_from(
    material: Material, origin: Origin, ratio: float, painter: PaintedBy = NOBODY
) -> list[list[Seen]]:
    """The images of each class that an arm learns from, normal ones first: ``ratio`` made ones for
    each real one of a defect class, or the real ones that have a true mask.

    Raises:
        DataError: if a class has none.
    """
    normal, *real = material.train
    if origin == "true":
        defects = [[seen for seen in members if seen.truth is not None] for members in real]
        if not all(defects):
            raise DataError(
                "a class has no training image with a true mask: leave out the arm true, or give "
                "some of its images a mask"
            )
    else:
        made = (material.synthetic[painter] if origin == "synthetic" else material.procedural)[1:]
        counts = [added(ratio, len(members)) for members in real]
        defects = [list(some[:count]) for some, count in zip(made, counts, strict=True)]
    return [list(normal), *defects]


def train_segmenter(
    pools: SeenByClass,
    recipe: SegmentationRecipe,
    *,
    device: torch.device = CPU,
    done: Callable[[int], None] = lambda count: None,
) -> UNet:
    """Train on half good images, half defects, their classes drawn evenly; AdamW, the rate a cosine
    to 0. The last weights are taken: choosing would need true masks.

    Args:
        pools: what is seen of each class, normal ones first, defects with masks.
        recipe: how.
        device: where to compute.
        done: called with the number of steps made since the last call.

    Raises:
        OutOfMemory: if a batch does not fit into memory.
    """
    height, width, channels = pools[0][0].image.shape
    with seeded(recipe.seed):
        net = place(UNet(channels, recipe.width), device).train()
    adam = torch.optim.AdamW(net.parameters(), lr=recipe.lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, recipe.steps)
    augment = Augment(CLASSICAL, square=height == width)
    for step in range(recipe.steps):
        images, truth = draw(pools, recipe, step, augment)
        with learning("segmenter", images):
            loss = segmentation_loss(net(upload(images, device)), upload(truth, device))
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
        schedule.step()
        done(1)
    return net.eval()


def draw(
    pools: SeenByClass, recipe: SegmentationRecipe, step: int, augment: Augment
) -> tuple[Tensor, Tensor]:
    """The batch of a step, a function of (seed, step): images [B, C, H, W] in [-1, 1] and masks
    [B, 1, H, W] in {0, 1}.
    """
    rng = np.random.default_rng([recipe.seed, step])
    good, bad = recipe.batch_size // 2, (recipe.batch_size + 1) // 2
    classes = [0] * good + (1 + rng.integers(len(pools) - 1, size=bad)).tolist()
    drawn = [pools[k][int(rng.integers(len(pools[k])))] for k in classes]
    seeds = rng.integers(2**31, size=len(drawn)).tolist()
    made = [
        augment.together(unit(seen.image), _truth(seen).astype(np.float32), seed=seed)
        for seen, seed in zip(drawn, seeds, strict=True)
    ]
    images = to_tensor([image for image, _ in made])
    masks = to_tensor([mask for _, mask in made if mask is not None])
    return images, (masks > 0).float()


def _truth(seen: Seen) -> NDArray[np.bool_]:
    """Which pixels [H, W, 1] are defect, none of a good image."""
    if seen.truth is None:
        return np.zeros((*seen.image.shape[:2], 1), np.bool_)
    return half_covered(seen.truth)


def answers(net: nn.Module, test: SeenByClass) -> SaidOfPixels:
    """What a segmenter says of the pixels of test images, [N, P], those of a class side by side.

    Args:
        net: the segmenter.
        test: what is seen of real images of each class, normal ones first; defects without a true
            mask cannot be tested on.

    Raises:
        DataError: if no defect has a true mask that shows any.
    """
    good, flat = len(test[0]), [seen for members in test for seen in members]
    logits = outputs(net, [seen.image for seen in flat])
    said = np.stack(
        [
            said_of(p, _truth(seen)[..., 0]) * np.int16(i < good or seen.truth is not None)
            for i, (p, seen) in enumerate(zip(logits.sigmoid()[:, 0].numpy(), flat, strict=True))
        ]
    )
    if not (said[good:] > 0).any():
        raise DataError(
            "no test image of a defect has a true mask: a segmenter is tested on those; give some "
            "of them a mask"
        )
    return said


def segment(
    material: Material,
    origin: Origin,
    recipe: SegmentationRecipe,
    names: Sequence[str],
    *,
    ratio: float = 1.0,
    painter: PaintedBy = NOBODY,
    device: torch.device = CPU,
    done: Callable[[int], None] = lambda count: None,
) -> tuple[dict[str, Any], SaidOfPixels]:
    """Train one segmenter and test it, once: a row of the table, and what it says of the pixels of
    the test images.

    Raises:
        DataError: if the images have no masks to learn from or to test on.
    """
    started = time.perf_counter()
    pools = learned_from(material, origin, ratio, painter)
    net = train_segmenter(pools, recipe, device=device, done=done)
    said = answers(net, material.test)
    return {
        "arm": origin,
        "ratio": ratio if origin != "true" else 0.0,
        "seed": recipe.seed,
        "steps": recipe.steps,
        **pixel_scores(said, names, [len(members) for members in material.test]),
        "seconds": round(time.perf_counter() - started, 1),
    }, said
