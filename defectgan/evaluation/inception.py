"""The features of the Inception network, by a file that its user has."""

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from defectgan.devices import upload
from defectgan.errors import ModelError
from defectgan.evaluation.pools import Pixels
from defectgan.files import sha256
from defectgan.images import from_unit, unit
from defectgan.memory import Portions

# How the digest of the file begins that published figures are made with; it stands in its name,
# weights-inception-2015-12-05-6726825d.pth.
PUBLISHED = "6726825d"
PUBLISHED_FILE = f"weights-inception-2015-12-05-{PUBLISHED}.pth"


class Inception:
    """The 2,048 features of the Inception network of torch-fidelity, by a file that its user has:
    ``weights-inception-2015-12-05-6726825d.pth``, or its tensors as safetensors.
    """

    name: ClassVar[str] = "inception"
    notes: tuple[str, ...] = ()

    def __init__(self, weights: Path, *, device: torch.device) -> None:
        """Args: the file, and where to compute.

        Raises:
            ModelError: if it cannot be read without running code, or holds another network.
        """
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        tensors, digest = _read_tensors(weights), sha256(weights)
        # torch-fidelity unpickles what it is given: it gets what we have packed ourselves.
        packed = io.BytesIO()
        torch.save(tensors, packed)
        packed.seek(0)
        try:
            net = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=packed
            )
        except RuntimeError as error:
            raise ModelError(
                f"{weights} holds another network than torch-fidelity's Inception: "
                f"{str(error).splitlines()[1].strip()[:200]}; expected {PUBLISHED_FILE}"
            ) from error
        self._net, self._device = net.to(device), device
        if not digest.startswith(PUBLISHED):
            self.notes = (
                f"{weights} is not the file that published figures are made with (its SHA-256 "
                f"begins with {digest[:8]}, expected {PUBLISHED}): compare within this table alone",
            )
        self.facts = {"weights": str(weights), "weights_sha256": digest}

    @torch.no_grad()
    def __call__(self, images: Sequence[Pixels]) -> Tensor:
        # It takes bytes alone.
        seen = [from_unit(unit(i), np.dtype(np.uint8)) for i in images]
        colour = np.stack([np.repeat(i, 3, axis=2) if i.shape[2] == 1 else i for i in seen])
        batch = torch.from_numpy(np.ascontiguousarray(colour.transpose(0, 3, 1, 2)))

        def say_of(part: slice) -> Tensor:
            (features,) = self._net(upload(batch[part], self._device))
            return Tensor(features.cpu())

        return torch.cat(Portions(len(batch), "images to compare")(len(batch), say_of)).double()

    def classify(self, features: Tensor) -> None:
        """Inception does not know these classes."""


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, of which nothing is run."""
    if not path.is_file():
        raise ModelError(
            f"no weights at {path}: expected {PUBLISHED_FILE}, which torch-fidelity publishes"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ModelError(
            f"{path} cannot be read as tensors alone: {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(tensors, dict):
        raise ModelError(f"{path} holds a {type(tensors).__name__}; expected tensors by name")
    return tensors
