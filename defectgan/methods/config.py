"""Every setting of a training, validated once.

A setting's unit and meaning stand in its description.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import create_model, model_validator

from defectgan.methods.base import CRITIC, MethodShape
from defectgan.methods.registry import method_named
from defectgan.settings.base import Settings
from defectgan.settings.data import AugmentConfig, DataConfig
from defectgan.settings.load import Overrides, read_tree, validated
from defectgan.settings.training import OptimConfig, TrainingConfig

# The method where none is named: the published one.
DEFAULT = "defectgan"


class Config(Settings):
    """All settings; those of ``method`` are of the kind that its name tells, see ``of_method``."""

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    method: Any
    optim: OptimConfig = OptimConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _method_fits(self) -> Self:
        self.method.check(self.data.image_size, self.optim.final_lr)
        name = self.method.name
        if self.augment.adaptive and CRITIC not in method_named(name).judging:
            raise ValueError(
                "adaptive augmentation (augment.adaptive) follows how sure the classifier is, and "
                f"the method {name} has none: leave it out"
            )
        return self


K = TypeVar("K", bound=Settings)


@cache
def of_method(kind: type[K], name: str, settings: type[MethodShape]) -> type[K]:
    """Settings of a kind whose ``method`` is of a method's own kind."""
    return create_model(
        kind.__name__, __base__=kind, method=(settings, settings.model_validate({}))
    )


def config_type(tree: Mapping[str, Any]) -> type[Config]:
    """The kind of configuration that a tree of settings is of, by the method that it names.

    Raises:
        SettingError: if there is none of that name.
    """
    name = _named(tree)
    return of_method(Config, name, method_named(name).Settings)


def _named(tree: Mapping[str, Any]) -> str:
    section = tree.get("method")
    return section.get("name", DEFAULT) if isinstance(section, Mapping) else DEFAULT


def load_config(source: str | Path, overrides: Overrides) -> Config:
    """A preset's name or a YAML file, with overrides ``{section: {key: value}}`` on top; values of
    None are left out. A file that names a ``preset`` begins with that one's settings.

    Raises:
        SettingError: if there is no such preset or file, a key is unknown, or a value is out of
            range.
    """
    tree, given, origin = read_tree(source, overrides)
    return parse_config(tree, origin=origin, overrides=given)


def parse_config(
    tree: Mapping[str, Any], *, origin: str, overrides: Overrides | None = None
) -> Config:
    """Validate a tree of settings; ``origin`` says in messages where it came from, all but
    ``overrides``.
    """
    return validated(config_type(tree), tree, origin=origin, overrides=overrides)


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
