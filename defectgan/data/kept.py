"""Masks and windows that are made of the data, kept in the cache and made again where they are
gone.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectgan.errors import DataError
from defectgan.files import cache_folder
from defectgan.images import Picture, suffix_of, write_picture

OUTLINES, CUTS = "outlines", "windows"
WRITERS = 4


def kept_mask(content: str, draw: Callable[[], NDArray[np.bool_]], of: Path) -> Path:
    """The file of a mask, drawn if it is not there.

    Args:
        content: the digest of what it is drawn from.
        draw: gives the region [H, W].
        of: the image, for messages.

    Raises:
        DataError: if it cannot be kept.
    """
    path = _place(OUTLINES, content, ".png")
    if not path.is_file():
        _keep(path, Picture((np.uint8(255) * draw())[..., None]), f"the mask of {of}")
    return path


def kept_cut(content: str, cut: Callable[[], Picture], of: Path) -> Path:
    """The file of a window, cut if it is not there; as ``kept_mask``."""
    for suffix in (".png", ".tif"):
        if (path := _place(CUTS, content, suffix)).is_file():
            return path
    picture = cut()
    path = _place(CUTS, content, suffix_of(picture))
    _keep(path, picture, f"a window of {of}")
    return path


def _place(folder: str, content: str, suffix: str) -> Path:
    return cache_folder() / folder / content[:2] / f"{content}{suffix}"


def _keep(path: Path, picture: Any, what: str) -> None:
    # Images may have the same outlines, and several processes read the same images.
    own = path.with_name(f"{path.stem}-{os.getpid()}-{threading.get_ident()}{path.suffix}")
    try:
        write_picture(own, picture)
        os.replace(own, path)
    except OSError as error:
        raise DataError(
            f"{what} cannot be kept in {path.parent}: {error.strerror}; free some room, or name "
            "another folder (DEFECTGAN_CACHE)"
        ) from error
