"""The paper's table: what each part of Defect-GAN gives, from StarGAN to the whole.

Each row is a preset (``configs/table-*.yaml``, the last one ``quick``), trained on the same images
for the same number of generator steps:

    python benchmarks/paper_table.py --data DIR --steps N --out OUT

KID      of painted images to real test images, in the features of a classifier of these images,
         with its spread over draws; under the table the floor (real against real) and the ceiling
         (good images called defects)
named    share of painted images whose class that classifier names
IoU      of restoration masks with the true ones of test images, at the best threshold, the mean
         over classes
gain     in points of accuracy, of a classifier that learns from painted images, too

A table that was cut short goes on when it is called again with the same --out.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from defectgan.config import Config, load_config
from defectgan.data.samples import TEST, TRAIN
from defectgan.devices import pick_device
from defectgan.evaluation.arms import SWEPT, paint, painted
from defectgan.evaluation.classifier import SMALL, Recipe
from defectgan.evaluation.comparison import Comparison
from defectgan.evaluation.features import Features, Wanted, make_features
from defectgan.evaluation.gain import GainPlan, run_gain
from defectgan.evaluation.gain_report import CLASSIFIERS, compare
from defectgan.evaluation.generator import train_generator
from defectgan.evaluation.quality import Row, measure
from defectgan.evaluation.real import RealSplit, SplitPlan, split_real
from defectgan.files import write_atomically
from defectgan.inspection.run import inspect
from defectgan.inspection.targets import find_target
from defectgan.training.checkpoint import Model, load_model

ROWS = {
    "StarGAN": "table-stargan",
    "+ SPADE": "table-spade",
    "+ SPADE, noise": "table-noise",
    "+ SPADE, layers": "table-layers",
    "+ SPADE, layers, spatial constraints": "table-spatial",
    "Defect-GAN": "quick",
}
# Painted images of each class that are held against real ones, and real ones to find defects in.
PAINTED = 100


class Log:
    """Tells how a training goes, a line a log interval."""

    def phase(self, text: str) -> None:
        print(text, flush=True)

    def stepped(self, step: int) -> None:
        pass

    def logged(self, line: dict[str, Any]) -> None:
        print(f"step {line['step']}", end="\r", flush=True)

    def warn(self, text: str) -> None:
        print(f"warning: {text}", flush=True)


def distance(
    real: RealSplit, folder: Path, features: Features, config: Config
) -> tuple[Row, Row, Row]:
    """Painted images, floor and ceiling: all classes together, against real test images."""
    comparison = Comparison(
        painted(real, folder), real.part(TRAIN), real.part(TEST), TEST, config.data, ()
    )
    generated, floor, ceiling = measure(comparison, features, config.data).rows[:3]
    return generated, floor, ceiling


def located(run: Path, out: Path, device: str) -> float | None:
    """IoU at the best threshold; None where the data has no true masks. Leaves a report."""
    summary = out / "inspection" / "summary.json"
    if not summary.is_file():
        target = find_target(run, model=None, data=None, per_class=PAINTED, device=device)
        inspect(target, out=summary.parent)
    groups = json.loads(summary.read_text(encoding="utf-8"))["groups"]
    found = [g["iou_best"] for g in groups if g.get("iou_best") is not None]
    return fmean(found) if found else None


def fill(
    preset: str,
    real: RealSplit,
    out: Path,
    options: argparse.Namespace,
    features: Callable[[Config], Features],
) -> dict[str, Any]:
    """One row."""
    device = pick_device(options.device)
    config = load_config(preset, {"training": {"steps": options.steps}})
    run = train_generator(real, config, out, device=device, watcher=Log(), stop=lambda: False)
    assert run is not None, "nobody stops it"
    model: Model = load_model(run, device=device)
    fewest = min(map(len, real.part(TRAIN).members[1:]))
    paint(model, real, out / "painted", ratio=PAINTED / fewest, seed=0, device=device)
    near, floor, ceiling = distance(real, out / "painted", features(config), config)
    plan = GainPlan(
        arms=(SWEPT,),
        seeds=options.seeds,
        recipe=Recipe(net=options.net, steps=options.net_steps),
    )
    entries = compare(run_gain(plan, real, model, out, device=device), CLASSIFIERS)
    return {
        "kid": near.kid,
        "kid_std": near.kid_std,
        "floor": floor.kid,
        "ceiling": ceiling.kid,
        "named": near.named,
        "iou": located(run, out, options.device) if config.generator.layered else None,
        "gain": entries[-1]["accuracy_gain"],
        "gain_sd": entries[-1]["accuracy_gain_sd"],
    }


def as_markdown(rows: dict[str, dict[str, Any]]) -> str:
    """The table as it stands so far."""
    lines = ["| | KID (domain) | named | IoU | gain, points |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        iou = "" if row["iou"] is None else f"{row['iou']:.3f}"
        spread = "" if row["gain_sd"] is None else f" ± {100 * row['gain_sd']:.1f}"
        lines.append(
            f"| {name} | {row['kid']:.3f} ± {row['kid_std']:.3f} | {row['named']:.3f} | {iou} "
            f"| {100 * row['gain']:+.1f}{spread} |"
        )
    last = next(reversed(rows.values()))
    return "\n".join([*lines, "", f"floor {last['floor']:.3f}, ceiling {last['ceiling']:.3f}"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True, help="generator steps of each row")
    parser.add_argument("--shots", type=int, help="images of each defect class to learn from")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--net", default=SMALL, help="classifier of the gain")
    parser.add_argument("--net-steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    data = load_config("quick", {}).data
    real = split_real(options.data, data, SplitPlan(shots=options.shots))
    # The judge of all rows learns from all real images but those for testing.
    known = replace(real.index, samples=(*real.index.samples, *real.left_out), held_out=())

    def features(config: Config) -> Features:
        return make_features(
            Wanted(), known, config.data, device=pick_device(options.device), done=lambda n: None
        )

    rows: dict[str, dict[str, Any]] = {}
    for name in options.rows:
        rows[name] = fill(ROWS[name], real, options.out / ROWS[name], options, features)
        write_atomically(options.out / "table.json", json.dumps(rows, indent=1).encode())
        write_atomically(options.out / "table.md", as_markdown(rows).encode())
        print(as_markdown(rows), flush=True)


if __name__ == "__main__":
    main()
