"""Real images that more like them are wanted of: what a detector missed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from defectgan.data.layouts.base import is_mask_folder, subfolders
from defectgan.data.layouts.table_rows import LABEL_SEPARATOR, read_rows
from defectgan.data.samples import is_normal_name
from defectgan.data.walk import find_images
from defectgan.errors import DataError, SettingError
from defectgan.files import digest, sha256
from defectgan.images import read_picture
from defectgan.methods.base import CRITIC
from defectgan.model.file import Model
from defectgan.model.pixels import model_view
from defectgan.networks.critic import Critic
from defectgan.networks.imagenet import BATCH, Name, imagenet, weights_of
from defectgan.views import Viewer
from defectgan.words import found

# Not the network that judges: what was chosen by it would look good to it.
CHOOSER: Name = "lite0"


@dataclass(frozen=True)
class Examples:
    """Real images of each class, ``files``, and what tells them from others."""

    files: Mapping[str, tuple[Path, ...]]
    sha256: str

    @property
    def shares(self) -> dict[str, int]:
        """How many there are of each class."""
        return {name: len(files) for name, files in self.files.items()}


def read_examples(place: Path, classes: Sequence[str]) -> Examples:
    """The images of a table with the columns ``file`` and ``labels``, its files relative to it, or
    of a folder with one folder a class.

    Raises:
        DataError: if there are none, or one is of a class that cannot be painted.
    """
    told = _of_table(place) if place.is_file() else _of_folder(place)
    for name, file in told:
        if name not in classes:
            raise DataError(f"{file} is of a class {name}{found(classes, name)}")
        if not file.is_file():
            raise DataError(f"{place} names {file}, which is not there")
    if not told:
        raise DataError(
            f"no images in {place}: expected a folder with one folder a class, or a table with the "
            "columns file and labels"
        )
    counted = Counter(name for name, _ in told)
    files = {name: tuple(f for n, f in told if n == name) for name in classes if counted[name]}
    content = "\n".join(sorted(f"{name} {sha256(file)}" for name, file in told))
    return Examples(files, digest(content.encode()))


def _of_table(table: Path) -> list[tuple[str, Path]]:
    told = []
    for where, row in read_rows(table)[0]:
        names, file = str(row.get("labels") or ""), row.get("file")
        if not file or not names or LABEL_SEPARATOR in names:
            raise DataError(f"{where}: expected a file and one class")
        told.append((names.strip(), table.parent / str(file).strip()))
    return told


def _of_folder(folder: Path) -> list[tuple[str, Path]]:
    """The images of the class folders; good images and masks beside them are none."""
    if not folder.is_dir():
        return []
    classes = {
        name: path
        for name, path in subfolders(folder).items()
        if not (is_normal_name(name) or is_mask_folder(name))
    }
    return [(name, file) for name, path in classes.items() for file in find_images(path).images]


def can_tell(model: Model) -> bool:
    """Whether there is anything to compare images by."""
    return model.painter.has_critic or weights_of(CHOOSER) is not None


class Likeness:
    """Tells how near images are to the examples of their class: by the fixed features where they
    are installed, else by those of the model's critic.
    """

    def __init__(self, examples: Examples, model: Model, device: torch.device) -> None:
        """Args: the real images, the model as which they are seen, which ``can_tell``, and where to
        compute.

        Raises:
            SettingError: if the model sees windows of an image alone.
            DataError: if an example cannot be read.
        """
        viewer = Viewer(model.info.form.view)
        if not viewer.whole:
            raise SettingError(
                "this model sees windows of an image, and where the defect of an example lies is "
                "not known: cut the examples out and train with whole images"
            )
        self._model, self._viewer, self._device = model, viewer, device
        self._fixed = None
        if weights_of(CHOOSER) is not None:
            self._fixed = imagenet(CHOOSER, device=device)
        self._real = {
            model.info.label_of(name): torch.cat(
                [self._of_files(files[i : i + BATCH]) for i in range(0, len(files), BATCH)]
            )
            for name, files in examples.files.items()
        }

    @torch.no_grad()
    def __call__(self, painted: Tensor, labels: Sequence[int]) -> list[float]:
        """For each image [B, C, H, W] the cosine of the angle between its features and those of the
        nearest example of its class, in [-1, 1].
        """
        features = self._features(painted)
        return [
            float((self._real[label] @ one).amax())
            for one, label in zip(features, labels, strict=True)
        ]

    @torch.no_grad()
    def _of_files(self, files: Sequence[Path]) -> Tensor:
        info, seen = self._model.info, []
        for file in files:
            picture = read_picture(file)
            levels = info.levels_of(picture)
            seen.append(model_view(picture, self._viewer(picture.size), info.channels, levels))
        return self._features(torch.stack(seen).to(self._device))

    def _features(self, images: Tensor) -> Tensor:
        """[B, F], of length 1."""
        if self._fixed is not None:
            return F.normalize(
                torch.cat(
                    [self._fixed(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
                )
            )
        critic = cast(Critic, self._model.painter.networks[CRITIC])
        return F.normalize(critic.features(images).float())
