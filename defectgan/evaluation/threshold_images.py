"""The images of a threshold: good ones to learn from, others to set it, real ones that test it, and
generated defects.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from defectgan.config import DataConfig
from defectgan.data import splits
from defectgan.data.facts import Facts, digests
from defectgan.data.index import Index
from defectgan.data.samples import TEST, VAL
from defectgan.errors import DataError
from defectgan.evaluation.comparison import refuse_seen, run_of_set
from defectgan.evaluation.images import generated_index, generated_rows
from defectgan.evaluation.leak import refuse_leaks
from defectgan.evaluation.painting import PAINT_BATCH
from defectgan.evaluation.real import RealSplit, SplitPlan, split_real
from defectgan.generation.job import Job
from defectgan.generation.plan import Sources
from defectgan.generation.run import run_job
from defectgan.runs import runs_folder
from defectgan.training.checkpoint import Model

# The detector learns from so many good images at most, and from half of those that there are.
FIT_IMAGES, FIT_SHARE = 400, 0.5


@dataclass(frozen=True)
class Material:
    """Good images to learn from (``fit``) and to set the threshold by (``held_out``); real ones
    that tell how it transfers, None where there are none; ``real`` are all, for the leak check.
    """

    fit: Index
    held_out: Index
    test: Index | None
    real: RealSplit
    notes: tuple[str, ...]


def gather(data: Path, config: DataConfig, *, holdout: float, seed: int) -> Material:
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
    return Material(fit, held_out, test if any(defects) else None, judged, notes)


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


def generated_defects(folder: Path, material: Material) -> tuple[Index, tuple[str, ...]]:
    """A generated set, without what was painted on images that the detector learns from: those it
    knows by heart but for the defect, as it knows no image to come.

    Raises:
        DataError: if nothing is left, or it is empty or damaged.
    """
    rows, missing = generated_rows(folder)
    index = material.fit
    names = dict.fromkeys([*index.classes, *(row["class"] for row in rows)])
    made = generated_index(folder, replace(index, classes=tuple(names)))
    learned = set(digests(s.file for s in index.samples).values())
    known = {folder / row["output"] for row in rows if row.get("source_sha256") in learned}
    left = tuple(s for s in made.samples if s.file not in known)
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


def refuse_seen_by(
    material: Material, *, generated: Path | None, model: Path | None, trust: bool
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
    material: Material,
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
    job = Job(sources, defects, each * len(defects), seed, binary_masks=False)
    run_job(job, model, folder, device=device, batch_size=PAINT_BATCH, done=done)
