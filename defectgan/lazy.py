"""Front doors of packages: names that are imported when somebody asks for them, so that a package
costs nothing before.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def front_door(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package.

    Args:
        package: its name.
        homes: for each name the module that has it; ``module:name`` where it is another there.

    Raises:
        AttributeError: by what is returned, if there is no such name.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, other = homes[name].partition(":")
        return getattr(import_module(module), other or name)

    return find
