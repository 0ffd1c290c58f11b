"""What is wrong with a mask at a glance, and whether too many are."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from defectgan.data.masks import HUGGING
from defectgan.errors import SettingError
from defectgan.inspection.measure import Measures

EMPTY, FULL, BORDER, SPECKLED = "empty", "full", "border", "speckled"
DUPLICATE, DISAGREE = "duplicate", "disagree"

# Each flag and what it says; EMPTY_AREA and so on below are where it begins.
FLAGS: Mapping[str, str] = {
    EMPTY: "next to nothing is masked",
    FULL: "nearly the whole image is masked",
    BORDER: "most of the mask lies along the border of the image",
    SPECKLED: "many small parts and no main one",
    DUPLICATE: "another image has the same content",
    DISAGREE: "pixels changed outside the mask, or nothing changed inside",
}
EMPTY_AREA = 0.0005
FULL_AREA = 0.9
SPECKS = 12
MAIN_SHARE = 0.3
# Of 255: what rounding to 8 bits changes by itself.
UNCHANGED = 0.5


def flags_of(measures: Measures) -> tuple[str, ...]:
    """The flags of a mask by its own numbers: all but DUPLICATE."""
    m = measures
    raised = {
        EMPTY: m.area < EMPTY_AREA,
        FULL: m.area > FULL_AREA,
        BORDER: m.area >= EMPTY_AREA and m.border > HUGGING,
        SPECKLED: m.components > SPECKS and m.largest < MAIN_SHARE * m.area,
        DISAGREE: m.strays > 0 or (m.change is not None and m.change < UNCHANGED),
    }
    return tuple(name for name in FLAGS if raised.get(name))


def duplicates(contents: Sequence[Hashable | None]) -> set[int]:
    """The places of a sequence whose content stands elsewhere in it, too; None is unlike all."""
    places: dict[Hashable, list[int]] = {}
    for i, content in enumerate(contents):
        if content is not None:
            places.setdefault(content, []).append(i)
    return {i for same in places.values() if len(same) > 1 for i in same}


def known_flags(names: Iterable[str]) -> tuple[str, ...]:
    """The flags of these names.

    Raises:
        SettingError: if one is unknown.
    """
    names = tuple(names)
    if unknown := [name for name in names if name not in FLAGS]:
        raise SettingError(f"no flag {unknown[0]}: expected {', '.join(FLAGS)}")
    return names


@dataclass(frozen=True)
class Gate:
    """How many images of a set may have any of some flags: the share ``most``, 0 to 1."""

    flags: tuple[str, ...]
    most: float

    def verdict(self, flagged: Sequence[Sequence[str]]) -> tuple[bool, str]:
        """Whether images with these flags pass, and the sentence that says so."""
        bad = sum(any(name in flags for name in self.flags) for flags in flagged)
        share = bad / max(len(flagged), 1)
        return share <= self.most, (
            f"{bad} of {len(flagged)} images ({share:.1%}) are flagged {' or '.join(self.flags)}; "
            f"{self.most:.1%} may be"
        )
