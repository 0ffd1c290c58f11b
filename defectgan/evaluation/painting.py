"""What generators paint for a test: each its own set, in a folder of its own."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from defectgan.data.index import Index
from defectgan.data.samples import TRAIN
from defectgan.errors import ModelError
from defectgan.evaluation.pools import generated_index, generated_rows
from defectgan.evaluation.real import RealSplit
from defectgan.generation import CANDIDATES, GenerateJob, Sources, paint_source, run_job
from defectgan.images import read_picture, write_picture
from defectgan.manifest import ManifestRow
from defectgan.model.file import Model, load_model
from defectgan.model.pixels import model_view, row_noise
from defectgan.names import safe_folders
from defectgan.views import Viewer

# Images that the generator paints at once; changes the speed alone.
PAINT_BATCH = 16
UNDONE = "undone"
# Of a digest, as many as tell generators apart and a person can read.
DIGITS = 12


class PaintedBy(NamedTuple):
    """Whose images: a ``generator``, by the start of its weights' digest, and of how many
    ``candidates`` each is the surest.
    """

    generator: str
    candidates: int

    @classmethod
    def of(cls, model: Model, candidates: int) -> "PaintedBy":
        return cls(model.sha256[:DIGITS], candidates)

    def __str__(self) -> str:
        return f"{self.generator}-{self.candidates}"


NOBODY = PaintedBy("", 0)


def added(ratio: float, real: int) -> int:
    """How many images are added to ``real`` ones of a class."""
    # 1.1 times 50 are 55, although the product of the floats lies above.
    return math.ceil(round(ratio * real, 6))


def painted(real: RealSplit, folder: Path) -> Index:
    """What ``paint`` made, the images of each class in the order in which they were planned."""
    folders = [folder / name for name in _folders(real)]
    parts = [generated_index(part, real.index) for part in folders]
    return replace(parts[0], root=folder, samples=tuple(s for part in parts for s in part.samples))


def _folders(real: RealSplit) -> list[str]:
    """What the folder of the set of each defect class is called."""
    return list(safe_folders(real.classes).values())[1:]


def load_painters(paths: Sequence[Path], *, device: torch.device) -> list[Model]:
    """The models of run folders or .safetensors files.

    Raises:
        ModelError: if there is none, one is damaged, or two hold the same weights.
    """
    models: dict[str, Model] = {}
    for path in paths:
        model = load_model(path, device=device)
        if (twin := models.get(model.sha256)) is not None:
            raise ModelError(
                f"{twin.path} and {model.path} hold the same weights: name each generator once"
            )
        models[model.sha256] = model
    return list(models.values())


def refuse_unproved(model: Model, candidates: int | None) -> None:
    """Let nobody take a test of images as they come for one of the surest, by oversight.

    Args:
        model: the generator.
        candidates: how many were asked for, None for the usual number.

    Raises:
        ModelError: if it cannot choose among any, and one alone was not asked for.
    """
    if candidates is None and not model.painter.has_critic:
        raise ModelError(
            f"{model.path} holds the generator alone, and it takes the critic to keep the surest "
            f"of {CANDIDATES} candidates: images as they come may harm where chosen ones help, so "
            "a test of them says nothing of the model; take the weights of a run, or ask for one "
            "candidate to test images as they come",
            mend=("candidates", "1"),
        )


def paint(
    model: Model,
    real: RealSplit,
    folder: Path,
    *,
    ratio: float,
    candidates: int,
    seed: int,
    device: torch.device,
) -> None:
    """Paint each defect class onto the good training images, a folder a class; a job that was cut
    short goes on.

    Args:
        model: the generator.
        real: whose good training images are painted on, and how many of each class there are.
        folder: where they go.
        ratio: images for each real one of the class.
        candidates: paintings of each image, of which the one that the critic is surest of is kept.
        seed: draws.
        device: where to compute.

    Raises:
        ModelError: if the model does not know a class, or cannot choose among candidates.
    """
    normal, *defects = real.part(TRAIN).members
    sources = Sources(tuple(sample.file for sample in normal), ())
    for k, (part, members) in enumerate(zip(_folders(real), defects, strict=True), start=1):
        name = real.classes[k]
        n = added(ratio, len(members))
        # A model that paints nothing is to be measured, not refused: all is kept as it comes.
        job = GenerateJob(
            sources,
            (name,),
            n,
            seed + k,
            binary_masks=False,
            candidates=candidates,
            checks=None,
        )
        run_job(job, model, folder / part, device=device, batch_size=PAINT_BATCH)


def take_away(model: Model, real: RealSplit, folder: Path, *, device: torch.device) -> None:
    """Let the model that filled a folder with ``paint`` take each defect away again; what is there
    already is not made again.

    What is left shows all that its painting does to an image but the defect.

    Raises:
        ModelError: if it takes nothing away.
    """
    model.must_restore()
    for name in _folders(real):
        place = folder / name
        rows = [
            row for row in generated_rows(place)[0] if not (place / UNDONE / row.output).exists()
        ]
        for start in range(0, len(rows), PAINT_BATCH):
            _take_away(model, place, rows[start : start + PAINT_BATCH], device)


@torch.no_grad()
def _take_away(
    model: Model, place: Path, rows: Sequence[ManifestRow], device: torch.device
) -> None:
    info, painter = model.info, model.painter
    viewer = Viewer(info.form.view)
    pictures = [read_picture(place / row.output) for row in rows]
    views = [
        viewer(picture.size, around=row.window) for picture, row in zip(pictures, rows, strict=True)
    ]
    images = torch.stack(
        [
            model_view(picture, view, info.channels, info.levels_of(picture))
            for picture, view in zip(pictures, views, strict=True)
        ]
    )
    noise = torch.stack([row_noise(r.seed or 0, painter.noise_size(*viewer.frame)) for r in rows])
    control = painter.control([0] * len(rows), device)
    layer = painter.layer(images.to(device), control, noise.to(device))
    foregrounds, masks = layer.foreground.cpu(), layer.mask.cpu()
    for row, picture, view, image, foreground, mask in zip(
        rows, pictures, views, images, foregrounds, masks, strict=True
    ):
        restored = paint_source(picture, view, image, foreground, mask, info.levels_of(picture))
        write_picture(place / UNDONE / row.output, replace(picture, pixels=restored.pixels))


def undone(painted: Index) -> Index:
    """The images of ``painted`` as ``take_away`` left them; of each the class that was there."""
    samples = (replace(s, file=_undone(s.file), mask=None) for s in painted.samples)
    return replace(painted, samples=tuple(samples))


def _undone(file: Path) -> Path:
    """Beside ``images/<class>/<name>``."""
    place = file.parent.parent.parent
    return place / UNDONE / file.relative_to(place)
