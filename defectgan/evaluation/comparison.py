"""What a generated set is held against: real images that neither its model nor the features have
learned from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from defectgan.data.index import Index, index_data, read_split
from defectgan.data.samples import TEST, VAL
from defectgan.errors import DataError, ModelError
from defectgan.evaluation.leak import refuse_leaks, run_of
from defectgan.evaluation.pools import generated_index, generated_rows
from defectgan.evaluation.real import RealSplit, single_labels
from defectgan.manifest import ManifestRow
from defectgan.methods.config import load_config
from defectgan.model.file import identities, read_info
from defectgan.runs import RunFolder, runs_folder
from defectgan.settings.data import DataConfig

# What to do about real images that a model has seen.
HELD_OUT = (
    "hold its set against what its run held out, and name no other images; or name images that it "
    "has not seen, or the same ones with the same share held out as its run did"
)


@dataclass(frozen=True)
class Comparison:
    """A generated set, the real images to learn from, and those held out, with their split;
    ``learned`` is how the generating model sees images, or 64 x 64 where it is not known;
    ``taught_by`` the SHA-256 of the weights of each fixed network that it was trained against.
    """

    generated: Index
    train: Index
    held_out: Index
    split: str
    learned: DataConfig
    notes: tuple[str, ...]
    taught_by: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """How many images are held against each other."""
        return sum(sum(index.counts().values()) for index in (self.generated, self.held_out))


def find_comparison(
    folder: Path,
    *,
    data: Path | None,
    normal_class: str | None = None,
    model: Path | None,
    trust: bool,
    holdout: float,
) -> Comparison:
    """The images of a comparison.

    Args:
        folder: the generated set.
        data: real images; None for those of the run, with what it held out.
        normal_class: what good images are called in ``data``; None for what they are called by
            themselves, or were in the run.
        model: the run of the model that made it; None finds it by its weights where runs are.
        trust: take it that the model has not learned from the images held out, where its run is not
            there to tell.
        holdout: share of each class of ``data`` that is held out where it has no test images.

    Raises:
        DataError: if there is nothing to compare, or nothing held out.
        ModelError: if the model has learned from images held out, or nobody can tell.
    """
    rows, missing = generated_rows(folder)
    runs = runs_folder()
    run, notes = run_of_set(folder, rows, model, runs)
    began = load_config(run.config, {}) if run else None
    learned = began.data if began else DataConfig(image_size=(64, 64))
    if data is not None:
        # The split of the run, if it held out as much of the same images.
        given = {
            "holdout": holdout,
            "val_fraction": 0.0,
            "layout": None,
            "normal_class": normal_class or learned.normal_class,
        }
        index = index_data(
            data, learned.model_copy(update=given), seed=began.training.seed if began else 0
        )
    elif run is not None:
        index = read_split(run.split)
    else:
        raise DataError(
            f"no run below {runs.resolve()} has the weights that made {folder}: name the real "
            "images to hold it against, or the run"
        )
    notes = (*index.notes, *missing, *notes)
    index, about_labels = single_labels(index)
    notes += about_labels
    real = RealSplit(index)
    notes += refuse_seen(folder, run, real, trust=trust)
    split = _held_out(real)
    generated = generated_index(folder, index)
    if split == VAL:
        notes += ("held against validation images, by which a model's best weights are chosen",)
    train = replace(index, held_out=())
    files = _weights(run) if run else []
    taught = frozenset(digest for file in files for digest in read_info(file).taught_by)
    held_out = real.part(split)
    return Comparison(generated, train, held_out, split, learned, notes, taught)


def refuse_seen(
    folder: Path, run: RunFolder | None, real: RealSplit, *, trust: bool
) -> tuple[str, ...]:
    """Make sure that the model of a generated set has not seen the images that are held out.

    Args:
        folder: the generated set.
        run: the run of its model, as ``run_of_set`` finds it.
        real: the images that the set is judged by.
        trust: take it that it has not, where its run is not there to tell.

    Returns:
        What a person should know.

    Raises:
        ModelError: if it has, or nobody can tell.
    """
    if run is not None:
        return refuse_leaks(run.path, real, trust=trust, remedy=HELD_OUT)
    if trust:
        return (f"nobody can tell what the model of {folder} has learned from: it is trusted",)
    raise ModelError(
        f"no run below {runs_folder().resolve()} has the weights that made {folder}: nobody can "
        "tell whether they have learned from the images held out; name the run, or say that the "
        "model can be trusted"
    )


def _held_out(real: RealSplit) -> str:
    """Which images nothing was learned from: those for testing, else those for validation."""
    for split in (TEST, VAL):
        if any(sample.labels for sample in real.part(split).samples):
            return split
    raise DataError(
        f"the training on {real.index.root} held no images out, and those that were learned from "
        "prove nothing: name real images that it has not seen, or train with a share of them kept "
        "for validation"
    )


def run_of_set(
    folder: Path, rows: Sequence[ManifestRow], model: Path | None, runs: Path
) -> tuple[RunFolder | None, tuple[str, ...]]:
    """The run whose weights made a set, and what a person should know of it."""
    # A set that another program has made tells of no model.
    made_by = {row.model_sha256 for row in rows if row.model_sha256 is not None}
    if model is not None:
        run = run_of(model)
        if run is None:
            raise ModelError(f"{model} is not a run folder: expected the one that {folder} is from")
        made = made_by & _identities(run)
        note = f"the weights in {run.path} are others now than those that made {folder}"
        return run, () if made else (note,)
    for path in sorted(runs.glob("*/"), reverse=True):
        run = run_of(path)
        if run is not None and made_by & _identities(run):
            return run, ()
    return None, ()


def _identities(run: RunFolder) -> set[str]:
    """What the models of a run may be called in a manifest."""
    return {name for file in _weights(run) for name in identities(file)}


def _weights(run: RunFolder) -> list[Path]:
    return [file for file in (run.weights, run.best) if file.is_file()]
