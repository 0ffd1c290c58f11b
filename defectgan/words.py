"""Pieces of sentences that are said in several places."""

import difflib
from collections.abc import Iterable, Sequence


def counted(count: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def nearest(wanted: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant, whatever its case; None where none is near."""
    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(wanted.lower(), lower, n=1)
    return lower[near[0]] if near else None


def found(names: Sequence[str], wanted: str) -> str:
    """What there is, and the name that was probably meant."""
    meant = nearest(wanted, names)
    suggestion = f"; did you mean {meant}?" if meant else ""
    return f": found {', '.join(names)}{suggestion}"
