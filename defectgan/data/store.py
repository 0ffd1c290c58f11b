"""Decoded images, kept in one buffer that the reading processes share."""

import mmap
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from defectgan.errors import DataError
from defectgan.settings.data import DataConfig

MIB = 2**20
# Of the disk's free space, the share that the images may take without being told to.
DISK_SHARE = 0.5

Shape = tuple[int, int, int]
Kept = NDArray[Any]
BYTE = np.dtype(np.uint8)
Kind = Literal["ram", "disk", "none"]


class Store:
    """A slot for each image, filled by whoever decodes it first; a forked process sees and fills
    the same slots.

    ``kind`` says where they are; ``whole`` whether every image has a slot.
    """

    def __init__(
        self,
        shapes: Sequence[Shape],
        config: DataConfig,
        folder: Path | None,
        depths: Sequence[np.dtype[Any]] | None = None,
    ) -> None:
        """Make room.

        Args:
            shapes: [height, width, channels] of each image, those that are drawn most often first:
                where memory is short they get the slots.
            config: where, and how much of it.
            folder: for images on the disk; None where there is none: memory serves instead.
            depths: the type of the values of each image; None for bytes in all of them.

        Raises:
            DataError: if the disk was asked for and has no room.
        """
        self._shapes = shapes
        self._depths = [BYTE] * len(shapes) if depths is None else depths
        sizes = np.array(
            [np.prod(s) * d.itemsize for s, d in zip(shapes, self._depths, strict=True)],
            dtype=np.int64,
        )
        self._ends = sizes.cumsum()
        total = int(sizes.sum())
        self.kind = _choose(config, total, folder)
        buffer = None
        if self.kind == "disk" and folder is not None:
            try:
                buffer = _on_disk(folder, total)
            except OSError as error:
                if config.cache == "disk":
                    raise DataError(
                        f"no room for {total / MIB:.0f} MiB of decoded images in {folder}: "
                        f"{error.strerror}; free some, or keep them elsewhere (data.cache)"
                    ) from error
                self.kind = "ram"  # another process has taken the room
        limit = {"ram": config.cache_mib * MIB, "disk": total, "none": 0}[self.kind]
        self._slots = int(np.searchsorted(self._ends, limit, side="right"))
        self.whole = self._slots == len(shapes)
        self.room = int(self._ends[self._slots - 1]) if self._slots else 0
        self._pixels = np.frombuffer(buffer or _memory(self.room), dtype=np.uint8)
        self._filled = np.frombuffer(_memory(self._slots), dtype=np.bool_)

    def get(self, i: int) -> Kept | None:
        """Image i, [H, W, C]; None where it is not kept yet."""
        return self._slot(i) if i < self._slots and self._filled[i] else None

    def put(self, i: int, image: Kept) -> None:
        """Keep image i, if it has a slot."""
        if i < self._slots:
            self._slot(i)[:] = image
            self._filled[i] = True

    def _slot(self, i: int) -> Kept:
        end = self._ends[i]
        start = self._ends[i - 1] if i else 0
        return self._pixels[start:end].view(self._depths[i]).reshape(self._shapes[i])


def _choose(config: DataConfig, total: int, folder: Path | None) -> Kind:
    if folder is None:
        return "none" if config.cache == "none" else "ram"
    if config.cache != "auto":
        return config.cache
    if total <= config.cache_mib * MIB:
        return "ram"
    return "disk" if total <= shutil.disk_usage(folder).free * DISK_SHARE else "ram"


def _on_disk(folder: Path, size: int) -> mmap.mmap:
    # Without a name the file is gone with the last process that has it open, however that ends.
    with tempfile.TemporaryFile(dir=folder) as file:
        # Room is taken now: a full disk found later would kill the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return mmap.mmap(file.fileno(), size)


def _memory(size: int) -> mmap.mmap:
    """Zeros that forked processes share."""
    return mmap.mmap(-1, max(1, size))
