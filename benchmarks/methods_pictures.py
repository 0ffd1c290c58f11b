"""A picture of each preset, trained equally long on the drawn boards, for docs/methods.md.

    python benchmarks/methods_pictures.py --steps 2000                 into docs/methods-presets.png
    python benchmarks/methods_pictures.py --steps 20 --presets gan wgan --out look.png

Below the real images a row a preset: for each class of defect what it painted on the good images
above; of a method from noise what it made. Runs stay in ``--runs``: one that is there is gone on
with, or taken as it is where it has done its steps. A preset that cannot learn from these folders
is named with the reason and left out. The presets have the networks of their papers: on a CPU those
of 64 channels take seconds a step.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from defectgan.data.index import Index, index_data
from defectgan.devices import pick_device
from defectgan.errors import DataError, SettingError
from defectgan.images import to_bytes
from defectgan.memory import Portions
from defectgan.methods.config import load_config
from defectgan.methods.presets import presets
from defectgan.model.file import Model, load_model
from defectgan.runs import RunFolder
from defectgan.settings.data import DataConfig
from defectgan.training import start
from defectgan.training.batches import make_batches

ROOT = Path(__file__).parents[1]
# Of each class.
SHOWN = 2
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def trained(preset: str, args: argparse.Namespace) -> Path:
    """The run of a preset after all its steps."""
    folder = args.runs / preset
    training = {"steps": args.steps, "seed": 0, "sample_every": args.steps}
    if there := sorted(path.parent for path in folder.glob("*/config.yaml")):
        newest: Path = there[-1]
        if load_model(newest).info.step < args.steps:
            start.train(resume=newest, settings={"training": {"steps": args.steps}})
        return newest
    settings = {
        "data": {"image_size": args.size},
        "training": training | {"batch_size": args.batch},
    }
    outcome = start.train(
        args.data, config=preset, settings=settings, out=folder, device=args.device, name=preset
    )
    return outcome.run


def real_images(index: Index, size: int) -> list[torch.Tensor]:
    """Of each class, normal first, as a model of that size sees them."""
    config = load_config("quick", {"data": {"image_size": size}})
    batches = make_batches(config, index)
    return [batches.fixed(k, SHOWN) for k in range(len(index.classes))]


def painted(model: Model, normal: torch.Tensor, device: torch.device) -> list[Pixels]:
    """Of each class of defect."""
    cells = []
    for k in range(1, len(model.info.classes)):
        rng = torch.Generator(device).manual_seed(k)
        made = model.painter.paint_class(
            normal.to(device), k, rng, portions=Portions(len(normal), "images", print)
        )
        cells += [to_bytes(image) for image in made.image]
    return cells


def draw(rows: Sequence[tuple[str, list[Pixels]]], classes: Sequence[str], path: Path) -> None:
    """A row each, named on its left, the classes above."""
    columns = max(len(cells) for _, cells in rows)
    figure = Figure(figsize=(0.85 * columns + 1.2, 0.85 * len(rows) + 0.3))
    grid: Any = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, cells) in zip(grid, rows, strict=True):
        for one in axes:
            one.axis("off")
        for one, cell in zip(axes, cells, strict=False):
            one.imshow(cell.squeeze(), cmap="gray", vmin=0, vmax=255)
        axes[0].text(-0.1, 0.5, name, transform=axes[0].transAxes, ha="right", va="center")
    for k, name in enumerate(classes):
        grid[0][SHOWN * k].set_title(name, loc="left", fontsize=9)
    left, top = 1.2 / figure.get_figwidth(), 1 - 0.3 / figure.get_figheight()
    figure.subplots_adjust(left=left, right=1, bottom=0, top=top, wspace=0.03, hspace=0.03)
    figure.savefig(path, format="png", dpi=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--presets", nargs="+", help="all but the rows of the paper's table")
    parser.add_argument("--steps", type=int, default=2000, help="generator steps of each")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--data", type=Path, default=ROOT / "sample_data")
    parser.add_argument("--runs", type=Path, default=Path("runs-of-presets"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/methods-presets.png")
    args = parser.parse_args()
    device = pick_device(args.device)
    index = index_data(args.data, DataConfig())
    normal, *defects = real_images(index, args.size)
    rows = [
        ("good", len(defects) * [to_bytes(image) for image in normal]),
        ("real", [to_bytes(image) for images in defects for image in images]),
    ]
    names = args.presets or [p.name for p in presets() if not p.name.startswith("table-")]
    for name in names:
        try:
            model = load_model(trained(name, args), device=device)
        except (DataError, SettingError) as error:
            print(f"{name} is left out: {error}")
            continue
        rows.append((name, painted(model, normal, device)))
        print(f"{name}: {model.info.step} steps, {RunFolder(model.path.parents[1]).path}")
        draw(rows, index.classes[1:], args.out)


if __name__ == "__main__":
    main()
