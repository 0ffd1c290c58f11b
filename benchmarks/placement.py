"""Whether a region is used: what a trained model paints into random boxes, and what outside.

    python benchmarks/placement.py --model runs/latest --normal sample_data/normal

Each class in turn is painted into ``--boxes`` boxes that are drawn on the good images, each way
once, of the size of ``--size``; the same images are painted once more without a box. Nothing is
chosen among candidates, and nothing rejected; with ``--checked`` what shows nothing is painted
again, as ``generate`` does. For each class and for all:

boxes       how many were painted; of those given up with ``--checked`` there is no image
outside     pixels outside their box that changed; must be 0
shown       share of the boxes in which something changed visibly
covered     share of a box that changed visibly, the mean
placed      the critic's probability of the class, the mean over the boxes
free        the same without a box
ratio       of the two
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from defectgan.data.masks import VISIBLE
from defectgan.devices import pick_device
from defectgan.errors import CheckFailed
from defectgan.generation.checks import USUAL as USUAL_CHECKS
from defectgan.generation.plan import find_sources
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import run_job
from defectgan.generation.wishes import USUAL, Span, Wishes
from defectgan.images import read_picture
from defectgan.manifest import ManifestRow, read_manifest
from defectgan.model.file import Model, load_model
from defectgan.views import Window

# What is asked of a model whose regions are used.
SHOWN, RATIO = 0.95, 0.9
ALL = "all"


class Seen(NamedTuple):
    """One painting in a box: pixels ``outside`` that changed, and the share of the box that
    changed visibly.
    """

    defect: str
    outside: int
    covered: float


def look(model: Model, folder: Path, row: ManifestRow) -> Seen:
    """What a painting changed, by the files alone."""
    assert row.source is not None and row.instances[0].region is not None
    source, image = read_picture(Path(row.source)), read_picture(folder / row.output)
    levels = model.info.levels_of(source)
    before, after = (picture.pixels.astype(np.float64) for picture in (source, image))
    change = np.abs(after - before).max(axis=2)
    box = Window(*row.instances[0].region)
    visible = box.cut(change) >= VISIBLE / 255 * (levels.white - levels.black)
    outside = change > 0
    box.cut(outside)[:] = False
    return Seen(row.defect, int(outside.sum()), float(visible.mean()))


def painted(
    model: Model, normal: str, folder: Path, args: argparse.Namespace, wishes: Wishes
) -> list[ManifestRow]:
    """The rows of ``--boxes`` images of all classes in turn."""
    job = GenerateJob(
        find_sources(normal),
        tuple(args.defect or model.info.classes[1:]),
        args.boxes,
        args.seed,
        binary_masks=False,
        candidates=1,
        wishes=wishes,
        checks=USUAL_CHECKS if args.checked else None,
    )
    run_job(job, model, folder, device=pick_device(args.device), batch_size=args.batch_size)
    return read_manifest(folder)


def figures(seen: Sequence[Seen], placed: Sequence[float], free: Sequence[float]) -> dict[str, Any]:
    """The numbers of some paintings; those of the critic where there is one."""
    found: dict[str, Any] = {
        "boxes": len(seen),
        "outside": sum(one.outside for one in seen),
        "shown": round(fmean(one.covered > 0 for one in seen), 4),
        "covered": round(fmean(one.covered for one in seen), 4),
    }
    if placed:
        means = fmean(placed), fmean(free)
        found |= {"placed": round(means[0], 4), "free": round(means[1], 4)}
        found["ratio"] = round(means[0] / means[1], 4)
    return found


def measure(model: Model, args: argparse.Namespace, folder: Path) -> dict[str, dict[str, Any]]:
    """The table: what was found of each class and of all."""
    wishes = Wishes(size=Span.read(args.size))
    placed = painted(model, args.normal, folder / "placed", args, wishes)
    free = painted(model, args.normal, folder / "free", args, USUAL)
    seen = [look(model, folder / "placed", row) for row in placed]

    def of(name: str) -> dict[str, Any]:
        def sure(rows: Sequence[ManifestRow]) -> list[float]:
            mine = [row.class_confidence for row in rows if name in (ALL, row.defect)]
            return [value for value in mine if value is not None]

        return figures([s for s in seen if name in (ALL, s.defect)], sure(placed), sure(free))

    return {name: of(name) for name in (*dict.fromkeys(row.defect for row in placed), ALL)}


def main() -> None:
    """Measure, print a line a class, and say whether all holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--normal", required=True)
    parser.add_argument("--defect", nargs="*")
    parser.add_argument("--boxes", type=int, default=200)
    parser.add_argument("--size", default="0.25..0.5")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checked", action="store_true", help="reject what shows nothing")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="keep the images here")
    parser.add_argument("--check", action="store_true", help="end with 4 where a goal is missed")
    args = parser.parse_args()
    model = load_model(args.model, device=pick_device(args.device))
    with tempfile.TemporaryDirectory() as temporary:
        table = measure(model, args, args.out or Path(temporary))
    for name, row in table.items():
        print(json.dumps({"class": name} | row))
    everything = table[ALL]
    held = (
        everything["outside"] == 0
        and everything["shown"] >= SHOWN
        and everything.get("ratio", RATIO) >= RATIO
    )
    if args.check and not held:
        raise SystemExit(CheckFailed.exit_code)


if __name__ == "__main__":
    main()
