"""Which depths of a fixed network tell real classes apart, and how their maps are best pooled.

    python benchmarks/depths.py --sets magnetic_tile deeppcb bsdata_pitting --net lite2

Training images alone, the first ``--images`` of each class in an order drawn by the seed. Balanced
accuracy of a linear head (ridge regression on the classes, its strength by leave-one-out) in five
folds that never tear a piece apart. ``signal`` is what a comparison of images sees: the kernel
distance of good images from defects, in standard deviations of that of one half of the defects
from the other, the mean over the classes.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from defectgan.data.dataset import ImageSet, to_tensor
from defectgan.data.index import Index, index_data
from defectgan.images import unit
from defectgan.metrics.kernel import kid
from defectgan.networks.imagenet import BATCH, ImagenetFeatures, imagenet
from defectgan.settings.data import DataConfig

# An image's name without the number of its window.
PIECE = r"(.*)_(?:n?\d+|n)\.png$"
DEPTHS: tuple[tuple[int, ...], ...] = (
    *((n,) for n in range(2, 8)),
    *((3, 5), (5, 7), (3, 6), (3, 5, 7), (2, 3, 6), (2, 3, 5, 7)),
)
POOLS = ("mean", "max", "mean+max")
DRAWS = 20


def chosen(index: Index, count: int, seed: int) -> list[tuple[int, int]]:
    """(class, place in it) of the images of a set."""
    rng = np.random.default_rng(seed)
    return [
        (k, int(i))
        for k, members in enumerate(index.members)
        for i in sorted(rng.permutation(len(members))[:count])
    ]


@torch.no_grad()
def stages(
    net: ImagenetFeatures, index: Index, keys: Sequence[tuple[int, int]], size: int
) -> dict[tuple[int, str], Tensor]:
    """The maps of each stage, pooled, [N, c]."""
    images = ImageSet(index, DataConfig(image_size=(size, size), cache="none"))
    pooled: dict[tuple[int, str], list[Tensor]] = {}
    for start in range(0, len(keys), BATCH):
        samples = [(index.members[k][i], k) for k, i in keys[start : start + BATCH]]
        seen = [unit(images.view(s, images.image(s), k).image) for s, k in samples]
        for stage, maps in enumerate(net.stages_of(to_tensor(seen))):
            pooled.setdefault((stage, "mean"), []).append(maps.mean((2, 3)))
            pooled.setdefault((stage, "max"), []).append(maps.amax((2, 3)))
    return {key: torch.cat(parts).double() for key, parts in pooled.items()}


def candidates(found: dict[tuple[int, str], Tensor]) -> Iterator[tuple[str, str, Tensor]]:
    for depths in DEPTHS:
        for pool in POOLS:
            parts = [found[depth, p] for depth in depths for p in pool.split("+")]
            # Each part weighs as much in a distance, whatever its scale.
            parts = [p / p.square().mean(1, keepdim=True).sqrt() for p in parts]
            yield "+".join(map(str, depths)), pool, torch.cat(parts, 1)


def accuracy(x: NDArray[np.float64], y: NDArray[np.int64], groups: Sequence[str]) -> float:
    head = RidgeClassifierCV(alphas=np.logspace(0, 6, 13), class_weight="balanced")
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    named = cross_val_predict(make_pipeline(StandardScaler(), head), x, y, groups=groups, cv=folds)
    return float(balanced_accuracy_score(y, named))


def signal(x: Tensor, y: NDArray[np.int64]) -> float:
    rng = np.random.default_rng(0)
    normal, found = x[y == 0], []
    for k in range(1, int(y.max()) + 1):
        real = x[y == k]
        half = len(real) // 2
        floor, ceiling = [], []
        for _ in range(DRAWS):
            order = rng.permutation(len(real))
            drawn, rest = real[order[:half]], real[order[half : 2 * half]]
            floor.append(kid([rest], [drawn]))
            ceiling.append(kid([normal[rng.permutation(len(normal))[:half]]], [drawn]))
        found.append((fmean(ceiling) - fmean(floor)) / pstdev(floor))
    return fmean(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=Path, nargs="+", required=True)
    parser.add_argument("--net", default="lite2", choices=["lite0", "lite2"])
    parser.add_argument("--images", type=int, default=150, help="of each class, at most")
    parser.add_argument("--size", type=int, default=128, help="pixels at which images are seen")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    net = imagenet(args.net)
    table: dict[tuple[str, str], list[str]] = {}
    for root in args.sets:
        index = index_data(root, DataConfig(group_regex=PIECE))
        keys = chosen(index, args.images, args.seed)
        y = np.array([k for k, _ in keys])
        groups = [str(index.members[k][i].group) for k, i in keys]
        for depths, pool, x in candidates(stages(net, index, keys, args.size)):
            said = f"{accuracy(x.numpy(), y, groups):.3f}, {signal(x, y):.1f}"
            table.setdefault((depths, pool), []).append(said)
    print(f"| stages | pooled | {' | '.join(root.name for root in args.sets)} |")
    print("|---" * (2 + len(args.sets)) + "|")
    for (depths, pool), cells in table.items():
        print(f"| {depths} | {pool} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
