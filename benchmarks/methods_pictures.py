"""A picture of what each preset has learned in equally many steps of the drawn boards, for
docs/methods.md.

    python benchmarks/methods_pictures.py --steps 300 --width 16     into docs/methods-presets.png
    python benchmarks/methods_pictures.py --steps 20 --width 16 --presets gan wgan --out look.png

A column each. The rows are the classes of defect; the first columns have real images of them and
the good ones that are painted on. A method from noise makes its own, one that knows no classes
whatever it makes; CycleGAN, which learns one class, has the others' rows empty. pix2pix has the
true masks for twins and paints from those of the column before it. Runs stay in ``--runs``: one
that is there is gone on with, or taken as it is where it has done its steps. The presets have the
networks of their papers, which on a CPU take seconds a step; ``--width`` makes them narrow. All
begin at random.
"""

import argparse
import time
from collections.abc import Sequence
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from defectgan.data.index import Index, index_data, read_split
from defectgan.devices import pick_device
from defectgan.images import to_bytes
from defectgan.memory import Portions
from defectgan.methods.config import load_config
from defectgan.methods.presets import Preset, presets
from defectgan.methods.registry import method_named
from defectgan.model.file import Model, load_model
from defectgan.settings.data import DataConfig
from defectgan.training import start
from defectgan.training.batches import make_batches

ROOT = Path(__file__).parents[1]
# Images of each class.
SHOWN = 2
# As docs/methods.md tells them; rows of the paper's table are no methods of their own.
ORDER = (
    *("gan", "wgan", "wgan-gp", "cgan", "acgan", "pix2pix", "cyclegan", "stargan", "pix2pixhd"),
    *("spade", "starganv2", "paper", "quick", "small-data", "standard"),
)
# Settings by which networks are narrow.
WIDTHS = ("width", "critic_width", "tower_width", "spade_hidden")
# Inches of a cell, and of the names above.
CELL, TOP = 0.72, 0.75
Pixels = np.ndarray[Any, np.dtype[np.uint8]]
# A column: for each class of defect, by its name, as many images as there are to show.
Column = tuple[str, dict[str, list[Pixels]]]


def settings_of(preset: Preset, index: Index, args: argparse.Namespace) -> dict[str, Any]:
    """What all have alike, and what their data must be."""
    method = method_named(preset.method)
    data = {"image_size": args.size, "classes": index.classes[1:][: method.most_defects]}
    if method.paired:
        data["pairs"] = str(args.data / "masks")
    fields = method.Settings.model_fields
    narrow = {name: args.width for name in WIDTHS if args.width and name in fields}
    training = {"steps": args.steps, "batch_size": args.batch, "seed": 0, "init_from": "none"}
    training |= {"sample_every": args.steps, "eval_every": args.steps}
    return {"data": data, "method": narrow, "training": training}


def trained(preset: Preset, index: Index, args: argparse.Namespace) -> Path:
    """The run of a preset after all its steps."""
    folder = args.runs / preset.name
    if there := sorted(path.parent for path in folder.glob("*/config.yaml")):
        newest: Path = there[-1]
        if load_model(newest).info.step < args.steps:
            start.train(resume=newest, settings={"training": {"steps": args.steps}})
        return newest
    settings = settings_of(preset, index, args)
    outcome = start.train(
        args.data,
        config=preset.name,
        settings=settings,
        out=folder,
        device=args.device,
        name=preset.name,
    )
    return outcome.run


def real_images(index: Index, size: int) -> list[torch.Tensor]:
    """Of each class, normal first, as a model of that size sees them."""
    config = load_config("quick", {"data": {"image_size": size}})
    batches = make_batches(config, index)
    return [batches.fixed(k, SHOWN) for k in range(len(index.classes))]


def twins(run: Path, k: int) -> torch.Tensor:
    """The twins of images of class k, [B, C, H, W], of a run that has some."""
    batches = make_batches(load_config(run / "config.yaml", {}), read_split(run / "split.json"))
    found: list[torch.Tensor] = []
    for step in count():
        batch = batches(step, 0)
        found += batch.normal[batch.label[:, k] > 0]
        if len(found) >= SHOWN:
            return torch.stack(found[:SHOWN])
    raise AssertionError


def painted(model: Model, sources: torch.Tensor, name: str, device: torch.device) -> list[Pixels]:
    """Of a class of defect, on images or, where a method paints on none, from noise."""
    k = model.info.classes.index(name)
    rng = torch.Generator(device).manual_seed(k)
    made = model.painter.paint_class(
        sources.to(device), k, rng, portions=Portions(len(sources), "images", print)
    )
    return [to_bytes(image) for image in made.image]


def columns_of(run: Path, normal: torch.Tensor, device: torch.device) -> list[Column]:
    """What a run's model made, behind its own sources if it has such."""
    model = load_model(run, device=device)
    names, paired = model.info.classes[1:], model.painter.method.paired
    sources = {name: twins(run, k) if paired else normal for k, name in enumerate(names, 1)}
    made = {name: painted(model, sources[name], name, device) for name in names}
    own = {name: [to_bytes(image) for image in sources[name]] for name in names if paired}
    return [("masks", own), (run.parent.name, made)] if paired else [(run.parent.name, made)]


def draw(columns: Sequence[Column], classes: Sequence[str], path: Path) -> None:
    """The names above, the classes on the left."""
    rows = SHOWN * len(classes)
    figure = Figure(figsize=(CELL * len(columns) + TOP, CELL * rows + TOP))
    grid: Any = figure.subplots(rows, len(columns), squeeze=False)
    for across, (name, made) in enumerate(columns):
        grid[0][across].set_title(name, rotation=45, ha="left", x=0.3, fontsize=10)
        for down in range(rows):
            axes, cells = grid[down][across], made.get(classes[down // SHOWN], [])
            axes.axis("off")
            if down % SHOWN < len(cells):
                axes.imshow(cells[down % SHOWN].squeeze(), cmap="gray", vmin=0, vmax=255)
    for k, name in enumerate(classes):
        at = grid[SHOWN * k][0]
        at.text(-0.15, 0, name, transform=at.transAxes, ha="right", va="center", fontsize=10)
    left, top = TOP / figure.get_figwidth(), 1 - TOP / figure.get_figheight()
    figure.subplots_adjust(left=left, right=0.97, bottom=0, top=top, wspace=0.04, hspace=0.04)
    sheet = BytesIO()
    figure.savefig(sheet, format="png", dpi=80)
    # A palette makes the file a third as large.
    Image.open(sheet).convert("RGB").quantize(256).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--presets", nargs="+", default=ORDER, help="all but the table's rows")
    parser.add_argument("--steps", type=int, default=2000, help="generator steps of each")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--width", type=int, help="channels that networks begin with, of all")
    parser.add_argument("--data", type=Path, default=ROOT / "sample_data")
    parser.add_argument("--runs", type=Path, default=Path("runs-of-presets"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/methods-presets.png")
    args = parser.parse_args()
    device, begun = pick_device(args.device), time.monotonic()
    index = index_data(args.data, DataConfig())
    normal, *defects = real_images(index, args.size)
    classes = index.classes[1:]
    columns: list[Column] = [
        ("real", dict(zip(classes, ([*map(to_bytes, d)] for d in defects), strict=True))),
        ("good", {name: [*map(to_bytes, normal)] for name in classes}),
    ]
    known = {preset.name: preset for preset in presets()}
    for name in args.presets:
        run = trained(known[name], index, args)
        columns += columns_of(run, normal, device)
        print(f"{name}: {args.steps} steps, {time.monotonic() - begun:.0f} s by now", flush=True)
        draw(columns, classes, args.out)


if __name__ == "__main__":
    main()
