"""The fixed network whose features a perceptual loss compares."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from defectgan.devices import place
from defectgan.errors import ModelError
from defectgan.files import sha256
from defectgan.networks.imagenet import RELEASES, ImagenetFeatures, Name, imagenet, weights_of
from defectgan.networks.vgg import Vgg

# By this name the network that the extra 'features' brings, and that does not judge.
INSTALLED: Name = "lite0"


class Features(Protocol):
    """A fixed network: the ``maps`` that it has of images [B, C, H, W] in [-1, 1], and what each of
    them weighs, None: all alike.
    """

    weights: Sequence[float] | None

    def maps(self, image: Tensor) -> list[Tensor]: ...


class Seeing(nn.Module):
    """The fixed network that comes in a package, whose maps all weigh alike."""

    weights = None

    def __init__(self, network: ImagenetFeatures) -> None:
        super().__init__()
        self.network = network

    def maps(self, image: Tensor) -> list[Tensor]:
        """Those of its last stages with cells of 8, 16 and 32 pixels."""
        return self.network.maps(image)


def weights_at(source: str) -> Path | None:
    """The file of weights that ``source`` names, by its path or as ``INSTALLED``; None if it is not
    there.
    """
    file = weights_of(INSTALLED) if source == INSTALLED else Path(source)
    return file if file is not None and file.is_file() else None


def digest_of(source: str) -> str:
    """The SHA-256 of the file of weights that ``source`` names."""
    file = weights_at(source)
    if file is None:
        raise ModelError(f"no weights of fixed features at {source}")
    return sha256(file)


def perceptual_features(source: str, device: torch.device) -> Features:
    """The network whose weights ``source`` names: ``INSTALLED``, or a file of VGG-19's as
    torchvision names its tensors, or of the fixed network's as it was published.

    Raises:
        SettingError: if it is not installed.
        ModelError: if the file is of no such network.
    """
    if source == INSTALLED:
        return cast(Features, Seeing(imagenet(INSTALLED, device=device)))
    digest, file = digest_of(source), Path(source)
    tensors = _read(file)
    for name, release in RELEASES.items():
        if digest == release.sha256:
            known = ImagenetFeatures(cast(Name, name), dict(tensors), digest)
            return cast(Features, place(Seeing(known), device))
    try:
        return cast(Features, place(Vgg(tensors), device))
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"{file} holds no weights of a network that is known: expected VGG-19's as torchvision "
            "names them (features.0.weight, ...), or a published file of EfficientNet-Lite "
            f"({error})"
        ) from error


def _read(file: Path) -> Mapping[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        tensors: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise ModelError(f"{file} cannot be read as a file of weights: {error}") from error
    except Exception as error:  # what torch raises of a file that would have to be unpickled
        raise ModelError(
            f"{file} is no plain file of weights: {str(error).partition(chr(10))[0]}"
        ) from error
    if not isinstance(tensors, Mapping):
        raise ModelError(f"{file} holds a {type(tensors).__name__}: expected named tensors")
    return tensors
