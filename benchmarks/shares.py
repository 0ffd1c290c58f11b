"""What `evaluate quality --features imagenet` says of sets whose quality is known.

    python benchmarks/shares.py --sets magnetic_tile deeppcb bsdata_pitting

No generator and no test image: of a set's training images half of each class stands for the real
ones, at most ``--images`` of each, and of the other half come the sets that are judged, as many
images of each class:

other     other real defects: a share of 0 is expected
good      other good images: 1
blurred   the defects, within their true masks a little widened, blurred by so many pixels
grayed    the same place, so far on the way to its mean gray
discs     that part of the images is a good image with a gray disc on it
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectgan.data.index import Index, index_data
from defectgan.data.samples import Sample
from defectgan.evaluation.comparison import Comparison
from defectgan.evaluation.fixed import Fixed
from defectgan.evaluation.pools import Pixels
from defectgan.evaluation.quality import ALL, measure
from defectgan.settings.data import DataConfig

Image = NDArray[np.uint8]
SEEN = DataConfig(image_size=(128, 128), cache="none")
BLURS, GRAYS, DISCS = (1, 2, 4, 8), (0.25, 0.5, 0.75, 1.0), (0.25, 0.5, 0.75, 1.0)
DISC = 12  # pixels, its radius


class Once(Fixed):
    """Sees no image twice: the real ones are the same in every comparison."""

    def __init__(self) -> None:
        super().__init__(SEEN, device=torch.device("cpu"))
        self._known: dict[bytes, Tensor] = {}

    def __call__(self, images: Sequence[Pixels]) -> Tensor:
        new = {i.tobytes(): i for i in images if i.tobytes() not in self._known}
        if new:
            self._known |= zip(new, super().__call__([*new.values()]), strict=True)
        return torch.stack([self._known[i.tobytes()] for i in images])


def at_most(samples: Sequence[Sample], index: Index, count: int) -> tuple[Sample, ...]:
    """The first of each class; of good ones as many as of all defects."""
    members = replace(index, samples=tuple(samples)).members
    limits = [count * (len(members) - 1), *[count] * (len(members) - 1)]
    return tuple(s for part, limit in zip(members, limits, strict=True) for s in part[:limit])


def read(path: Path) -> Image:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR), np.uint8)


def within(sample: Sample, image: Image, other: Image) -> Image:
    """Another image where the defect is, faded in."""
    if sample.mask is None:
        raise SystemExit(f"{sample.file} has no true mask")
    mask = np.asarray(cv2.imread(str(sample.mask), cv2.IMREAD_GRAYSCALE), np.uint8)
    wide = cv2.dilate((mask > 127).astype(np.float32), np.ones((9, 9)))
    soft = cv2.GaussianBlur(wide, (0, 0), 2)[..., None]
    return np.asarray(image + soft * (other.astype(np.float32) - image), np.float32).astype(
        np.uint8
    )


def blurred(part: float, sample: Sample, n: int) -> Image:
    image = read(sample.file)
    return within(sample, image, np.asarray(cv2.GaussianBlur(image, (0, 0), part), np.uint8))


def grayed(part: float, sample: Sample, n: int) -> Image:
    image = read(sample.file)
    gray = image + part * (image.mean() - image)
    return within(sample, image, gray.astype(np.uint8))


def disc(good: Sample, seed: int) -> Image:
    """A good image with a disc of its mean gray somewhere."""
    image = read(good.file)
    height, width = image.shape[:2]
    rng = np.random.default_rng(seed)
    centre = int(rng.integers(DISC, width - DISC)), int(rng.integers(DISC, height - DISC))
    return np.asarray(cv2.circle(image, centre, DISC, (128, 128, 128), -1), np.uint8)


def altered(index: Index, out: Path, make: Callable[[Sample, int], Image]) -> tuple[Sample, ...]:
    """The defects of an index, each by another image in a file of its own."""
    out.mkdir()
    made = []
    for n, sample in enumerate(s for s in index.samples if s.labels):
        file = out / f"{n:05}.png"
        cv2.imwrite(str(file), make(sample, n))
        made.append(replace(sample, file=file, mask=None, marks=(), header=None))
    return tuple(made)


def sets(index: Index, folder: Path) -> Iterator[tuple[str, tuple[Sample, ...]]]:
    """The sets that are judged, by name."""
    good = index.members[0]
    defects = tuple(s for s in index.samples if s.labels)
    yield "other", defects
    yield "good", tuple(replace(g, labels=s.labels) for s, g in zip(defects, good, strict=False))

    def mixed(part: float, sample: Sample, n: int) -> Image:
        # Of four images one, two, three, all.
        return disc(good[n], n) if n % 4 < 4 * part else read(sample.file)

    ways: tuple[tuple[str, Callable[[float, Sample, int], Image], tuple[float, ...]], ...] = (
        ("blurred", blurred, BLURS),
        ("grayed", grayed, GRAYS),
        ("discs", mixed, DISCS),
    )
    for way, make, degrees in ways:
        for degree in degrees:
            name = f"{way} {degree}"
            yield name, altered(index, folder / name, partial(make, degree))


def shares(root: Path, count: int) -> Iterator[tuple[str, str]]:
    """(what is judged, its share with its spread) of all classes of a set together."""
    index = index_data(root, SEEN.model_copy(update={"val_fraction": 0.5}))
    held = replace(index, samples=at_most(index.held_out, index, count), held_out=())
    ours = replace(index, samples=at_most(index.samples, index, count), held_out=())
    features = Once()
    with tempfile.TemporaryDirectory() as folder:
        for name, samples in sets(ours, Path(folder)):
            judged = replace(ours, samples=samples)
            made = Comparison(judged, ours, held, "val", SEEN, ())
            rows = measure(made, features, SEEN).rows
            row = next(r for r in rows if (r.defect, r.kind) == (ALL, "generated"))
            told = "none" if row.share is None else f"{row.share:.2f} ± {row.share_std:.2f}"
            yield name, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=Path, nargs="+", required=True)
    parser.add_argument("--images", type=int, default=40, help="of each class, at most")
    args = parser.parse_args()
    table: dict[str, list[str]] = {}
    for root in args.sets:
        for name, told in shares(root / "train", args.images):
            print(root.name, name, told, flush=True)
            table.setdefault(name, []).append(told)
    print(f"| judged | {' | '.join(root.name for root in args.sets)} |")
    print("|---" * (1 + len(args.sets)) + "|")
    for name, cells in table.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
