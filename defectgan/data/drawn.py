"""Drawn defects: what a network is shown of defects before, and beside, the real ones.

On any surface and of no product: twelve kinds of spots, lines and patches whose shape, light and
brightness vary. Of each is known where it is and what was there before, which of a real defect
nobody knows; so taking away, finding and painting again are learned from the images themselves, and
from the critic only what real defects look like.

Lengths are in shares of the side, brightness in [0, 1]; a map is [side, side].

Sources: Zavrtanik et al., "DRAEM", ICCV 2021; Schlüter et al., "Natural Synthetic Anomalies", ECCV
    2022: networks that learn drawn anomalies on good images find real ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Map: TypeAlias = NDArray[np.floating[Any]]
Image: TypeAlias = NDArray[np.float32]

# Of a defect that lies outside an image, or cannot be seen on it, another is drawn, so often.
ATTEMPTS = 20
LEAST = 6  # pixels
# A pixel that is so opaque and has changed by so much is defect.
OPAQUE, VISIBLE = 0.1, 0.03
# How far a drawn defect's colour may lie from its surface's.
TINT = 0.25


class Flaw(NamedTuple):
    """``opacity`` in [0, 1] and the ``paint`` below it, or what is added to the ground where there
    is no paint: ``relief``, the light on a slope.
    """

    opacity: Map
    paint: Map | None
    relief: Map | None = None


class Drawn(NamedTuple):
    """An image [H, W, C] in [0, 1] with a drawn defect, and where it is, [H, W, 1] in {0, 1}."""

    image: Image
    truth: Image


def draw_pair(one: Image, other: Image, seed: tuple[int, ...]) -> tuple[Drawn, Drawn]:
    """The same defect on two good images [H, W, C] in [0, 1]: of one shape, at one place, of a kind
    that can be seen on both.
    """
    grounds = [_square(image.mean(2)) for image in (one, other)]
    for attempt in range(ATTEMPTS):
        kind, tint = _kind(np.random.default_rng((*seed, attempt, 0)), one.shape[2])
        flaws = [kind(np.random.default_rng((*seed, attempt, 1)), ground) for ground in grounds]
        first, second = (_on(i, flaw, tint) for i, flaw in zip((one, other), flaws, strict=True))
        if min(first.truth.sum(), second.truth.sum()) >= LEAST:
            break
    return first, second


def _kind(rng: Generator, channels: int) -> tuple[Callable[[Generator, Map], Flaw], Map]:
    """A kind, and how far its colour lies from its surface's."""
    kind = KINDS[rng.integers(len(KINDS))]
    tinted = channels > 1 and rng.random() < 0.5
    return kind, np.asarray(rng.uniform(-TINT, TINT, channels)) * tinted


def _square(ground: Map) -> Map:
    """As wide as high: more of the same, of which the image is the first part."""
    height, width = ground.shape
    side = max(height, width)
    return np.pad(ground, ((0, side - height), (0, side - width)), mode="symmetric")


def _on(image: Image, flaw: Flaw, tint: NDArray[Any]) -> Drawn:
    """A defect on an image: it changes the brightness, and keeps or tints the colour."""
    height, width, _ = image.shape

    def cut(values: Map) -> Map:
        return values[:height, :width, None]

    opacity, ground = cut(flaw.opacity), image.mean(2, keepdims=True)
    if flaw.paint is not None:
        under = cut(flaw.paint)
    else:
        assert flaw.relief is not None
        under = ground + cut(flaw.relief)
    made = opacity * (under + (image - ground) + tint) + (1 - opacity) * image
    made = np.clip(made, 0, 1).astype(np.float32)
    changed = np.abs(made - image).max(2, keepdims=True) > VISIBLE
    return Drawn(made, (changed & (opacity > OPAQUE)).astype(np.float32))


def smooth(rng: Generator, side: int, across: float, down: float | None = None) -> Map:
    """Noise of mean 0 and standard deviation 1, smoothed over such shares of the side."""
    noise = rng.standard_normal((side, side))
    x, y = (max(s * side, 0.3) for s in (across, across if down is None else down))
    blurred = cv2.GaussianBlur(noise, (0, 0), sigmaX=x, sigmaY=y)
    blurred -= blurred.mean()
    return np.asarray(blurred / (blurred.std() + 1e-9))


def turned(rng: Generator, side: int) -> tuple[Map, Map]:
    """Coordinates across and down from the middle, turned at random, half of them by quarters."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else rng.integers(4) * np.pi / 2
    return x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)


def clipped(values: Map) -> Map:
    """In [0, 1]."""
    return np.clip(values, 0, 1)


def _place(rng: Generator) -> tuple[float, float]:
    x, y = rng.uniform(-0.4, 0.4, 2)
    return x, y


def _blob(rng: Generator, side: int, size: float, *, rough: float, soft: float) -> Map:
    """A closed shape about ``size`` across."""
    (cx, cy), (x, y) = _place(rng), turned(rng, side)
    stretch = rng.uniform(1, 1.8)
    distance = np.hypot((x - cx) * stretch, (y - cy) / stretch) / (size / 2)
    distance = distance + rough * smooth(rng, side, max(0.02, size / 5))
    return clipped((1 - distance) / soft + 0.5)


def _path(rng: Generator, *, steps: int, wander: float, length: float) -> Map:
    """A line that wanders, [steps, 2]."""
    turn = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, wander, steps))
    stride = length / steps * np.stack([np.cos(turn), np.sin(turn)], 1)
    path = np.cumsum(stride, 0)
    return np.asarray(path - path.mean(0) + _place(rng))


def _stroke(side: int, paths: list[Map], width: float) -> Map:
    canvas = np.zeros((8 * side, 8 * side), np.uint8)
    for path in paths:
        points = np.round((path + 0.5) * 8 * side).astype(np.int32)
        cv2.polylines(canvas, [points], False, 255, max(1, round(8 * side * width)), cv2.LINE_AA)
    return cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA) / 255


def _away(rng: Generator, ground: Map, sign: int) -> Map:
    """A brightness that stands out from the ground, by a difference of this sign."""
    return clipped(
        ground.mean() + sign * rng.uniform(0.2, 0.5) + 0.02 * smooth(rng, len(ground), 0.01)
    )


def pit(rng: Generator, ground: Map) -> Flaw:
    shape = _blob(rng, len(ground), rng.uniform(0.06, 0.22), rough=0.12, soft=0.25)
    lit = np.roll(shape, 1, 0) - np.roll(shape, -1, 0)
    return Flaw(shape, clipped(ground * rng.uniform(0.1, 0.5) + 0.2 * lit))


def bubble(rng: Generator, ground: Map) -> Flaw:
    shape = _blob(rng, len(ground), rng.uniform(0.05, 0.18), rough=0.04, soft=0.25)
    return Flaw(shape, _away(rng, ground, 1))


def scratch(rng: Generator, ground: Map) -> Flaw:
    paths = [
        _path(rng, steps=12, wander=0.04, length=rng.uniform(0.3, 1))
        for _ in range(rng.integers(1, 4))
    ]
    return Flaw(
        rng.uniform(0.6, 1) * _stroke(len(ground), paths, rng.uniform(0.008, 0.02)),
        _away(rng, ground, 1),
    )


def score(rng: Generator, ground: Map) -> Flaw:
    paths = [_path(rng, steps=12, wander=0.04, length=rng.uniform(0.3, 1))]
    return Flaw(_stroke(len(ground), paths, rng.uniform(0.012, 0.035)), _away(rng, ground, -1))


def crack(rng: Generator, ground: Map) -> Flaw:
    main = _path(rng, steps=30, wander=0.45, length=rng.uniform(0.4, 1.1))
    paths = [main]
    for _ in range(rng.integers(0, 3)):
        branch = _path(rng, steps=12, wander=0.45, length=rng.uniform(0.1, 0.4))
        paths.append(branch - branch[0] + main[rng.integers(len(main))])
    return Flaw(
        _stroke(len(ground), paths, rng.uniform(0.008, 0.022)),
        clipped(ground * rng.uniform(0.1, 0.6)),
    )


def fibre(rng: Generator, ground: Map) -> Flaw:
    paths = [_path(rng, steps=24, wander=0.25, length=rng.uniform(0.4, 1.2))]
    level = rng.choice([0.05, 0.95])
    return Flaw(_stroke(len(ground), paths, rng.uniform(0.008, 0.02)), np.full_like(ground, level))


def stain(rng: Generator, ground: Map) -> Flaw:
    shape = _blob(rng, len(ground), rng.uniform(0.2, 0.55), rough=0.25, soft=rng.uniform(0.3, 1))
    return Flaw(rng.uniform(0.5, 1) * shape, clipped(ground * rng.uniform(0.4, 0.75)))


def faded(rng: Generator, ground: Map) -> Flaw:
    shape = _blob(rng, len(ground), rng.uniform(0.25, 0.7), rough=0.2, soft=rng.uniform(0.5, 1.5))
    return Flaw(rng.uniform(0.5, 1) * shape, clipped(ground + rng.uniform(0.12, 0.35)))


def frayed(rng: Generator, ground: Map) -> Flaw:
    """Another texture, coarser and rougher."""
    shape = _blob(rng, len(ground), rng.uniform(0.2, 0.5), rough=0.35, soft=0.2)
    rough = (
        ground.mean()
        + rng.uniform(-0.2, 0.2)
        + 0.15 * smooth(rng, len(ground), rng.uniform(0.01, 0.03))
    )
    return Flaw(shape, clipped(rough))


def dent(rng: Generator, ground: Map) -> Flaw:
    shape = _blob(rng, len(ground), rng.uniform(0.15, 0.4), rough=0.05, soft=1.2)
    height = cv2.GaussianBlur(shape, (0, 0), len(ground) * 0.03)
    x, y = (np.gradient(height, axis=axis) * len(ground) for axis in (1, 0))
    angle = rng.uniform(0, 2 * np.pi)
    return Flaw(
        clipped(3.0 * np.asarray(height)),
        None,
        rng.uniform(0.03, 0.08) * (x * np.cos(angle) + y * np.sin(angle)),
    )


def missing(rng: Generator, ground: Map) -> Flaw:
    """The ground's lower level where its upper one should be."""
    shape = _blob(rng, len(ground), rng.uniform(0.06, 0.2), rough=0.1, soft=0.12)
    return Flaw(shape, np.full_like(ground, np.quantile(ground, 0.03)))


def excess(rng: Generator, ground: Map) -> Flaw:
    shape = _blob(rng, len(ground), rng.uniform(0.06, 0.2), rough=0.1, soft=0.12)
    return Flaw(shape, np.full_like(ground, np.quantile(ground, 0.97)))


KINDS: tuple[Callable[[Generator, Map], Flaw], ...] = (
    *(pit, bubble, scratch, score, crack, fibre, stain, faded, frayed, dent, missing, excess),
)
