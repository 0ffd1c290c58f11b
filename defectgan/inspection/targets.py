"""What a path means: a run, a generated set, or real images to try a model on."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from defectgan.data.facts import readable
from defectgan.data.index import Index, index_data, read_split
from defectgan.data.layouts import is_annotated
from defectgan.data.samples import Sample
from defectgan.data.walk import find_images
from defectgan.devices import pick_device
from defectgan.errors import DataError, ModelError, SettingError
from defectgan.heads import EXPECTED
from defectgan.inspection.subjects import GeneratedSet, RealImages
from defectgan.manifest import JOB, MANIFEST, present_rows
from defectgan.model.file import Model, load_model
from defectgan.model.info import MASK_THRESHOLD, UNLABELLED
from defectgan.runs import RunFolder, beside, find_model, unused
from defectgan.settings.data import DataConfig

FOLDER = "inspection"
# What the masks of a model are, see ``Method.mask_kind``.
KINDS = {
    "layer": "the opacity of the layer that is painted over an image",
    "whole": "all of the image, which is painted anew",
    "difference": "where an image that is painted anew differs from the one before",
}


@dataclass(frozen=True)
class Target:
    """What is inspected: ``title`` says it in words, ``facts`` tell what it came from; ``folder``
    is where results go by default; ``thresholds`` are the recorded ones of the classes;
    ``weights`` is the file of the model, if one is tried.
    """

    title: str
    facts: dict[str, str]
    classes: tuple[str, ...]
    subjects: GeneratedSet | RealImages
    folder: Path
    thresholds: dict[str, float]
    weights: Path | None = None
    notes: tuple[str, ...] = field(default=())


def find_target(
    what: Path | None, *, model: Path | None, data: Path | None, per_class: int, device: str
) -> Target:
    """Recognise what is to be inspected.

    Args:
        what: a generated set, a run folder or its weights, or real images; None is the newest run.
        model: the run or weights to try on real images, None for the newest run.
        data: real images to try a model on, None for the run's own.
        per_class: real images of each class and direction.
        device: where a model computes.

    Raises:
        SettingError: if the same thing is named twice.
        DataError: if there is nothing there that can be inspected.
        ModelError: if there is no model, or it paints on no images.
    """
    if what is None:
        return _model_target(find_model(model), data, per_class, device)
    if any((what / name).is_file() for name in (MANIFEST, JOB)):
        if model or data:
            raise SettingError(f"{what} is a generated set: it needs neither a model nor data")
        return _generated_target(what)
    if what.suffix == ".safetensors" or RunFolder(what).split.is_file():
        if model:
            raise SettingError(f"{what} is a model and {model} is one, too: name one of them")
        return _model_target(find_model(what), data, per_class, device)
    if data:
        raise SettingError(f"{what} and {data} are both data: name one of them")
    if not what.exists():
        raise DataError(
            f"found nothing at {what}: expected a run, weights, a generated set or real images"
        )
    return _model_target(find_model(model), what, per_class, device)


def _generated_target(folder: Path) -> Target:
    rows, notes = present_rows(folder)
    if not rows:
        raise DataError(
            f"{MANIFEST} in {folder} names no image that is there: the job has not made any yet, "
            "or they were taken away; the same job makes them"
        )
    if all(row.mask_kind == "whole" and row.source is None for row in rows):
        raise DataError(
            f"the images in {folder} were made whole, from noise: the mask of each is all of it, "
            "and there is nothing to inspect"
        )
    digests = sorted({row.model_sha256[:12] for row in rows if row.model_sha256 is not None})
    return Target(
        title=f"generated set {folder}",
        facts={
            "generated set": str(folder.resolve()),
            "model": f"SHA-256 {', '.join(digests)}" if digests else "not recorded",
        },
        classes=tuple(dict.fromkeys(row.defect for row in rows)),
        subjects=GeneratedSet(folder, rows),
        folder=unused(folder / FOLDER),
        thresholds={row.defect: row.threshold_or(MASK_THRESHOLD) for row in rows},
        notes=notes,
    )


def _model_target(path: Path, data: Path | None, per_class: int, device: str) -> Target:
    place = pick_device(device)
    model = load_model(path, device=place)
    if not model.painter.method.paints_on_images:
        raise ModelError(
            f"{path} is of the method {model.info.form.method.name}, which makes whole images from "
            "noise: it paints on none and takes nothing away, so there is no mask to inspect; look "
            "at its sample sheets, or at the images that it makes"
        )
    index, images = _own_images(path) if data is None else (_images(data, model), str(data))
    method, notes = model.painter.method, list(index.notes)
    if not method.restores:
        if not index.members[0]:  # there is nothing to paint on
            model.must_restore()
        notes.append(
            f"{model.info.form.method.name} has no way back to normal: no defect is restored, what "
            "it paints is inspected alone"
        )
    facts = {
        "model": str(model.path),
        "trained": f"{model.info.step} steps, SHA-256 {model.sha256[:12]}",
        "images": str(index.root.resolve()) if data else f"{images}, {index.root.resolve()}",
        "what it sees": " x ".join(map(str, reversed(model.info.form.view.image_size)))
        + f" pixels, {model.info.form.view.fit}",
        "masks": KINDS[method.mask_kind],
    }
    return Target(
        title=f"{path} on {images}",
        facts=facts,
        classes=index.classes[1:],
        subjects=RealImages(model, index, per_class=per_class, device=place),
        folder=unused(beside(path) / FOLDER),
        thresholds=dict.fromkeys(index.classes[1:], model.info.threshold),
        weights=model.path,
        notes=(*notes, *(f"left out {file}: {reason}" for file, reason in index.skipped)),
    )


def _own_images(run: Path) -> tuple[Index, str]:
    """A run's images, and what they are."""
    if not run.is_dir():
        raise DataError(
            f"{run} is weights alone: name the folder of real images to try them on",
            mend=("data", "FOLDER"),
        )
    index = read_split(RunFolder(run).split)
    if any(sample.labels for sample in index.held_out):
        return replace(index, samples=index.held_out), "the images that it held out"
    return index, "the images that it learned from"


def _images(data: Path, model: Model) -> Index:
    if data.is_dir() and not is_annotated(data):
        return _unlabelled(data)
    normal = model.info.form.reading.normal_class
    wanted = DataConfig(classes=model.info.classes[1:], normal_class=normal)
    return index_data(data, wanted)


def _unlabelled(folder: Path) -> Index:
    """Images of one class that only can be restored."""
    found = find_images(folder)
    files, skipped = readable(found.images)
    skipped = [*found.skipped, *skipped, *found.aside]
    if not files:
        raise DataError(f"no images in {folder}: expected {EXPECTED} files, or one folder a class")
    return Index(
        root=folder,
        layout="plain",
        classes=("normal", UNLABELLED),
        samples=tuple(Sample(file, (UNLABELLED,)) for file in files),
        channels=3,
        skipped=tuple(skipped),
    )
