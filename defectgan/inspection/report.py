"""What a person looks at: a contact sheet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from defectgan.images import save_png
from defectgan.inspection.measure import Mask, Pixels, Subject

CELL = 128
GAP = 2
TITLE = 18
COLUMNS = 8
OVERLAY = (255, 40, 40)


class ContactSheet:
    """A block a class and direction; an image is a column: before, after, mask, overlay.

    A block shows the first images, as many as fit into a row; nothing else is kept.
    """

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, str], list[list[Image.Image]]] = {}

    def add(self, subject: Subject) -> None:
        """Show a subject, if its row has room."""
        row = self._blocks.setdefault((subject.defect, subject.direction), [])
        if len(row) < COLUMNS:
            row.append(_panels(subject))

    def save(self, path: Path, *, classes: Sequence[str]) -> None:
        """Write the sheet as PNG, the blocks in the order of the classes."""
        ordered = sorted(self._blocks, key=lambda key: classes.index(key[0]))
        blocks = [_block(" ".join(key), self._blocks[key]) for key in ordered]
        sheet = Image.new("RGB", (blocks[0].width, sum(b.height for b in blocks)), "white")
        top = 0
        for block in blocks:
            sheet.paste(block, (0, top))
            top += block.height
        save_png(path, sheet)


def _block(title: str, columns: list[list[Image.Image]]) -> Image.Image:
    pitch = CELL + GAP
    height = TITLE + max(map(len, columns)) * pitch + GAP
    block = Image.new("RGB", (COLUMNS * pitch, height), "white")
    ImageDraw.Draw(block).text((4, 3), title, fill="black")
    for x, panels in enumerate(columns):
        for y, panel in enumerate(panels):
            block.paste(panel, (x * pitch, TITLE + y * pitch))
    return block


def _panels(subject: Subject) -> list[Image.Image]:
    after = _rgb(subject.after)
    mask = _rgb((subject.mask * 255).astype(np.uint8)[..., None])
    panels = [after, mask, overlay(after, subject.mask)]
    if subject.before is not None:
        panels.insert(0, _rgb(subject.before))
    return [_cell(panel) for panel in panels]


def overlay(image: Pixels, mask: Mask) -> Pixels:
    """The image with the mask in red over it, at most half opaque."""
    opacity = mask[..., None] / 2
    return (image * (1 - opacity) + np.array(OVERLAY) * opacity).astype(np.uint8)


def _rgb(image: Pixels) -> Pixels:
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def _cell(image: Pixels) -> Image.Image:
    """The image fitted into a cell, its proportions kept."""
    picture = Image.fromarray(image)
    scale = CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    cell = Image.new("RGB", (CELL, CELL), "#e6e6e6")
    corner = ((CELL - size[0]) // 2, (CELL - size[1]) // 2)
    cell.paste(picture.resize(size, Image.Resampling.BILINEAR), corner)
    return cell
