"""What is rejected of what was painted, and why."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from defectgan.errors import SettingError
from defectgan.generation.wishes import Amount

if TYPE_CHECKING:  # the command line names these numbers in its help, without torch
    import numpy as np
    from numpy.typing import NDArray

# Paintings that are tried for a defect before its image is given up, and rounds of candidates.
PAINTINGS, ROUNDS = 64, 8

# What the critic says of a painting, by its names in a manifest.
CONFIDENCE, SCORE, REALISM = "class_confidence", "critic_score", "realism"
NEARNESS = "nearness"
NO_ROOM, DOUBTED, UNREAL = "no room", "class confidence", "realism"
EMPTY, UNSEEN, SMALL, LARGE, BORDER = "empty", "unseen", "small", "large", "border"


@dataclass(frozen=True)
class Checks:
    """What a painting must hold to be kept; an empty mask or no visible change never does.

    Args:
        min_confidence: the critic's confidence of the class, in [0, 1].
        keep_best: the share of paintings that are kept, in (0, 1]: of 1 / ``keep_best`` of them,
            rounded up, the one that adds most to the critic's score of its good image.
        min_area, max_area: of the mask of a defect: pixels, or a share of the image.
        no_border: whether a mask must not lie along the border of the image, or of the window that
            the model saw, for the most part: what inspection flags as at the border.

    Raises:
        SettingError: if a number is out of its range.
    """

    min_confidence: float | None = None
    keep_best: float | None = None
    min_area: Amount | None = None
    max_area: Amount | None = None
    no_border: bool = False

    def __post_init__(self) -> None:
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise SettingError(f"a least confidence of {self.min_confidence:g}: expected 0 to 1")
        if self.keep_best is not None and not 0 < self.keep_best <= 1:
            raise SettingError(
                f"a share of {self.keep_best:g} that is kept: expected above 0, and at most 1"
            )
        low, high = self.min_area, self.max_area
        if low and high and low.share == high.share and low.value > high.value:
            raise SettingError(f"the least area {low} is above the largest, {high}")

    @property
    def of_critic(self) -> bool:
        """Whether it takes the critic."""
        return self.min_confidence is not None or self.keep_best is not None

    @property
    def of_mask(self) -> bool:
        """Whether more is asked of a mask than that it shows something."""
        return self.min_area is not None or self.max_area is not None or self.no_border

    @property
    def rivals(self) -> int:
        """Of how many paintings, each the surest of its candidates, one is kept."""
        return 1 if self.keep_best is None else math.ceil(round(1 / self.keep_best, 6))

    def rounds(self, candidates: int) -> int:
        """How many times so many candidates are painted before an image is given up."""
        return max(ROUNDS, PAINTINGS // candidates)

    def record(self) -> dict[str, Any]:
        """What tells them from other ones."""
        return {
            "min_confidence": self.min_confidence,
            "keep_best": self.keep_best,
            "min_area": self.min_area and str(self.min_area),
            "max_area": self.max_area and str(self.max_area),
            "no_border": self.no_border,
        }

    def of_opinion(self, verdict: Mapping[str, float]) -> tuple[str, float] | None:
        """Why the critic's opinion of the surest candidate is not enough, None where it is."""
        if self.min_confidence is not None and verdict[CONFIDENCE] < self.min_confidence:
            return DOUBTED, verdict[CONFIDENCE]
        return None

    def of_found(
        self, found: "NDArray[np.bool_]", seen: "NDArray[np.bool_]"
    ) -> tuple[str, float] | None:
        """Why the pixels [H, W] of a mask are not taken, None where they are; ``seen`` are those in
        the window that the model saw.
        """
        # Not for the help of a command, which reads the checks.
        from defectgan.data.masks import HUGGING, along_border

        area = int(found.sum())
        if self.min_area is not None and area < self.min_area.of(found.size):
            return SMALL, _shown(area, found.size, self.min_area)
        if self.max_area is not None and area > self.max_area.of(found.size):
            return LARGE, _shown(area, found.size, self.max_area)
        if self.no_border and (share := along_border(seen)) > HUGGING:
            return BORDER, round(share, 4)
        return None


def _shown(area: int, size: int, like: Amount) -> float:
    return round(area / size, 6) if like.share else area


USUAL = Checks()
