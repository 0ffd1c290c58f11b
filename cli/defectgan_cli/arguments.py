"""The argument list as people write it, brought into the form that the parser takes.

--classes a b c      ->  --classes a --classes b --classes c       (also a,b,c)
--classes -a         ->  --classes -a         (a name, where the command has no option -a)
--resume             ->  --resume latest
"""

from collections.abc import Sequence

LISTS = ("--classes", "--defect", "--format", "--fail-on", "--arms", "--ratio", "--net")
DEFAULTS = {"--resume": "latest"}


def rewrite(arguments: Sequence[str], short: Sequence[str] = ("-q", "-h")) -> list[str]:
    """Repeat list options before each of their values, and give options that may stand alone their
    default.

    A list ends at the next option; a word with one dash is none unless it is one of ``short``. A
    comma separates values too, unless it stands in a value with a space.
    """
    rewritten: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*rewritten, word, *rest]
        name, has_value, value = word.partition("=")
        if name in LISTS:
            values = [value] if has_value else _take_values(rest, short)
            parts = [part for v in values for part in _split(v)]
            rewritten += [w for part in parts for w in (name, part)] or [name]
        elif word in DEFAULTS and (not rest or _is_option(rest[0])):
            rewritten += [word, DEFAULTS[word]]
        else:
            rewritten.append(word)
    return rewritten


def _take_values(rest: list[str], short: Sequence[str]) -> list[str]:
    values = []
    while rest and not rest[0].startswith("--") and rest[0] not in short:
        values.append(rest.pop(0))
    return values


def _split(value: str) -> list[str]:
    return [value] if " " in value else [part for part in value.split(",") if part]


def _is_option(word: str) -> bool:
    return word.startswith("-") and len(word) > 1
