"""The generator for other programs, each file checked against the model that it came from.

safetensors   the averaged generator alone
onnx          image [B, C, H, W], label [B, K], noise [B, N] -> painted, foreground, mask; B is
              free; its metadata tell what the inputs mean
"""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from defectgan.errors import CheckFailed, SettingError
from defectgan.files import atomic_path, new_files
from defectgan.model.file import Model, load_model, save_tensors, with_prefix
from defectgan.model.painter import Painter
from defectgan.networks.compose import compose
from defectgan.networks.control import constant_map, one_hot

Format = Literal["safetensors", "onnx"]
FORMATS: tuple[Format, ...] = get_args(Format)

# Largest difference of two correct fp32 evaluations in different orders, seen at 1e-6 to 1e-5 on
# images in [-1, 1].
TOLERANCE = 1e-4
CHECKED_IMAGES = 3


class Exported(nn.Module):
    """The generator with the label as input and the composition as output."""

    def __init__(self, painter: Painter) -> None:
        super().__init__()
        self.painter = painter
        self.networks = nn.ModuleDict(painting(painter))

    def forward(self, image: Tensor, label: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        foreground, mask = self.painter.layer(image, constant_map(label), noise)
        return compose(image, foreground, mask), foreground, mask


def painting(painter: Painter) -> dict[str, nn.Module]:
    """The networks that painting takes: all but those that judge."""
    judging = painter.method.judging
    return {name: network for name, network in painter.networks.items() if name not in judging}


@dataclass(frozen=True)
class ExportedFile:
    """A file, its format, and the largest difference of its outputs from the model's, on random
    input.
    """

    path: Path
    format: Format
    max_difference: float


def available_formats() -> list[Format]:
    """The formats that can be written here."""
    onnx = all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
    return [name for name in FORMATS if name != "onnx" or onnx]


def parse_formats(names: Sequence[str]) -> list[Format]:
    """The formats of these names.

    Raises:
        SettingError: if one is unknown.
    """
    known: dict[str, Format] = {name: name for name in FORMATS}
    if unknown := [name for name in names if name not in known]:
        raise SettingError(f"no export format {unknown[0]}: expected {' or '.join(FORMATS)}")
    return [known[name] for name in names]


def export(model: Model, out: Path, formats: Sequence[Format]) -> list[ExportedFile]:
    """Write the generator in each format below ``out`` and hold it against the model.

    Raises:
        SettingError: if a format needs packages that are not installed.
        DataError: if there is such a file already.
        CheckFailed: if a file answers differently from the model; the file is not kept.
    """
    if missing := [name for name in formats if name not in available_formats()]:
        raise SettingError(
            f"{missing[0]} export needs onnx, onnxscript and onnxruntime: install the extra "
            "'onnx' of defectgan"
        )
    writers = {"safetensors": _safetensors, "onnx": _onnx}
    files = new_files(out, [f"generator.{name}" for name in formats])
    return [writers[name](model, file) for name, file in zip(formats, files, strict=True)]


def example(model: Model, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random image [B, C, H, W], label [B, K] and noise [B, N]."""
    rng = torch.Generator().manual_seed(0)
    info, frame = model.info, model.info.form.view.image_size
    image = torch.rand(count, info.channels, *frame, generator=rng) * 2 - 1
    label = one_hot([i % len(info.classes) for i in range(count)], len(info.classes))
    noise = torch.randn(count, model.painter.noise_size(*frame), generator=rng)
    return image, label, noise


def _safetensors(model: Model, path: Path) -> ExportedFile:
    with atomic_path(path) as part:
        tensors: dict[str, Tensor] = {}
        for name, network in painting(model.painter).items():
            tensors |= with_prefix(name, network.state_dict())
        save_tensors(part, tensors, model.info)
        again = Exported(load_model(part).painter)
        difference = _check(model, path, lambda *inputs: again(*inputs))
    return ExportedFile(path, "safetensors", difference)


def _onnx(model: Model, path: Path) -> ExportedFile:
    import onnxruntime

    exported = Exported(model.painter).eval()
    batch = torch.export.Dim("batch", min=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        with warnings.catch_warnings():
            # It is one axis, and one name for it will do.
            warnings.filterwarnings("ignore", ".*The axis name: batch will not be used")
            program = torch.onnx.export(
                exported,
                example(model, 2),
                dynamo=True,
                input_names=["image", "label", "noise"],
                output_names=["painted", "foreground", "mask"],
                dynamic_shapes={"image": {0: batch}, "label": {0: batch}, "noise": {0: batch}},
                verbose=False,
            )
        assert program is not None
        program.model.metadata_props.update(_metadata(model))
        program.save(part, external_data=False)
        session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])

        def run(image: Tensor, label: Tensor, noise: Tensor) -> list[Tensor]:
            named = {"image": image, "label": label, "noise": noise}
            outputs = session.run(None, {name: tensor.numpy() for name, tensor in named.items()})
            return [torch.from_numpy(output) for output in outputs]

        difference = _check(model, path, run)
    return ExportedFile(path, "onnx", difference)


def _metadata(model: Model) -> dict[str, str]:
    """What a program must know to feed the generator, as JSON: ``classes`` in the order of the
    label, ``image_size`` as height and width, ``value_range`` of an image, and ``levels``, the
    pixel values at its two ends (null: the whole range of the file).
    """
    return model.info.metadata() | {
        "image_size": json.dumps(model.info.form.view.image_size),
        "value_range": json.dumps([-1, 1]),
    }


@torch.no_grad()
def _check(model: Model, path: Path, answer: Callable[..., Sequence[Tensor]]) -> float:
    """The largest difference to the model on random input, at a batch size that the export did not
    see.

    Raises:
        CheckFailed: if it is above the tolerance.
    """
    inputs = example(model, CHECKED_IMAGES)
    expected = Exported(model.painter)(*inputs)
    pairs = zip(answer(*inputs), expected, strict=True)
    difference = max(float((ours - theirs).abs().max()) for ours, theirs in pairs)
    if not difference <= TOLERANCE:
        raise CheckFailed(
            f"{path.name} answers differently from the model: by {difference:.2g}, at most "
            f"{TOLERANCE:g} is accepted; "
            "it was not kept"
        )
    return difference
