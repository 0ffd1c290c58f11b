"""How near generated images are to real ones, between what is perfect and what is nothing.

Every figure compares as many images with as many others, drawn anew ``DRAWS`` times; it is the mean
over them.

generated  generated defects with real ones that nothing has learned from
floor      one half of those real defects with the other: as near as anything can be
ceiling    real normal images with those real defects: as far as doing nothing is

So a KID within the floor's spread cannot be told from real at this number of images. The share of
the way from floor to ceiling says the same in one number: 0 as good as real, 1 as good as nothing
painted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import hypot
from statistics import fmean, pstdev
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from defectgan.data.dataset import ImageSet
from defectgan.data.index import Index
from defectgan.errors import DataError
from defectgan.evaluation.comparison import Comparison
from defectgan.evaluation.features import Features
from defectgan.evaluation.leak import refuse_taught
from defectgan.evaluation.pools import batches, views
from defectgan.metrics.fidelity import fid, precision_recall, spread
from defectgan.metrics.kernel import kid
from defectgan.settings.data import DataConfig

Compared = Literal["generated", "floor", "ceiling"]
KINDS: tuple[Compared, ...] = ("generated", "floor", "ceiling")
ALL = "all"

DRAWS = 50
# FID takes minutes for sets that are large enough for it, and varies less than KID from draw to
# draw.
FID_DRAWS = 3
# Images on each side, at most; from about here on FID's bias no longer matters.
LARGEST = 2048
# A class with fewer real images held out is left out: their halves would not make a pair.
FEWEST = 4
# Features that name the classes of real images no better than so many times chance are no use.
SURE = 1.5
BATCH = 32
# The features of each class, [N, F].
Parts = Sequence[Tensor]


@dataclass(frozen=True)
class QualityRow:
    """One comparison of ``images`` with as many others.

    ``kid`` and its standard deviation over draws; ``share``, where that KID lies between floor (0)
    and ceiling (1), and the deviation of that if each of the three is drawn once, both None where
    the floor's spread reaches the ceiling; ``fid``; ``precision``, the share of ours that lie among
    real ones; ``recall``, the share of real ones that lie among ours, both None for too few images;
    ``diversity``, how far two images of a class lie apart, as a share of how far two real ones do;
    ``named``, the share whose class the features' own classifier names, None where it has none.
    """

    defect: str
    kind: Compared
    images: int
    kid: float
    kid_std: float
    share: float | None
    share_std: float | None
    fid: float
    precision: float | None
    recall: float | None
    diversity: float
    named: float | None


@dataclass(frozen=True)
class Quality:
    """The rows, all classes together first; what features they are made with; how many images of
    each class there were; what a person should know.
    """

    rows: tuple[QualityRow, ...]
    features: str
    facts: dict[str, Any]
    images: dict[str, dict[str, int]]
    notes: tuple[str, ...]

    def table(self) -> list[dict[str, Any]]:
        """The rows as plain objects."""
        return [{"features": self.features, **asdict(row)} for row in self.rows]


def measure(
    comparison: Comparison,
    features: Features,
    seen: DataConfig,
    *,
    seed: int = 0,
    done: Callable[[int], None] = lambda count: None,
) -> Quality:
    """Hold a generated set against real images.

    Args:
        comparison: the images.
        features: what they are compared by.
        seen: how images are seen.
        seed: draws what is compared with what.
        done: called with the number of images seen since the last call.

    Raises:
        DataError: if there are too few images, one is damaged, or a class is called ``ALL``.
        ModelError: if the generating model was trained against these very features.
    """
    refuse_taught(comparison.taught_by, features.facts.get("weights_sha256"), features.name)
    if ALL in comparison.held_out.classes:
        raise DataError(
            f"{comparison.held_out.root} has a class called {ALL}, as the row of all classes "
            "together is: call it otherwise"
        )
    real = _features(comparison.held_out, features, seen, done)
    ours = _features(comparison.generated, features, seen, done)
    normal, names = real[0], comparison.held_out.classes
    _no_twins_alone(real, names)
    classes = [k for k in range(1, len(names)) if len(ours[k]) > 1 and len(real[k]) >= FEWEST]
    if not classes or len(normal) < FEWEST:
        raise DataError(
            f"too few images to compare: {_counts(comparison)}; expected at least 2 generated and "
            f"{FEWEST} real ones of a class, and {FEWEST} normal ones"
        )
    of_classes = (_class_rows(k, ours, real, features, names, seed) for k in classes)
    rows = [row for of_class in of_classes for row in _with_shares(of_class)]
    overall = _with_shares(_overall(rows, classes, ours, real, seed))
    return Quality(
        rows=(*overall, *rows),
        features=features.name,
        facts=features.facts,
        images={
            name: {"generated": len(ours[k]), "real": len(real[k])} for k, name in enumerate(names)
        },
        notes=(
            *comparison.notes,
            *features.notes,
            *_beside(comparison.held_out, seen),
            *_notes(rows, classes, ours, names),
            *_about_shares((*overall, *rows)),
        ),
    )


def _features(
    index: Index, features: Features, seen: DataConfig, done: Callable[[int], None]
) -> list[Tensor]:
    """Of the images of each class, [N, F]."""
    images = ImageSet(index, seen.model_copy(update={"cache": "none"}))
    found = []
    for k, members in enumerate(index.members):
        parts = []
        for batch in batches(views(images, k), size=BATCH):
            parts.append(features(batch))
            done(len(batch))
        found.append(torch.cat(parts) if members else torch.empty(0, 0))
    return found


def _class_rows(
    k: int,
    ours: list[Tensor],
    real: list[Tensor],
    features: Features,
    names: Sequence[str],
    seed: int,
) -> Iterator[QualityRow]:
    sets = {"generated": ours[k], "floor": real[k], "ceiling": real[0]}
    for kind in KINDS:
        shown = features.classify(sets[kind])
        named = None if shown is None else float((shown == k).double().mean())
        size = _size([ours[k]], [real[k]], real[0])
        pairs = _pairs(kind, [sets[kind]], [real[k]], size, [seed, k])
        yield _row(names[k], kind, list(pairs), named=named)


def _overall(
    rows: list[QualityRow], classes: list[int], ours: list[Tensor], real: list[Tensor], seed: int
) -> Iterator[QualityRow]:
    """All classes together, as many images of each, so that no side is another mixture than the
    other; diversity and what is named are the means of the classes.
    """
    mine, theirs = ([sets[k] for k in classes] for sets in (ours, real))
    sides = {"generated": mine, "floor": theirs, "ceiling": [real[0]]}
    size = _size(mine, theirs, real[0])
    for kind in KINDS:
        of_kind = [row for row in rows if row.kind == kind]
        named = [row.named for row in of_kind if row.named is not None]
        yield _row(
            ALL,
            kind,
            list(_pairs(kind, sides[kind], theirs, size, [seed, 0])),
            named=fmean(named) if named else None,
            diversity=fmean(row.diversity for row in of_kind),
        )


def _size(ours: Parts, real: Parts, normal: Tensor) -> int:
    """Images of each class on each side: half of the real ones, so that the floor has as many as
    the rest, and where there are so few good ones at least a pair.
    """
    fewest = min(*map(len, ours), *(len(part) // 2 for part in real))
    return min(fewest, max(2, min(len(normal), LARGEST) // len(real)))


def _pairs(
    kind: Compared, ours: Parts, real: Parts, size: int, seed: list[int]
) -> Iterator[tuple[Parts, Parts]]:
    """``DRAWS`` pairs of sets with so many images of each class; those of the floor without an
    image in common.
    """
    rng = np.random.default_rng(seed)
    share = size * len(real) // len(ours)
    for _ in range(DRAWS):
        orders = [rng.permutation(len(part)) for part in real]
        drawn = [part[order[:size]] for part, order in zip(real, orders, strict=True)]
        if kind == "floor":
            rest = [part[order[size:][:size]] for part, order in zip(real, orders, strict=True)]
            yield rest, drawn
        else:
            yield [part[rng.permutation(len(part))[:share]] for part in ours], drawn


def _row(
    defect: str,
    kind: Compared,
    drawn: list[tuple[Parts, Parts]],
    *,
    named: float | None,
    diversity: float | None = None,
) -> QualityRow:
    kids = [kid(*parts) for parts in drawn]
    pairs = [(torch.cat([*ours]), torch.cat([*real])) for ours, real in drawn]
    outlined = [shares for pair in pairs if (shares := precision_recall(*pair)) is not None]
    if diversity is None:
        diversity = fmean(spread(a) for a, _ in pairs) / fmean(spread(b) for _, b in pairs)
    return QualityRow(
        defect=defect,
        kind=kind,
        images=len(pairs[0][0]),
        kid=fmean(kids),
        kid_std=pstdev(kids),
        share=None,
        share_std=None,
        fid=fmean(fid(*pair) for pair in pairs[:FID_DRAWS]),
        precision=fmean(p for p, _ in outlined) if outlined else None,
        recall=fmean(r for _, r in outlined) if outlined else None,
        diversity=diversity,
        named=named,
    )


def _with_shares(rows: Iterator[QualityRow]) -> list[QualityRow]:
    """The three rows of a class, each with its share."""
    of_kind = {row.kind: row for row in rows}
    floor, ceiling = of_kind["floor"], of_kind["ceiling"]
    way = ceiling.kid - floor.kid
    if way <= floor.kid_std:
        return [*of_kind.values()]
    return [_with_share(row, floor, ceiling, way) for row in of_kind.values()]


def _with_share(row: QualityRow, floor: QualityRow, ceiling: QualityRow, way: float) -> QualityRow:
    """Of a ratio's spread, to first order, in draws that are independent of each other."""
    share = (row.kid - floor.kid) / way
    spreads = row.kid_std, (1 - share) * floor.kid_std, share * ceiling.kid_std
    return replace(row, share=share, share_std=hypot(*spreads) / way)


def _about_shares(rows: Sequence[QualityRow]) -> Iterator[str]:
    """What is no better than nothing painted, and what cannot be told."""
    made = [row for row in rows if row.kind == "generated"]
    if worse := [row for row in made if row.share is not None and row.share >= 1]:
        said = ", ".join(f"{row.defect} {row.share:.2f} ± {row.share_std:.2f}" for row in worse)
        yield (
            "farther from real defects than good images that nothing is painted on (a share of 1 "
            f"or more): {said}"
        )
    if unclear := [row.defect for row in made if row.share is None]:
        yield (
            f"no share for {', '.join(unclear)}: to these features real defects lie as near to "
            "good images as to each other, within the spread of so few images"
        )


def _no_twins_alone(real: list[Tensor], names: Sequence[str]) -> None:
    for features, name in zip(real, names, strict=True):
        if len(features) > 1 and (features == features[0]).all():
            raise DataError(
                f"the {len(features)} images of {name} that are held out are all the same: nothing "
                "can be measured by them; hold out others"
            )


def _counts(comparison: Comparison) -> str:
    held, made = comparison.held_out.counts(), comparison.generated.counts()
    return ", ".join(f"{name} {made[name]} generated, {n} real" for name, n in held.items())


def _beside(held_out: Index, seen: DataConfig) -> Iterator[str]:
    """Windows of real defects that may show none."""
    unknown = [s for s in held_out.samples if s.labels and not s.marks]
    if seen.fit == "crop" and unknown:
        yield (
            f"{len(unknown)} real images of defects have neither a mask nor a box: windows from "
            "their middle, most of them without a defect, are held against windows round painted "
            f"ones; these figures say little before the defects are marked, the first: "
            f"{unknown[0].file}"
        )


def _notes(
    rows: list[QualityRow], classes: list[int], ours: list[Tensor], names: Sequence[str]
) -> Iterator[str]:
    if left := [n for k, n in enumerate(names) if k and len(ours[k]) and k not in classes]:
        yield (
            f"left out {', '.join(left)}: expected at least 2 generated images and {FEWEST} real "
            "ones held out"
        )
    real = [row.named for row in rows if row.kind == "floor" and row.named is not None]
    if real and fmean(real) < SURE / len(names):
        yield (
            f"the features name {fmean(real):.0%} of the real images right, where chance is "
            f"{1 / len(names):.0%}: they hardly tell these classes apart, and say as little of "
            "generated ones; learn them from more images, for longer, or take Inception"
        )
    if any(row.images < LARGEST for row in rows):
        yield (
            f"FID is biased upwards below about {LARGEST} images; compare it with its floor and "
            "ceiling alone, never with figures from elsewhere"
        )
