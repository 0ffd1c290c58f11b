"""The paper's table: what each part of Defect-GAN's robust form gives.

Each row is a preset (``configs/table-*.yaml``), trained once on the same images for the same number
of generator steps: what follows ± is the spread of draws or of classifiers, not that of one
generator to the next.

    python benchmarks/paper_table.py --data DIR --steps N --out OUT

KID      of painted images to real test images, in the features of a classifier that has learned
         all real training images, with its spread over draws; under the table the floor (real
         against real) and the ceiling (good images called defects)
recall   share of real test images that lie among painted ones
named    share of painted images whose class that classifier names
IoU      of restoration masks with the true ones of test images, at the best threshold, the mean
         over classes
gain     of a classifier that learns from painted images, too, over one with classical augmentation
         alone: in points of accuracy and of macro-F1, with its spread over seeds

Methods that were trained elsewhere (on a GPU, say) on the split that ``evaluate gain`` writes are
further rows: ``--generators StarGAN=runs/stargan CycleGAN=runs/cyclegan``.

A table that was cut short goes on when it is called again with the same --out, also with other
--rows, which join those that are there.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from defectgan.data.samples import TEST, TRAIN
from defectgan.devices import pick_device
from defectgan.evaluation.arms import ASKED
from defectgan.evaluation.bench import GENERATED, Bench
from defectgan.evaluation.classifier import SMALL, Recipe
from defectgan.evaluation.comparison import Comparison
from defectgan.evaluation.features import Domain, Features, Wanted, make_features
from defectgan.evaluation.gain import GainPlan, run_gain
from defectgan.evaluation.gain_report import CLASSIFIERS, compare
from defectgan.evaluation.gan_training import train_generator
from defectgan.evaluation.ledger import claim, open_test
from defectgan.evaluation.painting import paint, painted
from defectgan.evaluation.quality import QualityRow, measure
from defectgan.evaluation.real import RealSplit, SplitPlan, split_real
from defectgan.files import write_atomically
from defectgan.inspection.inspect_masks import inspect
from defectgan.inspection.subjects import RealImages
from defectgan.inspection.targets import Target
from defectgan.methods.config import load_config
from defectgan.model.file import Model, load_model
from defectgan.names import plain_name
from defectgan.settings.data import DataConfig

ROWS = {
    "class beside the image": "table-concatenated",
    "+ SPADE": "table-spade",
    "+ SPADE, noise": "table-noise",
    "+ SPADE, layers": "table-layers",
    "+ SPADE, layers, spatial constraints": "table-spatial",
    "Defect-GAN": "table-full",
}
# Painted images of the rarest class that are held against real ones (of the others in proportion),
# and at most so many real ones of each class to find defects in.
PAINTED = 100
SHARES = ("recall", "named", "iou")
GAINS = ("accuracy_gain", "macro_f1_gain")
SINGLE = "each row is one training of its generator; ± is the spread of draws and of classifiers"


class Log:
    """Tells how a training goes, a line a log interval."""

    def phase(self, text: str) -> None:
        print(text, flush=True)

    def warmed(self, step: int, longest: int) -> None:
        pass

    def stepped(self, step: int) -> None:
        pass

    def logged(self, line: dict[str, Any]) -> None:
        print(f"step {line['step']}", end="\r", flush=True)

    def warn(self, text: str) -> None:
        print(f"warning: {text}", flush=True)


def distance(
    real: RealSplit, folder: Path, features: Features, data: DataConfig
) -> tuple[QualityRow, QualityRow, QualityRow]:
    """Painted images, floor and ceiling: all classes together, against real test images."""
    comparison = Comparison(
        painted(real, folder), real.part(TRAIN), real.part(TEST), TEST, data, ()
    )
    generated, floor, ceiling = measure(comparison, features, data).rows[:3]
    return generated, floor, ceiling


def located(model: Model, real: RealSplit, out: Path, device: torch.device) -> float | None:
    """IoU at the best threshold on test images; None where they have no true masks. Leaves a
    report.
    """
    summary = out / "inspection" / "summary.json"
    if not summary.is_file():
        target = Target(
            title=f"{model.path} on test images",
            facts={"model": str(model.path), "images": str(real.index.root.resolve())},
            classes=real.classes[1:],
            subjects=RealImages(model, real.part(TEST), per_class=PAINTED, device=device),
            folder=summary.parent,
            thresholds=dict.fromkeys(real.classes[1:], model.info.threshold),
        )
        inspect(target, out=summary.parent)
    groups = json.loads(summary.read_text(encoding="utf-8"))["groups"]
    found = [g["iou_best"] for g in groups if g.get("iou_best") is not None]
    return fmean(found) if found else None


def gain_plan(options: argparse.Namespace, arm: str) -> GainPlan:
    """An arm and what it is held against."""
    recipe = Recipe(net=options.net, steps=options.net_steps)
    return GainPlan(
        asked=(arm,), nets=(options.net,), ratio=options.ratio, seeds=options.seeds, recipe=recipe
    )


def baselines(real: RealSplit, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The classifiers that all rows are held against, trained once."""
    without = ASKED.baseline
    assert without is not None
    bench = Bench(real, (), options.out / "baselines", pick_device(options.device))
    return run_gain(gain_plan(options, without), bench)


def trained(preset: str, real: RealSplit, out: Path, options: argparse.Namespace) -> Path:
    """The run of a preset."""
    device = pick_device(options.device)
    config = load_config(preset, {"training": {"steps": options.steps}})
    run = train_generator(real, config, out, device=device, watcher=Log(), stop=lambda: False)
    assert run is not None, "nobody stops it"
    return run


def fill(
    run: Path,
    real: RealSplit,
    out: Path,
    options: argparse.Namespace,
    features: Callable[[], Features],
    data: DataConfig,
) -> dict[str, Any]:
    """One row: of a trained generator."""
    device = pick_device(options.device)
    model: Model = load_model(run, device=device)
    layered = model.painter.method.mask_kind == "layer"
    fewest = min(map(len, real.part(TRAIN).members[1:]))
    folder = out / GENERATED / "painted"
    paint(model, real, folder, ratio=PAINTED / fewest, candidates=1, seed=0, device=device)
    near, floor, ceiling = distance(real, folder, features(), data)
    plan = gain_plan(options, ASKED.name)
    rows = run_gain(plan, Bench(real, [model], out, device), baselines(real, options))
    gained = compare(rows, CLASSIFIERS)[-1]
    return {
        "kid": near.kid,
        "kid_std": near.kid_std,
        "floor": floor.kid,
        "ceiling": ceiling.kid,
        "precision": near.precision,
        "recall": near.recall,
        "diversity": near.diversity,
        "named": near.named,
        "iou": located(model, real, out, device) if layered else None,
        **{name: gained[name] for name in GAINS},
        **{f"{name}_sd": gained[f"{name}_sd"] for name in GAINS},
    }


def points(row: dict[str, Any], gain: str) -> str:
    """A gain in hundredths, behind ± its standard deviation over seeds where there are several."""
    deviation = row[f"{gain}_sd"]
    return f"{100 * row[gain]:+.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def as_markdown(rows: dict[str, dict[str, Any]]) -> str:
    """The table as it stands so far."""
    lines = [
        "| | KID (domain) | recall | named | IoU | gain: accuracy | macro-F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = (
            f"{row['kid']:.3f} ± {row['kid_std']:.3f}",
            *("" if row[share] is None else f"{row[share]:.3f}" for share in SHARES),
            *(points(row, gain) for gain in GAINS),
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    last = next(reversed(rows.values()))
    ends = f"floor {last['floor']:.3f}, ceiling {last['ceiling']:.3f}"
    return "\n".join([*lines, "", f"{ends}; {SINGLE}"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True, help="generator steps of each row")
    parser.add_argument("--shots", type=int, help="images of each defect class to learn from")
    parser.add_argument("--ratio", type=float, default=1.0, help="painted images a real one")
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--generators", nargs="+", default=(), metavar="ROW=MODEL")
    parser.add_argument("--net", default=SMALL, help="classifier of the gain")
    parser.add_argument("--net-steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    data = load_config("quick", {}).data
    real = split_real(options.data, data, SplitPlan(shots=options.shots))
    claim(options.out, real)
    asked = ("steps", "ratio", "net", "net_steps", "seeds")
    open_test(options.out, {name: getattr(options, name) for name in asked})
    # The judge of all rows learns from all real training images, whatever the shots.
    known = replace(real.index, samples=(*real.index.samples, *real.left_out), held_out=())

    @cache
    def features() -> Features:
        wanted, device = Wanted(name=Domain.name), pick_device(options.device)
        return make_features(wanted, known, data, device=device, done=lambda n: None)

    table = options.out / "table.json"
    filled = json.loads(table.read_text(encoding="utf-8")) if table.is_file() else {}
    elsewhere = dict(row.split("=", 1) for row in options.generators)
    for name in (*elsewhere, *options.rows):
        out = options.out / ROWS.get(name, plain_name(name))
        out.mkdir(parents=True, exist_ok=True)
        run = (
            Path(elsewhere[name]) if name in elsewhere else trained(ROWS[name], real, out, options)
        )
        filled[name] = fill(run, real, out, options, features, data)
        further = [row for row in filled if row not in ROWS]
        rows = {row: filled[row] for row in (*further, *ROWS) if row in filled}
        write_atomically(table, json.dumps(rows, indent=1).encode())
        write_atomically(options.out / "table.md", as_markdown(rows).encode())
        print(as_markdown(rows), flush=True)


if __name__ == "__main__":
    main()
