"""What a person should know of a generated set before anybody learns from it."""

from pathlib import Path
from typing import NamedTuple

from defectgan.manifest import each_row

# An image whose class the critic finds less probable than this is doubted.
DOUBTED = 0.5


class Review(NamedTuple):
    """Of so many ``images`` those whose class the critic doubts, and those whose mask covers nearly
    all of the image.
    """

    images: int
    doubted: int
    full: int


def review(folder: Path, *, full_area: float) -> Review:
    """Look through the manifest of a set.

    Args:
        folder: the set.
        full_area: the share of an image above which its mask is nearly all of it.

    Raises:
        DataError: if a row is damaged.
    """
    images = doubted = full = 0
    for row in each_row(folder):
        images += 1
        doubted += row.class_confidence is not None and row.class_confidence < DOUBTED
        full += row.mask_area is not None and row.mask_area > full_area
    return Review(images, doubted, full)
