"""What a model is for, and what builds its networks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from defectgan import __version__
from defectgan.data.index import Index
from defectgan.errors import ModelError
from defectgan.images import Levels, Picture
from defectgan.methods.base import Method, Task
from defectgan.methods.config import Config
from defectgan.methods.registry import method_named
from defectgan.model.form import Form
from defectgan.model.formats import FORMAT
from defectgan.names import safe_folders
from defectgan.networks.exemplars import poses_shown
from defectgan.words import found

# The class of images that nobody has labelled, and of those that a method made that is told none.
UNLABELLED = "unlabelled"
# The opacity above which a pixel counts as defect, where neither true masks nor painted images have
# told a better one. More would leave out what a person plainly sees.
MASK_THRESHOLD = 0.1


@dataclass(frozen=True)
class ModelInfo:
    """What a network is for: its form, the K classes (normal first), C image channels, the
    training step, whether images may have several classes at once, the levels that its rule
    found (None: the full range of each file's depth), and the mask threshold that was calibrated on
    true masks (None: it was not). ``taught_by`` is the SHA-256 of the weights of each fixed network
    that it was trained against, which must not judge it. ``sets`` are the classes, normal first,
    that the labels of each of several data sets told of, none where there was one. ``training``
    are the settings of its training as JSON, for a person: nothing here reads them.
    """

    form: Form
    classes: tuple[str, ...]
    channels: int
    step: int = 0
    multi_label: bool = False
    levels: Levels | None = None
    calibrated: float | None = None
    taught_by: tuple[str, ...] = ()
    sets: tuple[tuple[str, ...], ...] = ()
    training: str = "{}"

    @classmethod
    def of(cls, config: Config, index: Index) -> "ModelInfo":
        """Of a training with these settings on these images."""
        return cls(
            Form.of(config),
            index.classes,
            index.channels,
            multi_label=index.multi_label,
            levels=index.levels,
            sets=tuple(one.classes for one in index.sets),
            training=config.model_dump_json(),
        )

    @property
    def networks(self) -> tuple[Any, ...]:
        """All that the shape of the networks depends on."""
        return self.form.method, self.classes, self.channels, self.sets

    @cached_property
    def folders(self) -> Mapping[str, str]:
        """What the folder of each class is called."""
        return safe_folders(tuple(dict.fromkeys((*self.classes, *self.made))))

    @property
    def made(self) -> tuple[str, ...]:
        """The classes that can be asked for."""
        return self.classes[1:] if self._kind.told_classes else (UNLABELLED,)

    @property
    def _kind(self) -> type[Method]:
        return method_named(self.form.method.name)

    def after(self, earlier: "ModelInfo") -> "ModelInfo":
        """The same, of a training that goes on from these weights: it was taught by what taught
        them.
        """
        return replace(self, taught_by=(*dict.fromkeys((*self.taught_by, *earlier.taught_by)),))

    def levels_of(self, picture: Picture) -> Levels:
        """The pixel values that are -1 and 1: those that the training found, or the full range."""
        return self.levels or picture.full

    @property
    def threshold(self) -> float:
        """The opacity above which a pixel counts as defect."""
        return MASK_THRESHOLD if self.calibrated is None else self.calibrated

    def label_of(self, name: str) -> int:
        """The number of a class that can be asked for.

        Raises:
            ModelError: if the model does not know it; says which ones it knows.
        """
        if not self._kind.told_classes and name not in self.made:
            raise ModelError(
                f"the method {self.form.method.name} is told no class, so it cannot make {name}: "
                f"what it makes may look like any of {', '.join(self.classes)}; name no class"
            )
        if name not in self.made:
            raise ModelError(f"the model has no defect class {name}{found(self.made, name)}")
        return self.classes.index(name) if name in self.classes else 0

    @property
    def task(self) -> Task:
        """What its networks are for."""
        view, poses = self.form.view, self.form.poses
        square = view.image_size[0] == view.image_size[1]
        shown = poses_shown(flip=poses.flip, rotate=poses.rotate, square=square)
        sets = tuple(tuple(map(self.classes.index, known)) for known in self.sets)
        count = len(self.classes)
        return Task(self.channels, count, view.image_size, self.multi_label, shown, sets)

    def method(self) -> Method:
        """The method that builds its networks and paints with them."""
        return self.form.made(self.task)

    def metadata(self) -> dict[str, str]:
        """As strings, for the header of a weights file."""
        return {
            "format": FORMAT,
            "version": __version__,
            "form": self.form.model_dump_json(),
            "classes": json.dumps(self.classes),
            "channels": str(self.channels),
            "step": str(self.step),
            "multi_label": json.dumps(self.multi_label),
            "levels": json.dumps(self.levels),
            "calibrated": json.dumps(self.calibrated),
            "taught_by": json.dumps(self.taught_by),
            "sets": json.dumps(self.sets),
            "training": self.training,
        }
