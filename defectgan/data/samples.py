"""A sample: one image, the defects that are in it, and what is known of where they are."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from defectgan.images import Header

NORMAL_NAMES = ("normal", "good", "ok", "free", "defect-free")

# An image that belongs together with others stays in the last of their splits.
SPLITS = TRAIN, VAL, TEST = "train", "val", "test"

# Left, top, width, height in pixels of the image.
Box = tuple[float, float, float, float]


class Mark(NamedTuple):
    """Where a defect lies; ``label`` is None where only the image's labels are known; ``outline``
    is its true outline where there is one, see ``outlines``.
    """

    box: Box
    label: str | None = None
    outline: str | None = None


@dataclass(frozen=True)
class Sample:
    """One image.

    ``labels`` names the defect classes in it, none for a normal image; ``mask`` is a file with the
    true mask, or one that was painted, whose pixels are defect above the opacity ``threshold``;
    ``marks`` say where the defects lie, by the layout or by the mask; images of one
    ``group`` show the same piece and stay on one side of a split; ``header`` is what the file's
    head says, None before it has been looked at.
    """

    file: Path
    labels: tuple[str, ...]
    mask: Path | None = None
    marks: tuple[Mark, ...] = ()
    group: str | None = None
    split: str = TRAIN
    header: Header | None = None
    threshold: float | None = None

    @property
    def piece(self) -> str:
        """The piece that it shows; an image that belongs to none is its own."""
        return self.group or f"file {self.file}"

    def marks_of(self, defect: str) -> list[Mark]:
        """Where defects of a class lie, or defects of an unknown one."""
        return [mark for mark in self.marks if mark.label in (None, defect)]


def is_normal_name(name: str) -> bool:
    """Whether a folder or label of this name holds good images by itself."""
    return name.lower() in NORMAL_NAMES
