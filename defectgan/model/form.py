"""The form of a trained model: what its weights are of no use without."""

from collections.abc import Mapping
from typing import Any

from defectgan.methods.base import Method, Task
from defectgan.methods.config import Config, of_method
from defectgan.methods.registry import make_method, method_named
from defectgan.settings.base import Settings, part
from defectgan.settings.data import PoseConfig, ReadingConfig, ViewConfig
from defectgan.settings.load import validated


class Form(Settings):
    """The settings that build a model's networks, and those by which they see an image as they have
    learned to; those of ``method`` are of the method's ``Shape``.

    This is what a weights file is read by; the rest of a training's settings it holds as
    information alone. See docs/file-formats.md before changing it.
    """

    method: Any
    view: ViewConfig = ViewConfig()
    poses: PoseConfig = PoseConfig()
    reading: ReadingConfig = ReadingConfig()

    @classmethod
    def of(cls, config: Config) -> "Form":
        """That of a training."""
        shape = method_named(config.method.name).Shape
        return _kind(config.method.name)(
            method=part(shape, config.method),
            view=part(ViewConfig, config.data),
            poses=part(PoseConfig, config.augment),
            reading=part(ReadingConfig, config.data),
        )

    def made(self, task: Task) -> Method:
        """The method for a task; it builds networks and paints, and trains nobody."""
        return make_method(self.method, task)


def _kind(name: str) -> type[Form]:
    return of_method(Form, name, method_named(name).Shape)


def form_of(tree: Mapping[str, Any], *, origin: str) -> Form:
    """The form that a header says.

    Raises:
        SettingError: if it names no method, or settings that there are not.
    """
    return validated(_kind(tree["method"]["name"]), tree, origin=origin)
