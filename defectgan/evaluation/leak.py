"""Leaks: a model may be judged only by images that it has never learned from.

What it learned from stands in its run folder, and in those of the runs that it began with, by
content: files that were moved, renamed or exchanged since do not matter. An image that was saved
anew is not recognised.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from defectgan.data.facts import digests
from defectgan.data.index import split_content
from defectgan.data.samples import SPLITS, TEST, TRAIN, VAL, Sample
from defectgan.errors import ModelError
from defectgan.evaluation.real import RealSplit
from defectgan.methods.config import load_config
from defectgan.runs import RunFolder
from defectgan.settings.training import HEAD_START

# What to do about a model that has seen what a classifier may not.
RETRAIN = (
    "train one on the training images alone, which the table of the split names; if it has seen "
    "none but training and validation images, the latter can be drawn from the test images instead"
)


@dataclass(frozen=True)
class Learned:
    """Digests of the images that a model has learned from, and of those that chose among its
    weights; ``before`` are weights that it began with and whose run is not there, None if all is
    known.
    """

    trained: frozenset[str]
    chose: frozenset[str]
    before: Path | None = None


def refuse_leaks(
    model: Path, real: RealSplit, *, trust: bool = False, remedy: str = RETRAIN
) -> tuple[str, ...]:
    """Make sure that all that a model knows of these images is what a classifier may learn from.

    Validation images and those that fewer shots leave out count as well: a model that has seen them
    would carry more into its images than the real ones that they are held against.

    Args:
        model: a run folder or a .safetensors file.
        real: the images that it is judged by.
        trust: take weights whose run is not there, on the word of whoever names them.
        remedy: what to do about a model that is refused.

    Returns:
        What a person should know.

    Raises:
        ModelError: if it has learned from others than those to learn from, or nobody can tell.
        DataError: if its run is of an earlier version and does not tell.
    """
    folder = run_of(model)
    if folder is None:
        return (_taken_on_trust(model, trust),)
    learned = what_it_learned(folder)
    parts = {split: real.part(split).samples for split in SPLITS}
    content = {split: _digests(samples) for split, samples in parts.items()}
    # Of two copies one may be left out and the other learned from.
    left_out = _digests(real.left_out) - content[TRAIN]
    forbidden = {
        "test": content[TEST] & (learned.trained | learned.chose),
        "validation": content[VAL] & learned.trained,
        "left-out": left_out & learned.trained,
    }
    if found := {name: len(files) for name, files in forbidden.items() if files}:
        seen = ", ".join(f"{count} of the {name} images" for name, count in found.items())
        raise ModelError(f"{model} has seen {seen}: what it paints would know them; {remedy}")
    shared = len(content[TRAIN] & learned.trained)
    known = len(learned.trained)
    note = f"{model} has learned from {known} images, {shared} of them to learn from here"
    return (note,) if learned.before is None else (note, _taken_on_trust(learned.before, trust))


def refuse_taught(taught_by: Collection[str], digest: str | None, name: str) -> None:
    """Make sure that a model is not judged by features that it was trained to please.

    Args:
        taught_by: SHA-256 of the weights of each fixed network that it was trained against.
        digest: that of the weights of the features that are to judge it.
        name: what they are called.

    Raises:
        ModelError: if they are among them.
    """
    if digest in taught_by:
        raise ModelError(
            f"the model was trained against the {name} features that are to judge it (weights with "
            f"the SHA-256 {str(digest)[:8]}...): what pleases them proves nothing; judge it by "
            "other features"
        )


def run_of(model: Path) -> RunFolder | None:
    """The run folder that a model belongs to, if it is there."""
    candidates = (model,) if model.is_dir() else (model.parent.parent,)
    folders = (RunFolder(path) for path in candidates)
    return next((f for f in folders if f.split.is_file() and f.config.is_file()), None)


def what_it_learned(folder: RunFolder) -> Learned:
    """The images of a run and of all runs that it began with.

    Raises:
        DataError: if one of them does not tell.
    """
    trained: set[str] = set()
    chose: set[str] = set()
    run: RunFolder | None = folder
    start: Path | None = None
    while run is not None:
        content = split_content(run.split)
        trained |= content[TRAIN]
        chose |= content[VAL]
        begun = load_config(run.config, {}).training.start
        # What comes with the package has learned from no photograph.
        start = Path(begun) if begun not in (None, HEAD_START) else None
        run = run_of(start) if start is not None else None
    return Learned(frozenset(trained), frozenset(chose), start)


def _taken_on_trust(model: Path, trust: bool) -> str:
    if trust:
        return f"nobody can tell which images {model} has learned from: it is trusted"
    raise ModelError(
        f"the run of {model} is not there: nobody can tell which images it has learned from; name "
        "a model whose run is, or say that it can be trusted"
    )


def _digests(samples: Sequence[Sample]) -> set[str]:
    return set(digests(s.file for s in samples).values())
