"""Good images as they are needed again and again: read and decoded once."""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from defectgan.errors import DataError
from defectgan.images import Levels, Picture, first_sound, read_hashed
from defectgan.model.info import ModelInfo
from defectgan.model.pixels import model_view
from defectgan.views import View, Viewer, Window

# Decoded images that are kept, in bytes. The candidates of neighbouring images share their sources,
# so a few suffice; a folder that fits is decoded once however many images are made.
ROOM = 512 * 2**20


@dataclass(frozen=True)
class Source:
    """A decoded good image: its file with the SHA-256, its pixels, the values of them that are -1
    and 1, and where the model sees an image whole, that view of it, [C, h, w] in [-1, 1]. A blank
    one has no file.
    """

    path: Path | None
    sha256: str | None
    picture: Picture
    levels: Levels
    whole: tuple[View, Tensor] | None

    @property
    def size(self) -> int:
        """In bytes."""
        alpha = self.picture.alpha
        seen = 0 if self.whole is None else self.whole[1].nbytes
        return self.picture.pixels.nbytes + seen + (0 if alpha is None else alpha.nbytes)


class Blank:
    """What whole images are made over, in the place of a shelf of good images: black ones of the
    size that the model makes, of 8 bits.
    """

    def __init__(self, info: ModelInfo) -> None:
        height, width = frame = info.form.view.image_size
        everything = Window(0, 0, width, height)
        picture = Picture(np.zeros((height, width, info.channels), np.uint8))
        image = torch.full((info.channels, height, width), -1.0)
        view = View(everything, everything, frame)
        self._blank = Source(None, None, picture, picture.full, (view, image))
        self.damaged: dict[Path, str] = {}

    def ask(self, path: Path | None) -> None:
        """There is nothing to read."""

    def take(self, path: Path | None) -> Source:
        """The blank."""
        return self._blank


class Shelf:
    """Decodes sources in a pool, ahead of their use, and keeps the latest as far as there is room;
    in the place of a damaged one stands the next of the files that is sound. Of one thread.
    """

    def __init__(self, files: Sequence[Path], info: ModelInfo, pool: Executor) -> None:
        """Args: all sources, the model that shall see them, and what reads."""
        self._files, self._info, self._pool = files, info, pool
        self._place = {path: i for i, path in enumerate(files)}
        self._reading: dict[Path, Future[Source]] = {}
        self._kept: OrderedDict[Path, Source] = OrderedDict()
        self._taken = 0
        # What was left out, each with its reason.
        self.damaged: dict[Path, str] = {}

    def ask(self, path: Path | None) -> None:
        """Begin to read a source that will be taken."""
        assert path is not None
        if path not in self._kept and path not in self._reading:
            self._reading[path] = self._pool.submit(self._read, path)

    def take(self, path: Path | None) -> Source:
        """The source, or the one in its place.

        Raises:
            DataError: if all sources are damaged.
        """
        assert path is not None
        self.ask(path)
        if path in self._reading:
            self._keep(path, self._reading.pop(path).result())
        self._kept.move_to_end(path)
        source = self._kept[path]
        while self._taken > ROOM:
            self._taken -= self._kept.popitem(last=False)[1].size
        return source

    def _keep(self, path: Path, source: Source) -> None:
        self._kept[path] = source
        self._taken += source.size

    def _read(self, path: Path) -> Source:
        start = self._place[path]
        found = first_sound(self._files, start, Path, read_hashed, self.damaged)
        if found is None:
            raise DataError(f"all sources are damaged, the last: {self.damaged[path]}")
        sound, (picture, sha256) = found
        levels = self._info.levels_of(picture)
        return Source(sound, sha256, picture, levels, seen_whole(picture, self._info, levels))


def seen_whole(picture: Picture, info: ModelInfo, levels: Levels) -> tuple[View, Tensor] | None:
    """What the model sees of a picture, where it sees all of it; else None."""
    viewer = Viewer(info.form.view)
    if not viewer.whole:
        return None
    view = viewer(picture.size)
    return view, model_view(picture, view, info.channels, levels)
