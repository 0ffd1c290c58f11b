"""Whether ``generate --like`` makes more of the kinds of defects that it is given.

    python benchmarks/like.py --model RUN --data labels.csv --normal SET/train/normal

Of each class the real images that the model has not learned from (split ``val`` of the table, and
those of the class's folder that the table does not name) are put in order by what most tells them
apart: the first principal component of their features. The lowest third is one kind, the highest
third another. Half of a kind is given to ``--like``; the other half is the yardstick. A painting
counts for the kind whose yardstick holds its nearest image. The features are those of
EfficientNet-Lite2, which judges; ``--like`` chooses by those of Lite0.

chance     share of paintings that count for the first kind, as they come
usual      the same, the surest of eight candidates
like low   the same, the nearest of eight to examples of the first kind
like high  the same, the nearest of eight to examples of the other kind
real       the same of real images of the first kind, and of the other: how well kinds are told
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from defectgan.data.layouts.table_rows import read_rows
from defectgan.data.walk import find_images
from defectgan.generation.likeness import Examples, read_examples
from defectgan.generation.plan import Sources, find_sources
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import run_job
from defectgan.images import read_picture
from defectgan.manifest import read_manifest
from defectgan.model.file import Model, load_model
from defectgan.model.pixels import model_view
from defectgan.networks.imagenet import BATCH, JUDGE, ImagenetFeatures, imagenet
from defectgan.views import Viewer

CPU = torch.device("cpu")


def unseen(table: Path, name: str) -> list[Path]:
    """Real images of a class that training has not seen."""
    rows = [row for _, row in read_rows(table)[0]]
    mine = [row for row in rows if row.get("labels") == name]
    train = {Path(str(row["file"])) for row in mine if row["split"] == "train"}
    folder = next(iter(train)).parent
    return [path for path in sorted(find_images(folder).images) if path not in train]


@torch.no_grad()
def features(files: Sequence[Path], model: Model, judge: ImagenetFeatures) -> Tensor:
    """[N, F] of length 1, of images as the model sees them."""
    viewer, seen = Viewer(model.info.form.view), []
    for file in files:
        picture = read_picture(file)
        levels = model.info.levels_of(picture)
        seen.append(model_view(picture, viewer(picture.size), model.info.channels, levels))
    parts = torch.split(torch.stack(seen), BATCH)
    return F.normalize(torch.cat([judge(part) for part in parts]))


def kinds(files: Sequence[Path], found: Tensor, rng: np.random.Generator) -> list[list[Path]]:
    """Two kinds, each in two halves: of the first its examples and its yardstick, of the other."""
    along = torch.pca_lowrank(found, q=4, niter=8)[0][:, 0]
    order = [files[i] for i in along.argsort()]
    third = len(order) // 3
    halves = []
    for kind in (order[:third], order[-third:]):
        mixed = [kind[i] for i in rng.permutation(len(kind))]
        halves += [mixed[: third // 2], mixed[third // 2 :]]
    return halves


def painted(
    model: Model, sources: Sources, name: str, out: Path, n: int, like: Examples | None, choose: int
) -> list[Path]:
    job = GenerateJob(sources, (name,), n, 0, False, choose, like=like)
    run_job(job, model, out, device=CPU, batch_size=16)
    return [out / row.output for row in read_manifest(out)]


def examples(files: Sequence[Path], name: str, table: Path) -> Examples:
    table.write_text("file,labels\n" + "".join(f"{file},{name}\n" for file in files))
    return read_examples(table, (name,))


def measure(args: argparse.Namespace, model: Model, name: str, home: Path) -> dict[str, object]:
    judge, sources = imagenet(JUDGE), find_sources(args.normal)
    real = unseen(args.data, name)
    rng = np.random.default_rng(args.seed)
    torch.manual_seed(args.seed)
    low, low_known, high, high_known = kinds(real, features(real, model, judge), rng)
    yardsticks = [features(files, model, judge) for files in (low_known, high_known)]

    def share(files: Sequence[Path]) -> float:
        found = features(files, model, judge)
        near_low, near_high = ((found @ known.T).amax(1) for known in yardsticks)
        return round(float((near_low > near_high).float().mean()), 3)

    def made(way: str, like: list[Path] | None, choose: int) -> float:
        wanted = None if like is None else examples(like, name, home / f"{way}.csv")
        return share(painted(model, sources, name, home / way, args.n, wanted, choose))

    return {
        "class": name,
        "given": len(low),
        "chance": made("chance", None, 1),
        "usual": made("usual", None, 8),
        "like low": made("low", low, 8),
        "like high": made("high", high, 8),
        "real": [share(low), share(high)],
    }


def main() -> None:
    """Measure each class, a line each, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="labels.csv of the split")
    parser.add_argument("--normal", required=True)
    parser.add_argument("--n", type=int, default=48, help="images of each class and way")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model, table = load_model(args.model, device=CPU), []
    for name in model.info.made:
        with tempfile.TemporaryDirectory() as home:
            table.append(measure(args, model, name, Path(home)))
        print(json.dumps(table[-1]), flush=True)
    ways = ("chance", "usual", "like low", "like high")
    mean = {way: round(fmean(float(str(row[way])) for row in table), 3) for way in ways}
    print(json.dumps({"class": "mean"} | mean))


if __name__ == "__main__":
    main()
