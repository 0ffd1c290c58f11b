"""Good windows from beside the defects, for sets that have no good images of their own."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectgan.data.kept import kept_cut
from defectgan.data.masks import read_region
from defectgan.data.samples import Cut, Sample
from defectgan.errors import DataError, SettingError
from defectgan.files import digest
from defectgan.heads import Header
from defectgan.images import Picture, read_picture
from defectgan.settings.data import ViewConfig
from defectgan.views import Viewer

# Windows of one image at most, so that no image is most of what is good.
PER_IMAGE = 4
# Pixels beside a box that are not trusted to be good.
MARGIN = 4


def background(samples: Sequence[Sample], config: ViewConfig) -> list[Sample]:
    """The samples, and good windows of those whose defects are all known to lie elsewhere; a window
    stays on the side of a split on which its image is.

    Args:
        samples: with headers and marks.
        config: how images are seen.

    Raises:
        SettingError: if they are not seen through windows: a part would be another size.
        DataError: if a file is damaged, or windows cannot be kept.
    """
    if config.fit != "crop":
        raise SettingError(
            "good windows from beside the defects are parts of images: they serve with data.fit "
            f"crop alone, and it is {config.fit}"
        )
    height, width = Viewer(config).reach
    made: list[Sample] = []
    for sample in samples:
        if not sample.labels or not (sample.marks or sample.mask):
            made.append(sample)
            continue
        sample = replace(sample, group=sample.group or str(sample.file))
        made.append(sample)
        made += [_good(sample, window) for window in _free(sample, height, width)]
    return made


def _good(sample: Sample, window: tuple[int, int, int, int]) -> Sample:
    assert sample.header is not None
    cut = Cut(sample.file, window)
    header = Header(window[2], window[3], sample.header.channels, sample.header.bits, 1)
    return Sample(cut_file(cut), (), group=sample.group, split=sample.split, header=header, cut=cut)


def cut_file(cut: Cut) -> Path:
    """The file of a window, cut anew if it is gone.

    Raises:
        DataError: if what it is cut from is damaged or gone, or it cannot be kept.
    """
    try:
        status = cut.file.stat()
    except OSError as error:
        raise DataError(f"cannot read {cut.file}: {error.strerror}") from error
    stamp = str(cut.file.absolute()), status.st_mtime_ns, status.st_size, cut.window
    content = digest(repr(stamp).encode("utf-8", "surrogateescape"))

    def drawn() -> Picture:
        picture, (left, top, width, height) = read_picture(cut.file), cut.window
        rows, columns = slice(top, top + height), slice(left, left + width)
        alpha = None if picture.alpha is None else picture.alpha[rows, columns]
        pixels = np.ascontiguousarray(picture.pixels[rows, columns])
        return replace(picture, pixels=pixels, alpha=alpha)

    return kept_cut(content, drawn, cut.file)


def _free(sample: Sample, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Windows of this size without a defect, none over another, spread over the image."""
    assert sample.header is not None
    rows, columns = sample.header.height, sample.header.width
    height, width = min(height, rows), min(width, columns)
    sums = _defects(sample).cumsum(0).cumsum(1)
    sums = np.pad(sums, ((1, 0), (1, 0)))
    chosen: list[tuple[int, int, int, int]] = []
    for top, left in _places(rows, columns, height, width):
        bottom, right = top + height, left + width
        inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        over = any(abs(left - x) < width and abs(top - y) < height for x, y, _, _ in chosen)
        if not inside and not over:
            chosen.append((left, top, width, height))
    step = max(1, len(chosen) // PER_IMAGE)
    return chosen[::step][:PER_IMAGE]


def _places(rows: int, columns: int, height: int, width: int) -> Iterator[tuple[int, int]]:
    for top in _starts(rows, height):
        for left in _starts(columns, width):
            yield top, left


def _starts(total: int, length: int) -> list[int]:
    step = max(1, length // 4)
    return [*range(0, total - length, step), total - length]


def _defects(sample: Sample) -> NDArray[np.int64]:
    """1 where a defect may be, [H, W]."""
    assert sample.header is not None
    taken = np.zeros((sample.header.height, sample.header.width), np.int64)
    if sample.mask is not None:
        taken |= read_region(sample.mask)
    for x, y, width, height in (mark.box for mark in sample.marks):
        top, left = max(0, int(y) - MARGIN), max(0, int(x) - MARGIN)
        taken[top : int(y + height) + MARGIN + 1, left : int(x + width) + MARGIN + 1] = 1
    return taken
