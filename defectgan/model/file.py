"""Weights files: what a run keeps to generate with, and the state to go on from.

``state.safetensors`` holds everything that resuming needs in one file: of two files one could be a
step ahead of the other after a kill. Nothing is ever unpickled.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from defectgan.devices import place
from defectgan.errors import ModelError, SettingError
from defectgan.files import sha256, write_atomically
from defectgan.images import Levels
from defectgan.model.form import form_of
from defectgan.model.formats import as_today
from defectgan.model.info import ModelInfo
from defectgan.model.painter import Painter
from defectgan.names import name_fault
from defectgan.runs import RunFolder
from defectgan.settings.load import preset_folder
from defectgan.settings.training import HEAD_START
from defectgan.words import counted

CPU = torch.device("cpu")


# What a header holds as JSON, in every format that is read.
FACTS = ("form", "classes", "channels", "step", "multi_label", "levels", "calibrated")
# In records of what a model has made: its identity.
MODEL = "model_sha256"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], info: ModelInfo) -> None:
    """Write tensors and what they are for as one safetensors file."""
    dense = {name: t.detach().to("cpu").contiguous() for name, t in tensors.items()}
    write_atomically(path, save(dense, metadata=info.metadata()))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], ModelInfo]:
    """Read a file that ``save_tensors`` wrote.

    Raises:
        ModelError: if it is missing, damaged, or was not written by defectgan.
    """
    with _opened(path) as file:
        return _tensors(file), _info(path, file)


def _tensors(file: Any) -> dict[str, Tensor]:
    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def read_info(path: Path) -> ModelInfo:
    """What the tensors of a file are for, from its header alone.

    Raises:
        ModelError: if it is missing, damaged, or was not written by defectgan.
    """
    with _opened(path) as file:
        return _info(path, file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise ModelError(
            f"no weights at {path}: expected a run folder or a .safetensors file; a run "
            "has weights from its first step on"
        )
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a whole safetensors file: {error}") from error


def _info(path: Path, file: Any) -> ModelInfo:
    try:
        header = as_today(file.metadata() or {})
        facts = {name: _parsed(name, header[name]) for name in FACTS}
        levels, classes = facts["levels"], _classes(facts["classes"])
        return ModelInfo(
            form=form_of(facts["form"], origin=str(path)),
            classes=classes,
            channels=_checked("channels", facts["channels"], facts["channels"] in (1, 3)),
            step=_checked("step", facts["step"], isinstance(facts["step"], int)),
            multi_label=bool(facts["multi_label"]),
            levels=levels and Levels(*levels),
            calibrated=_opacity(facts["calibrated"]),
            taught_by=tuple(_parsed("taught_by", header.get("taught_by", "[]"))),
            sets=_sets(_parsed("sets", header.get("sets", "[]")), classes),
            training=header["training"],
        )
    except KeyError as error:
        raise ModelError(f"{path} is damaged: its header lacks {error}") from error
    except (TypeError, ValueError, SettingError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name} of its header is {text!r}, which is no JSON") from error


T = TypeVar("T")


def _checked(name: str, value: T, sound: bool) -> T:
    if not sound:
        raise ValueError(f"{name} of its header is {value!r}, which cannot be")
    return value


def _opacity(value: Any) -> float | None:
    sound = value is None or (isinstance(value, int | float) and 0 <= value <= 1)
    opacity: float | None = _checked("calibrated", value, sound)
    return opacity


def _classes(names: Any) -> tuple[str, ...]:
    """The classes of a header.

    Raises:
        ValueError: if these cannot be the classes of a model.
    """
    if not isinstance(names, list) or len(names) < 2:
        raise ValueError(f"its classes are {names}; expected a normal class and one defect or more")
    if fault := next(filter(None, map(name_fault, names)), None):
        raise ValueError(f"it names a class that cannot be: {fault}")
    if len(set(names)) < len(names):
        raise ValueError(f"its classes {', '.join(names)} name one twice")
    return tuple(names)


def _sets(sets: Any, classes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The classes of each data set of a header.

    Raises:
        ValueError: if they are none of the model's.
    """
    sound = isinstance(sets, list) and all(
        isinstance(known, list) and set(known) <= {*classes} for known in sets
    )
    return tuple(map(tuple, _checked("sets", sets, sound)))


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``{prefix.name: tensor}``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def below_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    start = prefix + "."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def _fill(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict({name: t.float() for name, t in tensors.items()})
    except RuntimeError as error:
        raise ModelError(
            f"the weights in {path} do not fit their own settings: {_misfit(module, tensors)}; the "
            "file is damaged, or was put together by hand: take another one"
        ) from error


def _misfit(module: torch.nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """The first tensor that is not what a network needs, and how many there are."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    there = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = [name for name in {**wanted, **there} if wanted.get(name) != there.get(name)]
    first = wrong[0]
    found, expected = (kind.get(first, "none") for kind in (there, wanted))
    return f"{first} has the shape {found}, expected {expected} ({counted(len(wrong), 'tensor')})"


@dataclass(frozen=True)
class Model:
    """A trained model, ready to paint; ``sha256`` is its identity, the digest of its tensors."""

    info: ModelInfo
    painter: Painter
    path: Path
    sha256: str

    def must_restore(self) -> None:
        """Go on only with a model that takes defects away, too.

        Raises:
            ModelError: if its method has no way back to normal.
        """
        if not self.painter.method.restores:
            raise ModelError(
                f"{self.path} is of the method {self.info.form.method.name}, which has no way back "
                "to normal: it takes no defect away; take a model of another method, such as "
                "cyclegan"
            )

    def recognised(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A record of what was made by a model, with the identity of this one where it was this
        one: earlier versions wrote down the digest of its file, which must not have changed since.
        """
        old = record.get(MODEL)
        same = isinstance(old, str) and old != self.sha256 and old == self._file_sha256
        return {**record, MODEL: self.sha256} if same else {**record}

    @cached_property
    def _file_sha256(self) -> str:
        return sha256(self.path)


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of tensors: of their names, types, shapes and values, in the order of the names;
    what else their file says makes no difference.
    """
    content = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        content.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        content.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def identities(path: Path) -> set[str]:
    """What the model of a weights file may be called in a record, see ``Model.recognised``; the
    format makes no difference. A damaged file is called by its content alone.
    """
    names = {sha256(path)}
    with suppress(ModelError), _opened(path) as file:
        names.add(tensors_digest(_tensors(file)))
    return names


def record_threshold(path: Path, threshold: float) -> None:
    """Keep a calibrated mask threshold with the weights of a file; the weights stay as they are.

    Raises:
        ModelError: if there are none, or they are damaged.
    """
    tensors, info = load_tensors(path)
    save_tensors(path, tensors, replace(info, calibrated=threshold))


def weights_file(model: Path) -> Path:
    """The weights of a run folder, or the file itself."""
    return RunFolder(model).weights if model.is_dir() else model


def first_weights(start: str) -> Path:
    """The weights that a training begins with: of a run folder, a file, or those that come with the
    package, ``HEAD_START``.
    """
    if start == HEAD_START:
        return preset_folder() / f"{start}.safetensors"
    return weights_file(Path(start))


def load_model(path: Path, *, device: torch.device = CPU) -> Model:
    """The model of a run folder or of a .safetensors file.

    Raises:
        ModelError: if there is none, or it is damaged.
    """
    file = weights_file(path)
    tensors, info = load_tensors(file)
    method = info.method()
    networks = {}
    for name, network in method.networks().items():
        kept = below_prefix(name, tensors)
        # An exported file holds the networks that paint alone.
        if kept or name not in method.judging:
            _fill(network, kept, file)
            networks[name] = place(network, device).eval().requires_grad_(False)
    return Model(info, Painter(method, networks), file, tensors_digest(tensors))
