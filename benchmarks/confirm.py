"""Does a classifier that never saw the generator recognise what it painted?

A ResNet-18 is trained from scratch on the real training images (all classes, normal too, drawn
evenly), its accuracy is taken on real images that it has not seen, and then it names the class of
each generated image.

    python benchmarks/confirm.py --train DATA/train --test DATA/test --generated generated/...

Prints for each class: accuracy on real images, share of generated images confirmed, chance (1 / K).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import resnet18

from defectgan.config import AugmentConfig, DataConfig
from defectgan.data.augment import Augment
from defectgan.data.dataset import to_tensor, unit
from defectgan.data.index import Index, index_data
from defectgan.generation.writers import read_manifest
from defectgan.images import as_channels, read_picture, resize

BATCH = 32


def load(path: Path, size: int, channels: int) -> np.ndarray:
    picture = read_picture(path)
    return resize(as_channels(picture, channels), size, size).astype(np.uint8)


def load_classes(index: Index, size: int, channels: int) -> list[list[np.ndarray]]:
    return [[load(s.file, size, channels) for s in members] for members in index.members]


def train_classifier(classes: list[list[np.ndarray]], steps: int, seed: int) -> torch.nn.Module:
    """Balanced batches, the same augmentation for all, Adam with a cosine to 0."""
    torch.manual_seed(seed)
    net = resnet18(num_classes=len(classes))
    net.conv1 = torch.nn.Conv2d(classes[0][0].shape[2], 64, 3, stride=2, padding=1, bias=False)
    net.maxpool = torch.nn.Identity()
    net = net.to(memory_format=torch.channels_last)
    adam = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    augment = Augment(AugmentConfig(contrast=0.2, brightness=0.1, gamma=0.2))
    for step in range(steps):
        rng = np.random.default_rng([seed, step])
        labels = rng.integers(len(classes), size=BATCH)
        chosen = [unit(classes[k][rng.integers(len(classes[k]))]) for k in labels]
        seeds = rng.integers(2**31, size=BATCH).tolist()
        images = to_tensor([augment(i, seed=s) for i, s in zip(chosen, seeds, strict=True)])
        loss = F.cross_entropy(net(images), torch.from_numpy(labels))
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def predict(net: torch.nn.Module, images: list[np.ndarray]) -> Tensor:
    batches = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    return torch.cat([net(to_tensor([unit(i) for i in b])).argmax(1) for b in batches])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--generated", type=Path, nargs="+", required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    real = index_data(options.train, DataConfig())
    held_out = index_data(options.test, DataConfig(classes=real.classes[1:]))
    net = train_classifier(
        load_classes(real, options.size, real.channels), options.steps, options.seed
    )
    table = {}
    tested = load_classes(held_out, options.size, real.channels)
    for k, name in enumerate(real.classes):
        accuracy = float((predict(net, tested[k]) == k).float().mean())
        table[name] = {"real": round(accuracy, 3), "chance": round(1 / len(real.classes), 3)}
    for folder in options.generated:
        rows = read_manifest(folder)
        for k, name in enumerate(real.classes):
            files = [folder / row["output"] for row in rows if row["class"] == name]
            if files:
                images = [load(path, options.size, real.channels) for path in files]
                confirmed = float((predict(net, images) == k).float().mean())
                table[name][f"generated {folder.name}"] = round(confirmed, 3)
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
