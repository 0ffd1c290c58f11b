"""How sure a figure is: intervals over the test pieces and the seeds together.

G generators times S classifiers (seeds) are tested on the same N images, which show P pieces. Every
image meets every classifier: the design is crossed, not nested. So a resample draws the pieces
once, for all classifiers, and apart from that generators and classifiers; images of one piece come
and go together (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007, which is
slightly wide where seeds and images interact).

P pieces are drawn with replacement; of n seeds n - 1 are, or the spread of a mean over few seeds
would come out too small by n / (n - 1) (McCarthy and Snowden 1985; Rao and Wu, JASA 1988). A single
seed has no spread that could be seen: the interval then holds for this seed alone.

Intervals are percentiles (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter
13): they keep to a figure's range, and BCa's acceleration has no meaning for a crossed design.

    paired_interval(ours, base, groups, statistic, *, strata=None, level=0.95, resamples=2000,
                    seed=0) -> Interval(value, low, high)
    interval(values, groups, statistic, *, ...) -> Interval

    ours    [G, S, N, ...]  predictions or scores of each image by each classifier
    base    [G or 1, S or 1, N, ...]  those of the other arm; ``base[g, s]`` is paired with
            ``ours[g, s]``; an arm without a generator has one row that stands beside every g
    groups  [N]             the piece that each image shows, numbers or names
    strata  [N]             optional: pieces are drawn within their stratum, such as the true class,
                            so that no resample is without one

A statistic is ``statistic(values [N, ...], counts [R, N]) -> [R, ...]``: R resamples at once, each
given by how often it holds each image. That makes a share a product, ``counts @ right``, and all of
it some hundred times faster than lists of indices; ``confusion.confusions`` gives what accuracy,
macro-F1 and recalls follow from, ``refusal.recall_at`` takes counts as well.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from defectgan.metrics.arrays import Figures

Values = NDArray[Any]
# Whole numbers, but as floats: numpy multiplies matrices of those some ten times as fast.
Counts = NDArray[np.float64]
Statistic = Callable[[Values, Counts], Figures]
# Counts [R, N] that are held at once; changes the memory alone.
CELLS = 4_000_000


class Interval(NamedTuple):
    """A figure, the mean over all seeds, and the bounds that it lies between; each has the shape of
    one resample's statistic. NaN where a resample knows no answer, such as the recall of a class
    that it does not hold.
    """

    value: Figures
    low: Figures
    high: Figures


def paired_interval(
    ours: Values,
    base: Values,
    groups: ArrayLike,
    statistic: Statistic,
    *,
    strata: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The interval of ``statistic(ours) - statistic(base)``, seeds and images paired.

    Args:
        ours: [G, S, N, ...], what each classifier says of each image.
        base: [G or 1, S or 1, N, ...], the same of the other arm.
        groups: [N], the piece that each image shows.
        statistic: (values [N, ...], counts [R, N]) -> [R, ...].
        strata: [N], what pieces are drawn within; None draws among all.
        level: share of such intervals that hold the true difference.
        resamples: how many.
        seed: draws them.

    Raises:
        ValueError: if the shapes do not go together.
    """
    shape = np.broadcast_shapes(ours.shape[:2], base.shape[:2])
    if ours.shape[:2] != shape or ours.shape[2] != base.shape[2]:
        raise ValueError(f"ours {ours.shape} and base {base.shape}: expected the same seeds, or 1")
    return _interval(
        lambda counts: _by_seed(ours, statistic, counts) - _by_seed(base, statistic, counts),
        ours.shape[:3],
        _Pieces(groups, strata),
        level=level,
        resamples=resamples,
        seed=seed,
    )


def interval(
    values: Values,
    groups: ArrayLike,
    statistic: Statistic,
    *,
    strata: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The interval of ``statistic(values)``; all as for ``paired_interval``."""
    return _interval(
        lambda counts: _by_seed(values, statistic, counts),
        values.shape[:3],
        _Pieces(groups, strata),
        level=level,
        resamples=resamples,
        seed=seed,
    )


class _Pieces:
    """Test pieces, by stratum; images of a piece in several strata make it one of their mixture."""

    def __init__(self, groups: ArrayLike, strata: ArrayLike | None) -> None:
        names, self._of_image = np.unique(np.asarray(groups), return_inverse=True)
        kinds = [set[Any]() for _ in names]
        if strata is not None:
            for piece, stratum in zip(self._of_image, np.asarray(strata).tolist(), strict=True):
                kinds[piece].add(stratum)
        alike: dict[frozenset[Any], list[int]] = {}
        for piece, kind in enumerate(kinds):
            alike.setdefault(frozenset(kind), []).append(piece)
        self._strata = [np.array(members) for members in alike.values()]
        self.images = len(self._of_image)

    def draw(self, resamples: int, rng: np.random.Generator) -> Counts:
        """How often each resample holds each image, [R, N]."""
        drawn = np.empty((resamples, sum(map(len, self._strata))))
        for members in self._strata:
            drawn[:, members] = _counts(len(members), len(members), resamples, rng)
        return drawn[:, self._of_image]


def _counts(n: int, draws: int, resamples: int, rng: np.random.Generator) -> Counts:
    """How often each of n is among so many drawn with replacement, [R, n]."""
    drawn = rng.integers(n, size=(resamples, draws)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * resamples).reshape(resamples, n).astype(float)


def _seed_shares(n: int, resamples: int, rng: np.random.Generator) -> Figures:
    """The weight of each of n seeds in each resample, [R, n]; rows add up to 1."""
    draws = max(n - 1, 1)
    return _counts(n, draws, resamples, rng) / draws


def _by_seed(values: Values, statistic: Statistic, counts: Counts) -> Figures:
    """The statistic of each classifier in each resample, [G, S, R, ...]."""
    return np.stack(
        [np.stack([statistic(one, counts) for one in generator]) for generator in values]
    )


def _interval(
    measure: Callable[[Counts], Figures],
    shape: tuple[int, ...],
    pieces: _Pieces,
    *,
    level: float,
    resamples: int,
    seed: int,
) -> Interval:
    """``measure`` gives [G, S, R, ...] for counts [R, N]."""
    generators, classifiers, images = shape
    if images != pieces.images:
        raise ValueError(f"{images} images of {pieces.images} pieces: expected a piece an image")
    if not 0 < level < 1:
        raise ValueError(f"a level of {level}: expected a share between 0 and 1")
    rng = np.random.default_rng(seed)
    drawn = []
    for size in _blocks(resamples, images):
        shares = [_seed_shares(n, size, rng) for n in (generators, classifiers)]
        figures = measure(pieces.draw(size, rng))
        drawn.append(np.einsum("rg,rs,gsr...->r...", *shares, figures))
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail], axis=0)
    value = measure(np.ones((1, images))).mean(axis=(0, 1))[0]
    return Interval(value, low, high)


def _blocks(resamples: int, images: int) -> Iterator[int]:
    """Sizes that add up to all resamples."""
    largest = max(1, CELLS // max(images, 1))
    for start in range(0, resamples, largest):
        yield min(largest, resamples - start)
