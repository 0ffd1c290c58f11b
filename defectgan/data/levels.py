"""What is black and white to the networks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from defectgan.data.facts import Facts
from defectgan.errors import DataError
from defectgan.heads import Header, probe
from defectgan.images import Levels, decoded, read_picture
from defectgan.words import counted

# Images by which black and white are found.
LEVEL_IMAGES = 64
# Deep files that use a smaller share of their range are a camera's with fewer bits: 14 of 16 bits
# are a quarter.
DIM = 0.3


def find_levels(root: Path, files: Sequence[Path], rule: str) -> Levels:
    """Black and white by the values of good images.

    Args:
        root: the data folder, for messages.
        files: good images spread over it.
        rule: minmax or percentile, see ``DataConfig.levels``.

    Raises:
        DataError: if they have several depths or one value only, or none can be read.
    """
    share = 0.1 if rule == "percentile" else 0.0
    depths, ends = set(), []
    for file in files:
        try:
            pixels = read_picture(file).pixels
        except DataError:
            continue  # it will be named when it is drawn
        depths.add(pixels.dtype)
        ends.append(np.percentile(pixels, [share, 100 - share]))
    if len(depths) > 1:
        raise DataError(
            f"{root} has images of different depths: one rule ({rule}) cannot serve them; "
            "convert them, or take the levels full"
        )
    if not ends:
        raise DataError(f"the good images of {root} are damaged: none could be read")
    black, white = float(min(low for low, _ in ends)), float(max(high for _, high in ends))
    if not white > black:
        raise DataError(f"the good images of {root} have one value only, {black}")
    return Levels(black, white)


def _whitest(file: Path) -> int:
    with decoded(file) as picture:
        return int(picture.pixels.max())


def about_dim(files: Sequence[Path], facts: Facts) -> list[str]:
    """What a person must know of 16-bit files that hold fewer bits: by the levels full they are
    black to the networks.
    """
    some = files[:: -(-len(files) // LEVEL_IMAGES) or 1]
    heads = facts.of("header", some, probe)
    deep = [
        file
        for file, head in heads.items()
        if not isinstance(head, DataError) and Header(*head).bits == 16
    ]
    whitest = facts.of("whitest", deep, _whitest)
    values = [value for value in whitest.values() if not isinstance(value, DataError)]
    share = max(values, default=2**16) / 2**16
    if share > DIM:
        return []
    return [
        f"16-bit files use at most {share * 100:.0f} % of their range "
        f"({counted(len(values), 'file')} looked at) and are nearly black to the networks: train "
        "with data.levels minmax"
    ]
