"""Defects without a model, the baseline that a generator must beat.

Where a class has true masks, its defects are cut out along them and pasted elsewhere on good
images; where it has none, blobs of Perlin noise say which part of a real defect image is laid over
a good one.

Sources: Li et al., "CutPaste", CVPR 2021; Zavrtanik et al., "DRAEM", ICCV 2021 (noise and opacity).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from defectgan.data.masks import half_covered
from defectgan.evaluation.pools import Pixels
from defectgan.images import from_unit, unit
from defectgan.networks.compose import compose

Opacity = NDArray[np.float32]

# DRAEM's threshold of the noise, and its range of opacities.
BLOB_ABOVE = 0.5
FAINTEST = 0.1
# Cells of the noise along an axis, at most 2 to the power of this.
FINEST = 4
# Share of an image that blobs cover at least: single pixels are no defect.
LEAST = 0.01


class Defaced(NamedTuple):
    """An image [H, W, C] with a defect, and the ``region`` [H, W] where it is."""

    image: Pixels
    region: NDArray[np.bool_]


class Donor(NamedTuple):
    """A real defect image [H, W, C], and its true mask [H, W, 1] where there is one, in 0..255 by
    the share of a pixel that is defect.
    """

    image: Pixels
    mask: Pixels | None


def deface(
    normals: Sequence[Pixels], donors: Sequence[Donor], count: int, *, seed: int
) -> list[Defaced]:
    """``count`` defects of one class on good images of the same size.

    Image i depends on (seed, i) alone; every good image comes once before any comes twice.

    Args:
        normals: good images [H, W, C], at least one.
        donors: real images of the class, at least one; where any has a mask, those alone give.
        count: how many.
        seed: draws.
    """
    masked = [d for d in donors if d.mask is not None and d.mask.any()]
    made = []
    for i in range(count):
        lap, place = divmod(i, len(normals))
        order = np.random.default_rng([seed, lap]).permutation(len(normals))
        rng = np.random.default_rng([seed, lap, place])
        givers = masked or donors
        donor, normal = givers[int(rng.integers(len(givers)))], normals[order[place]]
        made.append(_paste(normal, donor, rng) if masked else _blend(normal, donor, rng))
    return made


def _paste(normal: Pixels, donor: Donor, rng: np.random.Generator) -> Defaced:
    """A defect cut out along its mask, turned and moved to anywhere in the image."""
    assert donor.mask is not None
    square = normal.shape[0] == normal.shape[1]
    turns = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
    flip = bool(rng.integers(2))
    image, mask = (np.rot90(a[:, ::-1] if flip else a, turns) for a in (donor.image, donor.mask))
    rows, columns = (np.flatnonzero(mask[..., 0].any(axis=axis)) for axis in (1, 0))
    shift = [
        int(rng.integers(-found[0], size - found[-1]))
        for found, size in zip((rows, columns), mask.shape, strict=False)
    ]
    image, mask = (np.roll(a, shift, axis=(0, 1)) for a in (image, mask[..., 0]))
    # A pixel that the mask covers in part shows that much of the defect already.
    return _laid_over(normal, unit(image), (mask > 0).astype(np.float32), half_covered(mask))


def _blend(normal: Pixels, donor: Donor, rng: np.random.Generator) -> Defaced:
    """The part of a defect image under blobs of noise, more or less opaque, where it was."""
    blob = np.zeros((0, 0), bool)
    while blob.sum() < LEAST * normal[..., 0].size:
        cells = rng.integers(FINEST + 1, size=2)
        blob = perlin(normal.shape[:2], (2 ** int(cells[0]), 2 ** int(cells[1])), rng) > BLOB_ABOVE
    opacity = blob * np.float32(rng.uniform(FAINTEST, 1))
    return _laid_over(normal, unit(donor.image), opacity, blob)


def _laid_over(
    normal: Pixels, image: NDArray[np.float32], opacity: Opacity, region: NDArray[np.bool_]
) -> Defaced:
    layers = (unit(normal), image, opacity[..., None])
    planes = (torch.from_numpy(layer.transpose(2, 0, 1).copy())[None] for layer in layers)
    composed = compose(*planes)[0].permute(1, 2, 0).numpy()
    return Defaced(from_unit(composed, normal.dtype), region)


def perlin(
    shape: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Gradient noise [H, W] in about [-1, 1], 0 at the corners of a grid of ``cells`` (rows,
    columns).

    Source: Perlin, "An Image Synthesizer", SIGGRAPH 1985, with the smoother fade of 2002.
    """
    angles = rng.uniform(0, 2 * np.pi, (cells[0] + 1, cells[1] + 1))
    y, x = np.meshgrid(
        *(np.arange(n) * c / n for n, c in zip(shape, cells, strict=True)), indexing="ij"
    )
    top, left = y.astype(int), x.astype(int)
    down, right = y - top, x - left

    def corner(row: int, column: int) -> NDArray[np.float64]:
        angle = angles[top + row, left + column]
        slope = np.sin(angle) * (down - row) + np.cos(angle) * (right - column)
        return np.asarray(slope)

    fade_down, fade_right = (t**3 * (t * (6 * t - 15) + 10) for t in (down, right))
    upper, lower = (
        (1 - fade_right) * corner(row, 0) + fade_right * corner(row, 1) for row in (0, 1)
    )
    noise = (1 - fade_down) * upper + fade_down * lower
    return np.asarray(np.sqrt(2) * noise, dtype=np.float32)
