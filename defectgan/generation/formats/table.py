"""A table: ``labels.csv``, a row an image."""

import csv
from contextlib import ExitStack
from pathlib import Path

from defectgan.data.layouts.table_rows import LABEL_SEPARATOR
from defectgan.files import atomic_path
from defectgan.generation.formats.base import SetFacts, Shown, Writer

NAME = "labels.csv"
COLUMNS = (
    *("file", "labels", "mask", "threshold", "area", "parts", "left", "top", "width", "height"),
    *("source", "seed", "class_confidence"),
)


class Table(Writer[None]):
    """``threshold`` is the opacity above which a pixel of the mask is defect, ``area`` their share
    of the image, ``parts`` how many connected ones they are, in the box ``left``, ``top``,
    ``width``, ``height`` in pixels.
    """

    def __init__(self, facts: SetFacts, stack: ExitStack) -> None:
        super().__init__(facts, stack)
        part = stack.enter_context(atomic_path(self.out / NAME))
        self._file = stack.enter_context(part.open("w", encoding="utf-8", newline=""))
        self._rows = csv.writer(self._file)
        self._rows.writerow(COLUMNS)

    def work(self, shown: Shown) -> None:
        pass

    def add(self, shown: Shown, made: None) -> None:
        row, labels = shown.row, LABEL_SEPARATOR.join(shown.row.labels)
        box = row.box or ("", "", "", "")
        self._rows.writerow(
            [
                *(row.output, labels, row.mask, row.threshold, row.mask_area),
                *(len(shown.parts), *box, row.source, row.seed, row.class_confidence),
            ]
        )

    def finish(self) -> Path:
        self._file.flush()
        return self.out / NAME
