"""Does a classifier that never saw the generator recognise what it painted?

A ResNet-18 is trained from scratch on the real training images (all classes, normal too, drawn
evenly), its accuracy is taken on real images that it has not seen, and then it names the class of
each generated image.

    python benchmarks/confirm.py --train DATA/train --test DATA/test --generated generated/...

Prints for each class: accuracy on real images, share of generated images confirmed, chance (1 / K).
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from defectgan.data.index import index_data
from defectgan.evaluation.classifier import Recipe, predict, train_classifier
from defectgan.evaluation.pools import Pixels, generated_index, pixels, see
from defectgan.settings.data import DataConfig


def confirmed(net: nn.Module, k: int, images: Sequence[Pixels]) -> float:
    """The share of images that the classifier takes for class k."""
    return round(float((predict(net, images) == k).float().mean()), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--generated", type=Path, nargs="+", required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seen = DataConfig(image_size=options.size)
    real = index_data(options.train, seen)
    held_out = index_data(options.test, DataConfig(classes=real.classes[1:]))
    tested = replace(held_out, channels=real.channels)
    recipe = Recipe(steps=options.steps, seed=options.seed)
    net = train_classifier(pixels(see(real, seen)), recipe).net
    chance = round(1 / len(real.classes), 3)
    table = {
        name: {"real": confirmed(net, k, images), "chance": chance}
        for k, (name, images) in enumerate(
            zip(real.classes, pixels(see(tested, seen)), strict=True)
        )
    }
    for folder in options.generated:
        generated = pixels(see(generated_index(folder, real), seen))
        for k, (name, images) in enumerate(zip(real.classes, generated, strict=True)):
            if images:
                table[name][f"generated {folder.name}"] = confirmed(net, k, images)
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
