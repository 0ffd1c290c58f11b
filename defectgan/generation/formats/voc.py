"""Pascal VOC: ``VOCdevkit/VOC2012`` with a box a defect, its pixels counted from 1, and JPEG images
of the highest quality: what reads VOC looks for ``.jpg``.

Source: the VOC2012 development kit; read by torchvision's ``VOCDetection``.
"""

import xml.etree.ElementTree as ET
from contextlib import ExitStack
from pathlib import Path

from defectgan.errors import DataError
from defectgan.files import atomic_path, write_atomically
from defectgan.generation.formats.base import SetFacts, Shown, Writer
from defectgan.images import read_picture, to_jpeg

HOME = Path("VOCdevkit") / "VOC2012"
LISTS = ("train", "trainval")


class Voc(Writer[None]):
    def __init__(self, facts: SetFacts, stack: ExitStack) -> None:
        super().__init__(facts, stack)
        self._home = self.out / HOME
        parts = [
            stack.enter_context(atomic_path(self._home / "ImageSets" / "Main" / f"{name}.txt"))
            for name in LISTS
        ]
        self._lists = [stack.enter_context(part.open("w", encoding="utf-8")) for part in parts]

    def work(self, shown: Shown) -> None:
        self._write_image(shown)
        root = ET.Element("annotation")
        _add(root, folder=HOME.name, filename=f"{shown.stem}.jpg", segmented=0)
        _add(ET.SubElement(root, "source"), database="defectgan", image=shown.row.output)
        height, width = shown.size
        _add(ET.SubElement(root, "size"), width=width, height=height, depth=3)
        if shown.row.threshold is not None:
            _add(root, mask_threshold=shown.row.threshold)
        for name, part in shown.defects:
            thing = ET.SubElement(root, "object")
            _add(thing, name=name, pose="Unspecified", truncated=0, difficult=0)
            left, top, wide, high = part.box
            box = ET.SubElement(thing, "bndbox")
            _add(box, xmin=left + 1, ymin=top + 1, xmax=left + wide, ymax=top + high)
        ET.indent(root)
        path = self._home / "Annotations" / f"{shown.stem}.xml"
        write_atomically(path, ET.tostring(root, encoding="utf-8"), sync=False)

    def _write_image(self, shown: Shown) -> None:
        source = self.out / shown.row.output
        target = self._home / "JPEGImages" / f"{shown.stem}.jpg"
        if target.exists() and target.stat().st_mtime_ns >= source.stat().st_mtime_ns:
            return
        pixels = read_picture(source).pixels
        if pixels.dtype.itemsize > 1:
            raise DataError(
                f"{source} has {8 * pixels.dtype.itemsize} bits a channel, a JPEG image of VOC 8: "
                "take another format"
            )
        write_atomically(target, to_jpeg(pixels), sync=False)

    def add(self, shown: Shown, made: None) -> None:
        for file in self._lists:
            file.write(f"{shown.stem}\n")

    def finish(self) -> Path:
        for file in self._lists:
            file.flush()
        return self._home


def _add(parent: ET.Element, **texts: object) -> None:
    for name, text in texts.items():
        ET.SubElement(parent, name).text = str(text)
