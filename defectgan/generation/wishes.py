"""What a person may wish of the paintings besides their class: where, how large, how many, how
strong.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from defectgan.errors import SettingError

if TYPE_CHECKING:  # the command line reads numbers alone
    from defectgan.generation.where import Area

_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+")
STRONGEST = 2.0


class Amount(NamedTuple):
    """Pixels, or a ``share`` of a whole: what is written with a decimal point is a share."""

    value: float
    share: bool = False

    @classmethod
    def read(cls, text: str) -> "Amount":
        """From ``24`` (pixels) or ``0.2`` (a share).

        Raises:
            SettingError: if it is neither.
        """
        text = text.strip()
        share = "." in text
        if not _NUMBER.fullmatch(text) or (share and float(text) > 1):
            raise SettingError(
                f"{text or 'nothing'} is no amount: expected whole pixels, such as 24, or a share "
                "with a decimal point, such as 0.2, of 1.0 at most"
            )
        return cls(float(text), share)

    def of(self, whole: float) -> float:
        """In pixels."""
        return self.value * whole if self.share else self.value

    def __str__(self) -> str:
        return str(self.value) if self.share else f"{self.value:.0f}"


class Span(NamedTuple):
    """From one amount to another, both included."""

    low: Amount
    high: Amount

    @classmethod
    def read(cls, text: str) -> "Span":
        """From ``LO..HI``, or one amount for both.

        Raises:
            SettingError: if it is neither, is empty or begins at 0.
        """
        low, high = (Amount.read(part) for part in _ends(text))
        if low.share != high.share or low.value > high.value or not low.value:
            raise SettingError(
                f"{text} is no range of sizes: expected LO..HI with 0 < LO <= HI, both in pixels "
                "or both as shares with a decimal point, such as 16..48 or 0.1..0.3"
            )
        return cls(low, high)

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"


def read_count(text: str) -> tuple[int, int]:
    """The smallest and the largest number that ``LO..HI``, or one number, stands for.

    Raises:
        SettingError: if it is neither.
    """
    low, high = _ends(text)
    if not (low.isdecimal() and high.isdecimal() and 1 <= int(low) <= int(high)):
        raise SettingError(
            f"{text} is no range of numbers: expected LO..HI with 1 <= LO <= HI, such as 1..3"
        )
    return int(low), int(high)


def _ends(text: str) -> tuple[str, str]:
    low, dots, high = text.partition("..")
    return low.strip(), (high if dots else low).strip()


@dataclass(frozen=True)
class Wishes:
    """How the defects of an image shall be painted.

    Args:
        where: where defects may be; None leaves it to the model.
        forbidden: where none may be.
        size: width and height of the region that is drawn for each defect, in pixels or as shares
            of the image's width and height; None takes all that is allowed.
        count: how many defects an image has, of each of its classes.
        together: whether all classes are painted into each image, instead of one in turn.
        strength: scales what is painted: 0 is the good image itself, 1 what the model paints, 2 the
            most.

    Raises:
        SettingError: if the strength is out of its range.
    """

    where: "Area | None" = None
    forbidden: "Area | None" = None
    size: Span | None = None
    count: tuple[int, int] = (1, 1)
    together: bool = False
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= STRONGEST:
            raise SettingError(f"a strength of {self.strength:g}: expected 0 to {STRONGEST:g}")

    @classmethod
    def read(
        cls, *, size: str | None, count: str, together: bool = False, strength: float = 1.0
    ) -> "Wishes":
        """From what a person writes; where defects may be is read by ``read_area``.

        Raises:
            SettingError: if a range cannot be, or the strength is out of its range.
        """
        return cls(
            size=None if size is None else Span.read(size),
            count=read_count(count),
            together=together,
            strength=strength,
        )

    def several(self, classes: int) -> bool:
        """Whether an image may have more than one defect, where there are so many classes."""
        return self.count[1] > 1 or (self.together and classes > 1)

    def record(self) -> dict[str, Any]:
        """What tells them from other ones; None where nothing is wished, as in sets that knew no
        wishes.
        """
        usual = Wishes()
        return {
            "where": self.where and self.where.record(),
            "forbidden": self.forbidden and self.forbidden.record(),
            "size": self.size and str(self.size),
            "count": None if self.count == usual.count else list(self.count),
            "together": self.together or None,
            "strength": None if self.strength == usual.strength else self.strength,
        }


USUAL = Wishes()
