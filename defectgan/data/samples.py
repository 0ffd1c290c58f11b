"""A sample: one image, the defects that are in it, and what is known of where they are."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from defectgan.heads import Header

NORMAL_NAMES = ("normal", "good", "ok", "free", "defect-free")
# What good images are called besides, letters alone.
_MORE_NAMES = frozenset(
    (
        *("defectfree", "nodefect", "nodefects", "nondefective", "nondefect", "faultless"),
        *("undefective", "flawless", "anomalyfree", "noanomaly", "nonanomalous", "okay", "intact"),
    )
)

# An image that belongs together with others stays in the last of their splits.
SPLITS = TRAIN, VAL, TEST = "train", "val", "test"
_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "train2017"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev", "val2017"), VAL),
    **dict.fromkeys(("test", "testing", "test2017"), TEST),
}

# Left, top, width, height in pixels of the image.
Box = tuple[float, float, float, float]

# How the values of a mask file mean defect, see ``truths``.
PLAIN = "plain"


class Mark(NamedTuple):
    """Where a defect lies; ``label`` is None where only the image's labels are known; ``outline``
    is its true outline where there is one, see ``outlines``; ``origin`` says where it is written.
    """

    box: Box
    label: str | None = None
    outline: str | None = None
    origin: str | None = None


class DataSet(NamedTuple):
    """One of several data sets that are learned from jointly: where it lies, and the classes that
    its labels tell of, the normal one first.
    """

    root: Path
    classes: tuple[str, ...]


class Cut(NamedTuple):
    """A window [left, top, width, height] of an image, beside its defects."""

    file: Path
    window: tuple[int, int, int, int]


@dataclass(frozen=True)
class Sample:
    """One image.

    ``labels`` names the defect classes in it, none for a normal image; ``mask`` is a file with the
    true mask, or one that was painted, whose pixels are defect above the opacity ``threshold``;
    ``truths`` are the files that a true mask is made of where they are not that themselves, by the
    ``rule`` of ``truths``; ``marks`` say where the defects lie, by the layout or by the mask, in an
    image of the size ``labelled``, width and height, where the layout says it; images of one
    ``group`` show the same piece and stay on one side of a split; ``header`` is what the file's
    head says, None before it has been looked at; ``cut`` is what the file was cut from; ``twin`` is
    the file of the same image without its defects, a sample itself, where pairs are learned from;
    ``dataset`` numbers the data set that it is of, where several are learned from jointly.
    """

    file: Path
    labels: tuple[str, ...]
    mask: Path | None = None
    marks: tuple[Mark, ...] = ()
    group: str | None = None
    split: str = TRAIN
    header: Header | None = None
    threshold: float | None = None
    truths: tuple[Path, ...] = ()
    rule: str = PLAIN
    labelled: tuple[int, int] | None = None
    cut: Cut | None = None
    twin: Path | None = None
    dataset: int = 0

    @property
    def piece(self) -> str:
        """The piece that it shows; an image that belongs to none is its own."""
        return self.group or f"file {self.file}"

    def marks_of(self, defect: str) -> list[Mark]:
        """Where defects of a class lie, or defects of an unknown one."""
        return [mark for mark in self.marks if mark.label in (None, defect)]


def is_normal_name(name: str) -> bool:
    """Whether a folder or label of this name holds good images by itself."""
    return name.lower() in NORMAL_NAMES or re.sub(r"[\W_]", "", name.lower()) in _MORE_NAMES


def split_name(name: str) -> str | None:
    """The split that a folder or a table calls so; None if it is none."""
    return _SPLIT_NAMES.get(name.strip().lower())
