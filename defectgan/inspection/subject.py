"""What is judged: an image, its mask, and what is known of both."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectgan.metrics.arrays import Mask as Mask
from defectgan.metrics.arrays import Region as Region

RESTORED, DEFACED, GENERATED = "restored", "defaced", "generated"

Pixels = NDArray[np.uint8]
# Left, top, width, height in shares of an image.
Place = tuple[float, float, float, float]


@dataclass(frozen=True)
class Subject:
    """An image whose mask is judged.

    ``direction`` says what was done: RESTORED, DEFACED or GENERATED; ``before`` and ``after``
    [H, W, C] are the image without and with what the mask says was changed; ``truth`` [H, W] is the
    true mask; ``again`` [H, W] the mask by which the model takes away what it has just painted;
    ``change`` [H, W] how far each pixel went, in 1/255 of its range; ``strays`` counts the pixels
    that changed where the mask is 0; ``place`` is what part of its image this is; images of one
    ``digest`` have the same content.
    """

    name: str
    defect: str
    direction: str
    before: Pixels | None
    after: Pixels
    mask: Mask
    truth: Region | None = None
    again: Mask | None = None
    change: Mask | None = None
    strays: int = 0
    place: Place = (0, 0, 1, 1)
    digest: str = ""
