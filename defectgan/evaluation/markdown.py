"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def table_lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; a bar in a cell would begin another column, and is escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(c.replace("|", r"\|") for c in line) + " |" for line in lines]
