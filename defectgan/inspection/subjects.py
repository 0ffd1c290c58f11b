"""What can be inspected: a model on real images in both directions, or a generated set."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from defectgan.control import constant_map, one_hot
from defectgan.data.index import Index
from defectgan.data.masks import read_region
from defectgan.data.samples import Sample
from defectgan.errors import DataError
from defectgan.generation.layer import model_view
from defectgan.generation.run import row_noise
from defectgan.generation.writers import MANIFEST, read_manifest
from defectgan.images import Levels, read_mask, read_picture, to_bytes, to_signed
from defectgan.inspection.measure import Pixels, Subject
from defectgan.training.checkpoint import Model
from defectgan.views import Viewer, Window

NORMAL = 0
# A pixel of a frame is defect where at least half of what it shows of the image is.
TRUE_SHARE = 0.5


def model_subjects(
    model: Model, index: Index, *, per_class: int, device: torch.device
) -> Iterator[Subject]:
    """Both directions on real images: each defect restored (its mask is held against the true one),
    each class defaced.

    Args:
        model: the model, on the device.
        index: real images of the model's classes.
        per_class: images of each class and direction, spread evenly over its files.
        device: where to compute.
    """
    for k, name in enumerate(index.classes[1:], start=1):
        for sample in index.spread(k, per_class):
            yield _paint(model, sample, name, NORMAL, device)
    for k, name in enumerate(index.classes[1:], start=1):
        for sample in index.spread(NORMAL, per_class):
            yield _paint(model, sample, name, k, device)


@torch.no_grad()
def _paint(model: Model, sample: Sample, name: str, target: int, device: torch.device) -> Subject:
    info, generator = model.info, model.generator
    picture = read_picture(sample.file)
    viewer = Viewer(info.config.data)
    around = next((mark.box for mark in sample.marks_of(name)), None)
    view = viewer(picture.size, around=around)
    image = model_view(picture, view, info.channels, info.levels_of(picture))[None].to(device)
    control = constant_map(one_hot([target], len(info.classes))).to(device)
    noise = row_noise(0, generator.noise_size(*viewer.frame))[None].to(device)
    painted, mask = generator.paint(image, control, noise)
    truth = None
    if sample.mask is not None and target == NORMAL:
        region = read_region(sample.mask)[..., None].astype(np.float32)
        truth = view.see(region)[..., 0] > TRUE_SHARE
    return Subject(
        name=sample.file.stem,
        defect=name,
        direction="restored" if target == NORMAL else "defaced",
        before=to_bytes(image[0]),
        after=to_bytes(painted[0]),
        mask=mask[0, 0].cpu().numpy(),
        truth=truth,
    )


def generated_subjects(folder: Path) -> Iterator[Subject]:
    """The images of a generated set, by its manifest: of each what the model saw of its source.

    Raises:
        DataError: if the folder has no manifest or a file that it names is gone.
    """
    rows = read_manifest(folder)
    if not rows:
        raise DataError(
            f"no {MANIFEST} with images in {folder}: expected a folder that generate wrote"
        )
    for row in rows:
        source, window = Path(row["source"]), Window(*row["window"])
        yield Subject(
            name=row["output"],
            defect=row["class"],
            direction="generated",
            before=_shown(source, window) if source.is_file() else None,
            after=_shown(folder / row["output"], window),
            mask=window.cut(read_mask(folder / row["mask"])) * np.float32(1 / 255),
        )


def _shown(path: Path, window: Window) -> Pixels:
    """A part of an image in 8 bits; of a deeper one the values that it has fill the range, for a
    12-bit camera's are all near black in 16 bits.
    """
    picture = read_picture(path)
    levels = picture.full
    if picture.pixels.dtype != np.uint8:
        black = float(picture.pixels.min())
        levels = Levels(black, max(float(picture.pixels.max()), black + 1e-6))
    return to_bytes(to_signed(window.cut(picture.pixels.transpose(2, 0, 1)), levels))
