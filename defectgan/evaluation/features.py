"""What images are compared by: a fixed network, a classifier of their own domain, or Inception."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from defectgan import __version__
from defectgan.data.facts import digests
from defectgan.data.index import Index
from defectgan.devices import place
from defectgan.errors import ModelError, SettingError
from defectgan.evaluation.classifier import (
    SMALL,
    Recipe,
    build,
    outputs,
    train_classifier,
)
from defectgan.evaluation.fixed import Fixed, installed, size_from
from defectgan.evaluation.inception import PUBLISHED_FILE, Inception
from defectgan.evaluation.pools import Pixels, pixels, see
from defectgan.files import cache_folder, sha256, write_atomically
from defectgan.metrics.fidelity import require_fidelity
from defectgan.settings.data import DataConfig

# The size from which Inception's own 299 pixels are made.
INCEPTION_SIZE = 304
CLASSIFIERS = "domain-classifiers"
DOMAIN_STEPS = 300
# Another number whenever the same recipe comes to mean another training.
TRAINED_AS = 2


def default_features() -> str:
    """The fixed ones where they are installed: they stay the same from model to model."""
    return Fixed.name if installed() else Domain.name


@dataclass(frozen=True)
class Wanted:
    """Which features are asked for; None for their defaults."""

    name: str = field(default_factory=default_features)
    weights: Path | None = None
    image_size: str | None = None
    steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises: SettingError: if these do not go together."""
        known = (Fixed.name, Domain.name, Inception.name)
        if self.name not in known:
            raise SettingError(f"no features {self.name}: expected {', '.join(known)}")
        if self.name == Inception.name and self.weights is None:
            raise SettingError(
                f"Inception features need the file of its weights: name {PUBLISHED_FILE}, which "
                "torch-fidelity publishes"
            )
        if self.name != Inception.name and self.weights is not None:
            raise SettingError(
                f"the weights {self.weights} are of no use for {self.name} features: they are for "
                f"{Inception.name}",
                mend=("features", Inception.name),
            )
        if self.name != Domain.name and self.steps is not None:
            raise SettingError(
                f"{self.name} features are not trained here: {self.steps} steps are of no use; "
                f"they are for {Domain.name}",
                mend=("features", Domain.name),
            )

    @property
    def training_steps(self) -> int:
        """Steps of a classifier that makes them."""
        return (self.steps or DOMAIN_STEPS) if self.name == Domain.name else 0

    def seen(self, learned: DataConfig) -> DataConfig:
        """How images are seen: as the generating model does, if in another size."""
        size = self.image_size or self._own_size(learned)
        if size is None:
            return learned
        crop = learned.crop_size or min(learned.image_size) if learned.fit == "crop" else None
        tree = {"image_size": size, "fit": learned.fit, "crop_size": crop}
        try:
            return DataConfig.model_validate(tree)
        except ValidationError as error:
            raise SettingError(
                f"images cannot be compared at the size {size}: {error.errors()[0]['msg']}"
            ) from error

    def _own_size(self, learned: DataConfig) -> str | None:
        if self.name == Inception.name:
            return str(INCEPTION_SIZE)
        return size_from(learned) if self.name == Fixed.name else None


def make_features(
    wanted: Wanted,
    train: Index,
    learned: DataConfig,
    *,
    device: torch.device,
    done: Callable[[int], None] = lambda count: None,
) -> "Features":
    """The features asked for.

    Args:
        wanted: which.
        train: real images to learn from.
        learned: how the generating model sees images.
        device: where to compute.
        done: called with the number of training steps made since the last call.

    Raises:
        SettingError: if torch-fidelity, or the extra that the features need, is not installed.
        ModelError: if there is no such weights file, or it is another than was published.
        DataError: if an image is damaged.
    """
    require_fidelity()
    if wanted.weights is not None:
        return Inception(wanted.weights, device=device)
    if wanted.name == Fixed.name:
        return Fixed(wanted.seen(learned), device=device)
    recipe = Recipe(net=SMALL, steps=wanted.training_steps, seed=wanted.seed)
    return Domain(train, wanted.seen(learned), recipe, device=device, done=done)


class Features(Protocol):
    """Turns images into features [N, F], on the CPU in double precision; ``name`` stands beside
    every figure, ``facts`` tell which features they are, ``notes`` what a person should know.
    """

    name: ClassVar[str]

    @property
    def facts(self) -> dict[str, Any]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def __call__(self, images: Sequence[Pixels]) -> Tensor: ...

    def classify(self, features: Tensor) -> Tensor | None:
        """The class [N] that they show, None where the features know no classes."""


class Domain:
    """The features of a small classifier that has learned the classes from real training images.

    It is kept below the cache folder, named by the content of all that it depends on.
    """

    name: ClassVar[str] = "domain"
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        train: Index,
        seen: DataConfig,
        recipe: Recipe,
        *,
        device: torch.device,
        done: Callable[[int], None],
    ) -> None:
        """Find it in the cache, or train it.

        Args:
            train: the real images to learn from, never those that anything is held against.
            seen: how images are seen.
            recipe: how it is trained.
            device: where to compute.
            done: called with the number of steps made since the last call.

        Raises:
            DataError: if an image is damaged.
        """
        file = cache_folder() / CLASSIFIERS / f"{_key(train, seen, recipe)}.safetensors"
        if file.is_file():
            done(recipe.steps)
        else:
            made = train_classifier(pixels(see(train, seen)), recipe, device=device, done=done)
            write_atomically(file, save(_dense(made.net)))
        net = build(recipe, classes=len(train.classes), channels=train.channels)
        try:
            net.load_state_dict(load_file(file))
        except (SafetensorError, RuntimeError) as error:
            raise ModelError(f"{file} is damaged: remove it, and it is made again") from error
        self._classify = net.fc.cpu().double().requires_grad_(False)
        net.fc = nn.Identity()
        self._net = place(net, device).eval()
        self.facts = {
            "net": recipe.net,
            "steps": recipe.steps,
            "learned from": len(train.samples),
            "image size": list(seen.image_size),
            "weights": str(file),
            "weights_sha256": sha256(file),
        }

    def __call__(self, images: Sequence[Pixels]) -> Tensor:
        return outputs(self._net, images).double()

    def classify(self, features: Tensor) -> Tensor:
        """The class [N] that the classifier names."""
        logits: Tensor = self._classify(features)
        return logits.argmax(1)


def _dense(net: nn.Module) -> dict[str, Tensor]:
    return {name: t.cpu().contiguous() for name, t in net.state_dict().items()}


def _key(train: Index, seen: DataConfig, recipe: Recipe) -> str:
    """A digest of all that a classifier depends on."""
    content = digests(s.file for s in train.samples)
    looks = {"image_size": seen.image_size, "fit": seen.fit, "crop_size": seen.crop_size}
    where = {s.file: s.marks if seen.fit == "crop" else () for s in train.samples}
    parts = {
        "defectgan": __version__,
        "trained as": TRAINED_AS,
        "torch": torch.__version__,
        "recipe": {name: str(value) for name, value in vars(recipe).items()},
        "initial": recipe.weights and sha256(recipe.weights),
        "looks": looks,
        "classes": train.classes,
        "channels": train.channels,
        "levels": train.levels,
        "images": [(content[s.file], s.labels, where[s.file]) for s in train.samples],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
