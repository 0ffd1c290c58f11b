"""The methods by their names; a method is imported when it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from defectgan.errors import SettingError
from defectgan.words import found

if TYPE_CHECKING:
    from defectgan.methods.base import Method, MethodShape, Task

# The module of each, in this package, and its class there.
METHODS = {
    "acgan": "ACGAN",
    "cgan": "CGAN",
    "cyclegan": "CycleGAN",
    "defectgan": "DefectGAN",
    "exemplar": "Exemplar",
    "gan": "GAN",
    "pix2pix": "Pix2Pix",
    "pix2pixhd": "Pix2PixHD",
    "robust": "Robust",
    "spade": "SPADE",
    "stargan": "StarGAN",
    "starganv2": "StarGANv2",
    "wgan": "WGAN",
    "wgan-gp": "WGANGP",
}


def method_named(name: Any) -> "type[Method]":
    """A method's class.

    Raises:
        SettingError: if there is none of that name.
    """
    if not isinstance(name, str) or name not in METHODS:
        raise SettingError(f"no method {name}{found(tuple(METHODS), str(name))}")
    module = import_module(f"defectgan.methods.{name.replace('-', '_')}")
    kind: type[Method] = getattr(module, METHODS[name])
    return kind


def make_method(settings: "MethodShape", task: "Task") -> "Method":
    """The method whose settings these are, or whose shape, for a task."""
    return method_named(settings.name)(settings, task)
