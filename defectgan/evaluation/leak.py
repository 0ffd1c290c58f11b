"""Leaks: a model may be judged only by images that it has never learned from.

What it learned from stands in its run folder, and in those of the runs that it began with; files
are compared by their content. An image that was saved anew is not recognised.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from defectgan.config import load_config
from defectgan.data.facts import Facts
from defectgan.data.index import read_split
from defectgan.data.samples import TEST, TRAIN, VAL, Sample
from defectgan.errors import DataError, ModelError
from defectgan.evaluation.real import RealSplit
from defectgan.files import sha256
from defectgan.runs import RunFolder


@dataclass(frozen=True)
class Learned:
    """Digests of the images that a model has learned from, and of those that chose among its
    weights.
    """

    trained: frozenset[str]
    chose: frozenset[str]


def refuse_leaks(model: Path, real: RealSplit, *, trust: bool = False) -> tuple[str, ...]:
    """Make sure that all that a model knows of these images is what a classifier may learn from.

    Validation images and those that fewer shots leave out count as well: a model that has seen them
    would carry more into its images than the real ones that they are held against.

    Args:
        model: a run folder or a .safetensors file.
        real: the images that it is judged by.
        trust: take weights whose run is not there, on the word of whoever names them.

    Returns:
        What a person should know.

    Raises:
        ModelError: if it has learned from others than those to learn from, or nobody can tell.
        DataError: if the images of its run are gone.
    """
    folder = run_of(model)
    if folder is None:
        return (_unknown(model, trust),)
    try:
        learned = what_it_learned(folder)
    except ModelError:
        if not trust:
            raise
        return (_unknown(model, trust),)
    parts = {split: real.part(split).samples for split in (TRAIN, VAL, TEST)}
    digests = {split: _digests(samples) for split, samples in parts.items()}
    forbidden = {
        "test": digests[TEST] & (learned.trained | learned.chose),
        "validation": digests[VAL] & learned.trained,
        "left-out": _digests(real.left_out) & learned.trained,
    }
    if found := {name: len(seen) for name, seen in forbidden.items() if seen}:
        raise ModelError(_refusal(model, found))
    shared = len(digests[TRAIN] & learned.trained)
    known = len(learned.trained)
    return (f"{model} has learned from {known} images, {shared} of them to learn from here",)


def run_of(model: Path) -> RunFolder | None:
    """The run folder that a model belongs to, if it is there."""
    candidates = (model,) if model.is_dir() else (model.parent.parent,)
    folders = (RunFolder(path) for path in candidates)
    return next((f for f in folders if f.split.is_file() and f.config.is_file()), None)


def what_it_learned(folder: RunFolder) -> Learned:
    """The images of a run and of all runs that it began with.

    Raises:
        ModelError: if it began with weights whose run is not there.
        DataError: if images are gone.
    """
    trained: set[str] = set()
    chose: set[str] = set()
    for run in _line(folder):
        index = read_split(run.split)
        trained |= _digests(index.samples)
        chose |= _digests([s for s in index.held_out if s.split == VAL and s.file.is_file()])
    return Learned(frozenset(trained), frozenset(chose))


def _line(folder: RunFolder) -> Iterator[RunFolder]:
    """A run, the one that it began with, and so on."""
    run: RunFolder | None = folder
    while run is not None:
        yield run
        start = load_config(run.config, {}).training.init_from
        if start is None:
            return
        before, run = run, run_of(Path(start))
        if run is None:
            raise ModelError(
                f"{before.path} began with {start}, whose run is not there: nobody can tell which "
                "images it has seen; name another model, or say that this one can be trusted"
            )


def _unknown(model: Path, trust: bool) -> str:
    if trust:
        return f"nobody can tell which images {model} has learned from: it is trusted"
    raise ModelError(
        f"{model} is weights without a run folder: nobody can tell which images it has learned "
        "from; name the run, or say that it can be trusted"
    )


def _digests(samples: Sequence[Sample]) -> set[str]:
    found = Facts().of("sha256", [s.file for s in samples], sha256)
    if damaged := [e for e in found.values() if isinstance(e, DataError)]:
        raise damaged[0]
    return {digest for digest in found.values() if isinstance(digest, str)}


def _refusal(model: Path, found: dict[str, int]) -> str:
    seen = ", ".join(f"{count} of the {name} images" for name, count in found.items())
    if "test" in found:
        remedy = "train one on the training images alone, which the table of the split names"
    else:
        remedy = (
            "train one on the training images alone, which the table of the split names, or draw "
            "the validation images from the test images and keep all shots"
        )
    return f"{model} has seen {seen}: what it paints would know them; {remedy}"
