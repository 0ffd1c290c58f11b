"""The images of a threshold: good ones to learn from, others to set it, real ones that test it, and
generated defects.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from defectgan.data import splits
from defectgan.data.facts import Facts, digests
from defectgan.data.index import Index
from defectgan.data.samples import TEST, VAL, Sample
from defectgan.errors import DataError
from defectgan.evaluation.comparison import refuse_seen, run_of_set
from defectgan.evaluation.leak import refuse_leaks
from defectgan.evaluation.painting import PAINT_BATCH
from defectgan.evaluation.pools import generated_index, generated_rows
from defectgan.evaluation.real import RealSplit, SplitPlan, split_real
from defectgan.generation import GenerateJob, Sources, run_job
from defectgan.heads import probe
from defectgan.manifest import ManifestRow
from defectgan.model.file import Model
from defectgan.runs import runs_folder
from defectgan.settings.data import DataConfig
from defectgan.views import Viewer

# The detector learns from so many good images at most, and from half of those that there are.
FIT_IMAGES, FIT_SHARE = 400, 0.5
# A window is seen from so many pixels of the detector on, twice a cell of its finest features; its
# sides are multiples of the next number, up to the last.
SHOWN, STEP, LARGEST = 16, 16, 1024
Size = tuple[int, int]


@dataclass(frozen=True)
class ThresholdMaterial:
    """Good images to learn from (``fit``) and to set the threshold by (``held_out``); real ones
    that tell how it transfers, None where there are none; ``real`` are all, for the leak check.
    """

    fit: Index
    held_out: Index
    test: Index | None
    real: RealSplit
    notes: tuple[str, ...]


def gather(data: Path, config: DataConfig, *, holdout: float, seed: int) -> ThresholdMaterial:
    """Part the real images of a data folder.

    Args:
        data: the folder or file, in any layout that ``train`` reads; it may hold no defects.
        config: classes, normal class, groups.
        holdout: share of each class that is held out to tell how the threshold transfers, where the
            data names no test images.
        seed: draws.

    Raises:
        DataError: if there are too few good images, or none to test with beside real defects.
    """
    plan = SplitPlan(holdout=holdout, val_fraction=0.0, seed=seed)
    real = split_real(data, config, plan, needed=(), good_only=True)
    fit, held_out = _parted(real.index, seed)
    test = real.part(TEST)
    normal, *defects = test.members
    if any(defects) and not normal:
        raise DataError(
            f"the test images of {data} are all defects: expected good ones beside them, which "
            "tell how many are refused"
        )
    # What was kept for validation tests nothing here.
    judged = replace(real, index=replace(real.index, held_out=test.samples))
    left_out = (f"left out: {reason}" for _, reason in real.index.skipped)
    notes = (*real.notes, *left_out)
    return ThresholdMaterial(fit, held_out, test if any(defects) else None, judged, notes)


def _parted(index: Index, seed: int) -> tuple[Index, Index]:
    """Good images to learn from, and to set the threshold by: those for validation where the data
    names some.
    """
    good = [s for s in index.all_samples if not s.labels and s.split != TEST]
    share = max(FIT_SHARE, 1 - FIT_IMAGES / len(good))
    parted = splits.keep_out(
        good, splits.duplicates(good, Facts()), fraction=share, split=VAL, seed=seed
    )
    kept = replace(index, samples=tuple(s for s in parted if s.split == VAL), held_out=())
    rest = replace(index, samples=tuple(s for s in parted if s.split != VAL), held_out=())
    if not (kept.samples and rest.samples):
        raise DataError(
            f"the good images of {index.root} show {len(good)} piece that cannot be parted: "
            "expected two or more, some to learn from and others to set the threshold by"
        )
    return replace(rest, samples=tuple(rest.spread(0, FIT_IMAGES))), kept


def generated_defects(folder: Path, material: ThresholdMaterial) -> tuple[Index, tuple[str, ...]]:
    """A generated set, without what was painted on images that the detector learns from: those it
    knows by heart but for the defect, as it knows no image to come. Each image shows the piece that
    it was painted on.

    Raises:
        DataError: if nothing is left, or it is empty or damaged.
    """
    rows, missing = generated_rows(folder)
    index = material.fit
    names = dict.fromkeys([*index.classes, *(row.defect for row in rows)])
    made = generated_index(folder, replace(index, classes=tuple(names)))
    learned = set(digests(s.file for s in index.samples).values())
    known = {folder / row.output for row in rows if row.source_sha256 in learned}
    pieces = _pieces(folder, rows, material.held_out)
    left = tuple(replace(s, group=pieces.get(s.file)) for s in made.samples if s.file not in known)
    if not left:
        raise DataError(
            f"all images of {folder} are painted on good images that the detector learns from: "
            "paint on others, or let a model paint on those that are kept back"
        )
    note = (
        f"{len(known)} of the {len(rows)} generated images are painted on good ones that the "
        "detector learns from: left out"
    )
    return replace(made, samples=left), (*missing, *((note,) if known else ()))


def _pieces(folder: Path, rows: Sequence[ManifestRow], good: Index) -> dict[Path, str]:
    """The piece of each generated image whose row tells what it was painted on: that of the good
    image, or the source itself.
    """
    found = digests(s.file for s in good.samples)
    of_source = {found[s.file]: s.piece for s in good.samples}
    return {
        folder / row.output: of_source.get(source, f"source {source}")
        for row in rows
        if (source := row.source_sha256)
    }


def refuse_unseen(
    material: ThresholdMaterial,
    image_size: tuple[int, int],
    *,
    model: Model | None = None,
    generated: Path | None = None,
) -> None:
    """Make sure that a detector, which sees images whole, sees what is painted into a window.

    Args:
        material: the good images that a ``model`` is to paint on.
        image_size: height and width at which the detector sees images.
        model: what paints; None where a set is there.
        generated: that set; windows that its rows do not tell are taken to be whole images.

    Raises:
        DataError: if a window is too small there; names the size at which none is.
    """
    shown = [
        side * seen / whole
        for window, shape in _windows(material, model, generated)
        for side, seen, whole in zip(window, image_size, shape, strict=True)
    ]
    if not shown or min(shown) >= SHOWN:
        return
    larger = math.ceil(max(image_size) * SHOWN / min(shown) / STEP) * STEP
    raise DataError(
        "the defects are painted into windows of larger images, which the detector sees whole: at "
        f"{image_size[1]} x {image_size[0]} pixels a window is {min(shown):.0f} pixels wide or "
        f"high, and it takes {SHOWN} to see anything in it; "
        + (
            f"let it see images at {larger} pixels"
            if larger <= LARGEST
            else f"that would take images of {larger} pixels, and {LARGEST} is the most: cut them "
            "into parts, good ones and those to test on alike"
        ),
        mend=("image_size", str(larger)) if larger <= LARGEST else None,
    )


def _windows(
    material: ThresholdMaterial, model: Model | None, generated: Path | None
) -> Iterator[tuple[Size, Size]]:
    """Height and width of each window that is painted into, and of its image."""
    if model is not None:
        viewer = Viewer(model.info.form.view)
        for sample in material.held_out.samples:
            shape = _shape(sample)
            window = viewer(shape).window
            yield (window.height, window.width), shape
    elif generated is not None:
        for row in generated_rows(generated)[0]:
            if row.window is not None:
                header = probe(generated / row.output)
                yield (row.window[3], row.window[2]), (header.height, header.width)


def _shape(sample: Sample) -> Size:
    header = sample.header or probe(sample.file)
    return header.height, header.width


def refuse_seen_by(
    material: ThresholdMaterial, *, generated: Path | None, model: Path | None, trust: bool
) -> tuple[str, ...]:
    """Make sure that what paints has not seen the real images that tell how a threshold transfers.

    Args:
        material: the real images.
        generated: a generated set; None where the model paints.
        model: the model, or the run of the set's; None finds the latter by its weights.
        trust: take weights whose run is not there.

    Returns:
        What a person should know.

    Raises:
        ModelError: if it has seen them, or nobody can tell.
    """
    if material.test is None:
        return ()
    if generated is None:
        assert model is not None
        return refuse_leaks(model, material.real, trust=trust)
    rows, _ = generated_rows(generated)
    run, notes = run_of_set(generated, rows, model, runs_folder())
    return notes + refuse_seen(generated, run, material.real, trust=trust)


def paint(
    model: Model,
    material: ThresholdMaterial,
    folder: Path,
    *,
    each: int,
    seed: int,
    device: torch.device,
    done: Callable[[int], None] = lambda count: None,
) -> None:
    """Paint each class of a model on the good images that set the threshold, ``each`` times; a job
    that was cut short goes on.

    Raises:
        DataError: if they are damaged, or the folder holds something else.
    """
    defects = model.info.classes[1:]
    sources = Sources(tuple(s.file for s in material.held_out.samples), ())
    n = each * len(defects)
    job = GenerateJob(sources, defects, n, seed, binary_masks=False, checks=None)
    run_job(job, model, folder, device=device, batch_size=PAINT_BATCH, done=done)
