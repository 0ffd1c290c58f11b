"""MVTec AD: ``mvtec/train/good`` with the good images that were painted on,
``mvtec/test/<class>``, and masks of 0 and 255 in ``mvtec/ground_truth/<class>``.

Source: Bergmann et al., "MVTec AD", CVPR 2019; read by anomalib, which takes PNG files alone.
"""

import threading
from contextlib import ExitStack
from pathlib import Path

from defectgan.errors import DataError
from defectgan.files import digest, write_atomically
from defectgan.generation.formats.base import SetFacts, Shown, Writer, place_file
from defectgan.images import Picture, encode, read_picture, suffix_of, write_mask

HOME = "mvtec"


class Mvtec(Writer[None]):
    """Images are links to those of the set where the disk has links, else copies."""

    def __init__(self, facts: SetFacts, stack: ExitStack) -> None:
        super().__init__(facts, stack)
        self._home = self.out / HOME
        self._good: set[Path] = set()
        self._one = threading.Lock()

    def work(self, shown: Shown) -> None:
        row = shown.row
        folder, image = self.facts.folder(row), self.out / row.output
        place_file(image, self._home / "test" / folder / image.name)
        path = self._home / "ground_truth" / folder / f"{shown.stem}_mask.png"
        write_mask(path, shown.mask)
        if row.source is not None:
            self._place_good(Path(row.source))

    def _place_good(self, source: Path) -> None:
        with self._one:
            if source in self._good:
                return
            self._good.add(source)
        # Images of several folders may have the same name.
        name = f"{source.stem}-{digest(str(source).encode())[:8]}"
        folder = self._home / "train" / "good"
        if source.suffix.lower() == ".png":
            if not source.is_file():
                raise DataError(f"{source} is not there any more: an MVTec set has good images")
            place_file(source, folder / f"{name}.png")
        elif not any(folder.glob(f"{name}.*")):
            picture: Picture = read_picture(source)
            write_atomically(folder / f"{name}{suffix_of(picture)}", encode(picture), sync=False)

    def add(self, shown: Shown, made: None) -> None:
        pass

    def finish(self) -> Path:
        return self._home
