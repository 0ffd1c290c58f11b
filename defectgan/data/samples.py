"""A sample: one image, the defects that are in it, and what is known of where they are."""

from dataclasses import dataclass
from pathlib import Path

NORMAL_NAMES = ("normal", "good", "ok", "free", "defect-free")

TRAIN, VAL, TEST = "train", "val", "test"

# Left, top, width, height in pixels of the image.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Sample:
    """One image.

    ``labels`` names the defect classes in it, none for a normal image; ``mask`` is a file with the
    true mask, ``boxes`` hold the defects where the layout tells; images of one ``group`` show the
    same piece and stay on one side of a split.
    """

    file: Path
    labels: tuple[str, ...]
    mask: Path | None = None
    boxes: tuple[Box, ...] = ()
    group: str | None = None
    split: str = TRAIN


def is_normal_name(name: str) -> bool:
    """Whether a folder or label of this name holds good images by itself."""
    return name.lower() in NORMAL_NAMES
