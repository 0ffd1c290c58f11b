"""What the networks see of an image, and where what they paint belongs in it.

resize     the whole image, stretched to the networks' frame
letterbox  the whole image in its proportions; beside it the frame repeats the image's border
crop       a window at a fixed scale, one image pixel a frame pixel unless it is told otherwise

A frame is H x W pixels of the networks; windows are [left, top, width, height].
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defectgan.images import resize
from defectgan.settings.data import ViewConfig


class Window(NamedTuple):
    """Whole pixels of an image or a frame."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, planes: Any) -> Any:
        """This part of an array or tensor [..., H, W]."""
        left, top, width, height = self
        return planes[..., top : top + height, left : left + width]

    def holds_centre(self, box: tuple[float, float, float, float]) -> bool:
        """Whether the middle of a box lies in here."""
        x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
        return 0 <= x - self.left < self.width and 0 <= y - self.top < self.height


@dataclass(frozen=True)
class View:
    """``window`` of an image, resampled into ``inside`` of a frame [height, width]."""

    window: Window
    inside: Window
    frame: tuple[int, int]

    def finer(self, times: int) -> "View":
        """The same with so many frame pixels for each, each way."""
        inside = Window(*(times * length for length in self.inside))
        return View(self.window, inside, (times * self.frame[0], times * self.frame[1]))

    def see(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """The frame [h, w, C] of an image [H, W, C]; beside the image its border is repeated."""
        left, top, width, height = self.window
        part = pixels[top : top + height, left : left + width]
        seen = resize(part, self.inside.width, self.inside.height)
        rows, columns = (
            (before, total - before - length)
            for before, length, total in (
                (self.inside.top, self.inside.height, self.frame[0]),
                (self.inside.left, self.inside.width, self.frame[1]),
            )
        )
        if not any((*rows, *columns)):
            return seen
        return np.pad(seen, (rows, columns, (0, 0)), mode="edge")


class Viewer:
    """Makes the view of an image that the settings ask for."""

    def __init__(self, config: ViewConfig) -> None:
        self.frame = config.image_size
        self._fit = config.fit
        # Image pixels a frame pixel.
        self._scale = (config.crop_size or min(self.frame)) / min(self.frame)

    @property
    def reach(self) -> tuple[int, int]:
        """Height and width in image pixels of a window that fills the frame."""
        return round(self.frame[0] * self._scale), round(self.frame[1] * self._scale)

    @property
    def whole(self) -> bool:
        """Whether an image has one view only, of all of it."""
        return self._fit != "crop"

    def __call__(
        self,
        shape: tuple[int, int],
        *,
        rng: np.random.Generator | None = None,
        around: tuple[float, float, float, float] | None = None,
    ) -> View:
        """The view of an image.

        Args:
            shape: the image's height and width.
            rng: draws where a window lies; None takes the middle of where it may lie.
            around: [left, top, width, height] of what a window shall hold; as much as there is room
                for where that is larger.
        """
        rows, columns = shape
        height, width = self.frame
        if self._fit == "resize":
            return View(Window(0, 0, columns, rows), Window(0, 0, width, height), self.frame)
        if self._fit == "letterbox":
            scale = max(rows / height, columns / width)
            return View(Window(0, 0, columns, rows), self._inside(columns, rows, scale), self.frame)
        high, wide = self.reach
        left, across = _place(columns, wide, around and around[0::2], rng)
        top, down = _place(rows, high, around and around[1::2], rng)
        return View(
            Window(left, top, across, down), self._inside(across, down, self._scale), self.frame
        )

    def _inside(self, columns: int, rows: int, scale: float) -> Window:
        """The middle of the frame, as large as this many image pixels are there."""
        height, width = self.frame
        across = min(width, max(1, round(columns / scale)))
        down = min(height, max(1, round(rows / scale)))
        return Window((width - across) // 2, (height - down) // 2, across, down)


def _place(
    total: int, length: int, span: tuple[float, ...] | None, rng: np.random.Generator | None
) -> tuple[int, int]:
    """Start and length of a window of ``length`` along an axis of ``total`` pixels; ``span`` is the
    start and length of what it shall hold.
    """
    length = min(length, total)
    first, last = 0, total - length
    if span is not None:
        # It holds the span from its end minus the window's length up to the span's start; where the
        # span is longer than the window, every place between the two lies inside the span.
        ends = sorted((round(span[0] + span[1]) - length, round(span[0])))
        first, last = (min(max(end, 0), total - length) for end in ends)
    start = (first + last) // 2 if rng is None else int(rng.integers(first, last + 1))
    return start, length
