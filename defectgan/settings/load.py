"""Settings from files: presets, what is laid over them, and what is said where they are wrong.

Presets in ``configs/`` hold overrides only; what they leave out has its default, or the value of
the preset that they begin with.
"""

import os
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from defectgan.errors import SettingError
from defectgan.settings.base import S, Settings
from defectgan.settings.earlier import as_today
from defectgan.words import nearest

# In a file of settings: the preset that it begins with.
BASE = "preset"
# The folder of the presets.
PRESETS = "configs"
# Where a setting came from that no file holds.
OVERRIDES = "the command line or the environment"

Overrides = Mapping[str, Mapping[str, Any]]


def preset_folder() -> Path:
    """Where the presets lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / PRESETS
    return inside if inside.is_dir() else package.parent / PRESETS


def preset_purposes() -> dict[str, str]:
    """What each preset is for: the first words of its file, after "For", up to a colon or a full
    stop.
    """
    files = {path.stem: path for path in preset_folder().glob("*.yaml")}
    return {name: _purpose(files[name].read_text(encoding="utf-8")) for name in sorted(files)}


def _purpose(text: str) -> str:
    head = takewhile(lambda line: line.startswith("#"), text.splitlines())
    words = " ".join(line.removeprefix("#").strip() for line in head)
    return re.split(r"[:.](?: |$)", words.removeprefix("For "), maxsplit=1)[0]


def default_preset(device: str) -> str:
    """The preset of a training that names none, by the type of the device that it computes on."""
    return "quick" if device == "cpu" else "standard"


def read_tree(source: str | Path, overrides: Overrides) -> tuple[dict[str, Any], Overrides, str]:
    """The settings of a preset or a YAML file with overrides ``{section: {key: value}}`` on top,
    those overrides of them that are given, values of None are not, and where they came from. A file
    that names a ``preset`` begins with that one's settings.

    Raises:
        SettingError: if there is no such preset or file.
    """
    path = _find(source)
    given = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in overrides.items()
    }
    return _laid_over(_read(path), given), given, str(path)


def validated(
    kind: type[S],
    tree: Any,
    *,
    origin: str,
    overrides: Overrides | None = None,
) -> S:
    """Settings of a kind from a tree, as ``parse_config``.

    Raises:
        SettingError: if a key is unknown, or a value out of range.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        # The two sides of a size may be wrong for the same reason.
        said = dict.fromkeys(_explain(kind, e, origin, overrides or {}) for e in error.errors())
        raise SettingError("\n".join(said)) from error


def names_setting(source: str | Path, section: str, key: str) -> bool:
    """Whether a YAML file itself names a setting; a preset does not, nor does a file for the one
    that it begins with.

    Raises:
        SettingError: as ``load_config``.
    """
    path = _find(source)
    settings = _own(path).get(section)
    return path == Path(source) and isinstance(settings, dict) and key in settings


def _read(path: Path) -> dict[str, Any]:
    """The settings of a file, over those of the preset that it begins with."""
    tree = _own(path)
    preset = tree.pop(BASE, None)
    if preset is None:
        return as_today(tree, origin=str(path))
    try:
        below = _read(_preset(preset))
    except SettingError as error:
        raise SettingError(f"{BASE} in {path}: {error}") from error
    return _laid_over(below, as_today(tree, below, origin=str(path)))


def _own(path: Path) -> dict[str, Any]:
    """What stands in a file itself."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise SettingError(f"{path} holds a {type(tree).__name__}; expected sections of settings")
    return tree


def _laid_over(tree: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of settings with those of ``top`` in their place; what is no section is left for
    the validation to refuse.
    """
    merged = {**tree}
    for section, values in top.items():
        below = tree.get(section) or {}
        both = isinstance(values, Mapping) and isinstance(below, Mapping)
        merged[section] = {**below, **values} if both else values or below
    return merged


def _find(source: str | Path) -> Path:
    path = Path(source)
    return path if path.is_file() else _preset(source)


def _preset(name: str | Path) -> Path:
    preset = preset_folder() / f"{name}.yaml"
    if os.sep not in str(name) and preset.is_file():
        return preset
    known = ", ".join(sorted(p.stem for p in preset_folder().glob("*.yaml")))
    raise SettingError(
        f"no configuration {name}: expected a YAML file or one of the presets {known}"
    )


def _explain(kind: type[Settings], error: Any, origin: str, overrides: Overrides) -> str:
    loc = [part for part in error["loc"] if isinstance(part, str)]
    where = ".".join(loc) or "the settings"
    if error["type"] == "extra_forbidden":
        return f"unknown setting {where} in {origin}{_nearest(kind, error['loc'])}"
    origin = _source(loc, origin, overrides)
    message = error["msg"].removeprefix("Value error, ")
    found = "" if isinstance(error["input"], dict) else f": found {error['input']!r}"
    return f"{where}{found}; {message[0].lower()}{message[1:]} ({origin})"


def _source(loc: Sequence[str], origin: str, overrides: Overrides) -> str:
    """Where the settings that a message is about came from; one of a whole section or of several
    may be about either.
    """
    if len(loc) > 1:
        return OVERRIDES if loc[1] in overrides.get(loc[0], ()) else origin
    given = overrides.get(loc[0]) if loc else any(overrides.values())
    return f"{OVERRIDES}, and {origin}" if given else origin


def _nearest(kind: type[Settings], loc: tuple[Any, ...]) -> str:
    model: Any = kind
    for part in loc[:-1]:
        model = model.model_fields[part].annotation
    meant = nearest(str(loc[-1]), model.model_fields)
    return f"; did you mean {meant}?" if meant else f"; known: {', '.join(model.model_fields)}"
