"""YOLO segmentation: ``data.yaml``, ``images/`` and a text file an image in ``labels/``: of each
defect its class and its outline, x and y in shares of the image.

Source: docs.ultralytics.com, "Instance segmentation datasets"; labels lie where ultralytics looks:
in the path of an image the last folder ``images`` becomes ``labels``.
"""

from pathlib import Path

import numpy as np
import yaml

from defectgan.data.masks import Part
from defectgan.files import write_atomically
from defectgan.generation.formats.base import Shown, Writer

NAME = "data.yaml"
DIGITS = 6


class Yolo(Writer[None]):
    """An image without a defect has an empty file. An outline has no holes."""

    def work(self, shown: Shown) -> None:
        lines = (
            " ".join([str(self.facts.number(name)), *map(_share, outline(part, shown.size))])
            for name, part in shown.parts
        )
        text = "".join(f"{line}\n" for line in lines)
        path = self.out / labels_of(shown.row.output)
        write_atomically(path, text.encode("ascii"), sync=False)

    def add(self, shown: Shown, made: None) -> None:
        pass

    def finish(self) -> Path:
        settings = {
            "train": "images",
            "val": "images",  # asked for by ultralytics; name real images there instead
            "names": dict(enumerate(self.facts.classes)),
            "mask_thresholds": dict(self.facts.thresholds),
        }
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        write_atomically(self.out / NAME, text.encode())
        return self.out / NAME


def labels_of(output: str) -> str:
    """Where the labels of an image are, as ultralytics finds them."""
    before, _, behind = f"/{output}".rpartition("/images/")
    return f"{before}/labels/{behind}".rpartition(".")[0].lstrip("/") + ".txt"


def outline(part: Part, size: tuple[int, int]) -> list[float]:
    """The outline x0, y0, x1, y1, ... in shares of an image.

    It runs a quarter of a pixel inside the edges of the outer pixels: filled, be it by what lies in
    it or by its points rounded down to pixels, it gives the part again (but for holes), and a part
    of one pixel still has an area.
    """
    import cv2

    twice = np.kron(part.pixels, np.ones((2, 2), np.uint8)).astype(np.uint8)
    found, _ = cv2.findContours(twice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    points = max(found, key=len)[:, 0].astype(np.float64)
    place = (points + 0.5) / 2 + (part.left, part.top)
    height, width = size
    shares: list[float] = (place / (width, height)).ravel().tolist()
    return shares


def _share(value: float) -> str:
    return f"{value:.{DIGITS}f}"
