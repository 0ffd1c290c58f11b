"""What can be trained by name: each preset, its method, and the data that this needs."""

from typing import NamedTuple

from defectgan.methods.config import load_config
from defectgan.methods.registry import method_named
from defectgan.settings.load import preset_purposes


class Preset(NamedTuple):
    """A preset's ``name``, its ``method``'s, what it is ``made_for``, and the ``data`` that it
    needs, a line each.
    """

    name: str
    method: str
    made_for: str
    data: str


def presets() -> list[Preset]:
    """All of them, by name."""
    found = []
    for name, purpose in preset_purposes().items():
        method = load_config(name, {}).method.name
        found.append(Preset(name, method, purpose, method_named(method).needs))
    return found
