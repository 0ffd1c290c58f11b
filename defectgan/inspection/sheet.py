"""What a person on a terminal looks at: a contact sheet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from defectgan.data.masks import outline
from defectgan.errors import DataError
from defectgan.images import save_png
from defectgan.inspection.subject import Mask, Pixels, Region, Subject

CELL = 128
GAP = 4
TITLE = 30
NAMES = 78
COLUMNS = 8
PAPER, INK, FAINT, EMPTY = "#ffffff", "#1c2430", "#6b7685", "#eceff3"
OVERLAY = (255, 40, 60)
TRUTH = (0, 225, 150)


class ContactSheet:
    """A block a class and direction; an image is a column: before, after, mask, overlay.

    A block shows the first images, as many as fit into a row; nothing else is kept. The true mask
    is outlined in green over the overlay.
    """

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, str], list[list[Image.Image]]] = {}

    def add(self, subject: Subject) -> None:
        """Show a subject, if its row has room."""
        row = self._blocks.setdefault((subject.defect, subject.direction), [])
        if len(row) < COLUMNS:
            row.append(_panels(subject))

    def save(self, path: Path, *, classes: Sequence[str]) -> None:
        """Write the sheet as PNG, the blocks in the order of the classes.

        Raises:
            DataError: if there is nothing to show.
        """
        ordered = sorted(self._blocks, key=lambda key: classes.index(key[0]))
        if not ordered:
            raise DataError("no image could be read: there is nothing to inspect")
        blocks = [_block(*key, self._blocks[key]) for key in ordered]
        sheet = Image.new("RGB", (blocks[0].width, sum(b.height for b in blocks)), PAPER)
        top = 0
        for block in blocks:
            sheet.paste(block, (0, top))
            top += block.height
        save_png(path, sheet)


def _block(defect: str, direction: str, columns: list[list[Image.Image]]) -> Image.Image:
    pitch = CELL + GAP
    names = ("before", "after", "mask", "overlay")
    block = Image.new("RGB", (NAMES + COLUMNS * pitch, TITLE + len(names) * pitch + GAP), PAPER)
    draw = ImageDraw.Draw(block)
    draw.text((GAP * 2, 8), f"{defect}, {direction}", fill=INK, font=ImageFont.load_default(15))
    for y, name in enumerate(names):
        top = TITLE + y * pitch
        draw.text((GAP * 2, top + 4), name, fill=FAINT, font=ImageFont.load_default(13))
        for x, panels in enumerate(columns):
            block.paste(panels[y], (NAMES + x * pitch, top))
    return block


def _panels(subject: Subject) -> list[Image.Image]:
    after = _rgb(subject.after)
    mask = _rgb((subject.mask * 255).round().astype(np.uint8)[..., None])
    over = overlay(after, subject.mask, subject.truth)
    before = _blank() if subject.before is None else _cell(_rgb(subject.before))
    return [before, *(_cell(panel) for panel in (after, mask, over))]


def overlay(image: Pixels, mask: Mask, truth: Region | None = None) -> Pixels:
    """The image with the mask in red over it, at most half opaque, and the outline of the truth."""
    opacity = mask[..., None] / 2
    mixed = (image * (1 - opacity) + np.array(OVERLAY) * opacity).astype(np.uint8)
    if truth is not None:
        mixed[outline(truth) > 0] = TRUTH
    return mixed


def _rgb(image: Pixels) -> Pixels:
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def _blank() -> Image.Image:
    return Image.new("RGB", (CELL, CELL), EMPTY)


def _cell(image: Pixels) -> Image.Image:
    """The image fitted into a cell, its proportions kept."""
    picture = Image.fromarray(image)
    scale = CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    cell = _blank()
    corner = ((CELL - size[0]) // 2, (CELL - size[1]) // 2)
    cell.paste(picture.resize(size, Image.Resampling.BILINEAR), corner)
    return cell
