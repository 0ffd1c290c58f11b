"""The reference picture in whose manner defects are painted."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from defectgan.errors import ModelError
from defectgan.images import read_hashed
from defectgan.model.file import Model
from defectgan.model.pixels import model_view
from defectgan.views import Viewer


class Style(NamedTuple):
    """A reference: its file with the SHA-256, and what the model sees of it, [C, h, w] in [-1, 1];
    of a model that sees windows the one in the middle.
    """

    path: Path
    sha256: str
    image: Tensor


def read_style(path: Path, model: Model) -> Style:
    """The reference of a file.

    Raises:
        ModelError: if the model's method paints in no manner but its own.
        DataError: if the file cannot be read.
    """
    if not model.painter.method.styled:
        raise ModelError(
            f"{model.path} is of the method {model.info.form.method.name}, which has no style "
            "encoder: it cannot paint in the manner of a reference; leave the style out, or train "
            "a method that has one"
        )
    picture, digest = read_hashed(path)
    view = Viewer(model.info.form.view)(picture.size)
    seen = model_view(picture, view, model.info.channels, model.info.levels_of(picture))
    return Style(path, digest, seen)
