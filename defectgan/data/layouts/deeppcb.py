"""DeepPCB: pairs of a good board, <n>_temp.jpg, and the same one with defects, <n>_test.jpg, whose
boxes are in <n>.txt in the folder called ..._not beside; test.txt names the pairs to test on.
"""

import re
from itertools import islice
from pathlib import Path

from defectgan.data.layouts.base import Listing, annotated, unlisted
from defectgan.data.layouts.texts import files_ending, read_text
from defectgan.data.samples import TEST, TRAIN, Mark, Sample
from defectgan.data.walk import LeftOut, find_images
from defectgan.errors import DataError

GOOD, SHOWN = "_temp", "_test"
# By their numbers, from 1.
NAMES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
LOOKED_AT = 5


def recognises(root: Path) -> bool:
    """Whether the first good boards have one with defects and its boxes."""
    goods = islice(files_ending(root, (f"{GOOD}.jpg", f"{GOOD}.png")), LOOKED_AT)
    return any(_shown(good).is_file() and _boxes(good).is_file() for good in goods)


def _shown(good: Path) -> Path:
    return good.with_name(f"{_number(good)}{SHOWN}{good.suffix}")


def _boxes(good: Path) -> Path:
    return good.parent.with_name(f"{good.parent.name}_not") / f"{_number(good)}.txt"


def _number(good: Path) -> str:
    return good.stem.removesuffix(GOOD)


def read(root: Path, normal: str | None) -> Listing:
    """The listing of pairs; each is one piece, which is never split."""
    tests = _tests(root)
    samples: list[Sample] = []
    skipped: list[LeftOut] = []
    for good in files_ending(root, (f"{GOOD}.jpg", f"{GOOD}.png")):
        number = _number(good)
        split = TEST if number in tests else TRAIN
        samples.append(Sample(good, (), group=number, split=split))
        if (shown := _shown(good)).is_file():
            try:
                marks = _marks(_boxes(good))
                labels = tuple(str(mark.label) for mark in marks)
                samples.append(Sample(shown, labels, marks=marks, group=number, split=split))
            except (DataError, ValueError, IndexError) as error:
                skipped.append((shown, f"{shown}: nobody can tell what is in it: {error}"))
    if not samples:
        raise DataError(f"no good boards of DeepPCB in {root}: expected files called ...{GOOD}.jpg")
    found = find_images(root)
    known = [*(s.file for s in samples), *(file for file, _ in skipped)]
    notes = unlisted(found.images, known, "the pairs of boards")
    skipped += found.skipped
    return annotated(
        root,
        "deeppcb",
        normal,
        samples,
        names=[name for name in NAMES if any(name in s.labels for s in samples)],
        notes=notes,
        skipped=skipped,
        aside=found.aside,
    )


def _tests(root: Path) -> set[str]:
    """The numbers of the pairs to test on."""
    lists = (path for path in files_ending(root, ".txt", depth=2) if path.name == "test.txt")
    return {
        Path(line.split()[0]).stem for p in lists for line in read_text(p)[0].splitlines() if line
    }


def _marks(path: Path) -> tuple[Mark, ...]:
    """The boxes of a file: left, top, right, bottom and the number of the class in each line."""
    marks = []
    for n, line in enumerate(read_text(path)[0].splitlines(), start=1):
        if not line.strip():
            continue
        left, top, right, bottom, number = (int(word) for word in re.split(r"[\s,]+", line.strip()))
        if not (right > left and bottom > top and 0 < number <= len(NAMES)):
            raise ValueError(f"line {n} of {path} is {line.strip()}")
        box = (float(left), float(top), float(right - left), float(bottom - top))
        marks.append(Mark(box, NAMES[number - 1], origin=f"line {n} of {path}"))
    return tuple(marks)
