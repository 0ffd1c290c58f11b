"""The real images of an evaluation: which of them are learned from, choose, and test.

A split that the data names itself (folders, a column) is kept. Else shares are drawn by class and
piece, exactly as ``train`` draws them with the same shares and seed.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from defectgan.data import splits
from defectgan.data.facts import Facts, digests, mask_digests
from defectgan.data.index import Index, index_data
from defectgan.data.layouts import LABEL_SEPARATOR
from defectgan.data.samples import SPLITS, TEST, TRAIN, VAL, Sample
from defectgan.errors import DataError
from defectgan.settings.data import DataConfig
from defectgan.words import counted

MASK = "mask"
COLUMNS = ("file", "labels", MASK, "split", "group", "sha256", "mask_sha256")
Members = tuple[tuple[Sample, ...], ...]


@dataclass(frozen=True)
class SplitPlan:
    """How real images are divided.

    ``holdout`` and ``val_fraction`` are shares of a class that the data does not name itself;
    ``val_from`` says whether validation images leave the training or the test images; ``shots``
    keeps so many images of each defect class for training, ``normals`` so many good ones; ``seed``
    draws.
    """

    holdout: float = 0.3
    val_fraction: float = 0.2
    val_from: Literal["train", "test"] = "train"
    shots: int | None = None
    normals: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class RealSplit:
    """Real images with one label each: ``index`` with those to learn from, and those held out;
    ``left_out`` are training images that this evaluation does without, to have fewer shots;
    ``rule`` says how they were divided.
    """

    index: Index
    left_out: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()
    rule: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The K classes, the normal one first."""
        return self.index.classes

    def part(self, split: str) -> Index:
        """The images of ``train``, ``val`` or ``test`` as an index of their own."""
        samples = tuple(s for s in self.index.all_samples if s.split == split)
        return replace(self.index, samples=samples, held_out=())

    @property
    def further(self) -> Index:
        """The images that were left out, as an index of their own."""
        return replace(self.index, samples=self.left_out, held_out=())

    def counts(self) -> dict[str, dict[str, int]]:
        """How many images of each class each split has."""
        return {split: self.part(split).counts() for split in SPLITS}


def split_real(
    data: Path,
    config: DataConfig,
    plan: SplitPlan,
    *,
    needed: Sequence[str] = SPLITS,
    good_only: bool = False,
) -> RealSplit:
    """Divide the images of a data folder, a table or a COCO file.

    Args:
        data: the folder or file, in any layout that ``train`` reads.
        config: classes, normal class, layout and groups; its own shares are not used.
        plan: how to divide.
        needed: the splits that must have images of each class.
        good_only: whether good images are all that is learned from: there need be no defects.

    Raises:
        DataError: if a class has no images left for one of them, or the data cannot be read.
    """
    val_fraction = plan.val_fraction if plan.val_from == TRAIN else 0.0
    shares = {"holdout": plan.holdout, "val_fraction": val_fraction}
    seen = config.model_copy(update=shares)
    index = index_data(data, seen, seed=plan.seed, good_only=good_only)
    index, about_labels = single_labels(index, good_only=good_only)
    if plan.val_from == TEST:
        index = _validate_by_test(index, plan)
    index, left_out = _few(index, plan)
    rule = {name: value for name, value in asdict(plan).items() if value is not None}
    rule["group_regex"] = config.group_regex
    notes = (*index.notes, *about_labels, *_scarce(index, plan))
    real = RealSplit(index, left_out, notes, rule)
    for split in needed:
        if empty := [name for name, count in real.counts()[split].items() if not count]:
            raise DataError(
                f"no {split} images of {', '.join(empty)} in {data}: expected some of each class "
                f"for {', '.join(needed)}; name the splits in a table, hold out other shares, or "
                "leave out classes of so few images"
            )
    return real


def single_labels(index: Index, *, good_only: bool = False) -> tuple[Index, tuple[str, ...]]:
    """Without images that show several defects, and what a person should know of that; with
    ``good_only`` a class may be left with none.

    Raises:
        DataError: if a class is left with none to learn from.
    """
    samples, held_out = (
        tuple(s for s in part if len(s.labels) < 2) for part in (index.samples, index.held_out)
    )
    several = len(index.samples) + len(index.held_out) - len(samples) - len(held_out)
    note = f"{several} images show defects of several classes: they are not used here"
    alone = replace(index, samples=samples, held_out=held_out)
    empty = [name for name, count in alone.counts().items() if not count]
    if empty and not good_only:
        raise DataError(
            f"no image to learn from in {index.root} shows {', '.join(empty)} alone: a class must "
            "be recognised; give it images of its own, or leave the class out"
        )
    return alone, (note,) if several else ()


def _validate_by_test(index: Index, plan: SplitPlan) -> Index:
    """Validation images out of the test images, where the data names none."""
    named = [s for s in index.held_out if s.split == VAL]
    tested = [replace(s, split=TRAIN) for s in index.held_out if s.split == TEST]
    drawn = splits.keep_out(
        [*named, *tested],
        splits.duplicates(tested, Facts()),
        fraction=plan.val_fraction,
        split=VAL,
        seed=plan.seed,
    )
    held_out = tuple(replace(s, split=TEST) if s.split == TRAIN else s for s in drawn)
    return replace(index, held_out=held_out)


def _few(index: Index, plan: SplitPlan) -> tuple[Index, tuple[Sample, ...]]:
    """The index with as many training images of each class as the plan wants, and the others."""
    kept: set[Path] = set()
    for k, members in enumerate(index.members):
        wanted = plan.shots if k else plan.normals
        kept |= {s.file for s in _draw(members, wanted, [plan.seed, k])}
    left_out = tuple(s for s in index.samples if s.file not in kept)
    return replace(index, samples=tuple(s for s in index.samples if s.file in kept)), left_out


def _scarce(index: Index, plan: SplitPlan) -> Iterator[str]:
    """Classes of which there are fewer images than wanted."""
    for name, members in zip(index.classes[1:], index.members[1:], strict=True):
        if plan.shots is not None and 0 < len(members) < plan.shots:
            yield f"{name} has {counted(len(members), 'image')} to learn from, not {plan.shots}"


def _draw(members: Sequence[Sample], wanted: int | None, seed: list[int]) -> list[Sample]:
    """So many of them; fewer shots are always among more."""
    order = np.random.default_rng(seed).permutation(len(members))
    return [members[i] for i in order[:wanted]]


def as_table(index: Index) -> str:
    """An index as a table (``labels.csv``) with absolute paths, a split column, the SHA-256 of each
    image and that of its mask's pixels: what a training on it learns from is exactly what is called
    ``train`` here.

    Raises:
        DataError: if the name of a class would be read as two, a file's name is no text, or a file
            cannot be read.
    """
    if torn := [name for name in index.classes[1:] if LABEL_SEPARATOR in name]:
        raise DataError(
            f"the class {torn[0]} of {index.root} cannot be named in a table, where "
            f"{LABEL_SEPARATOR} stands between labels: call it otherwise"
        )
    content = digests(s.file for s in index.all_samples)
    regions = mask_digests(s.mask for s in index.all_samples if s.mask is not None)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for s in index.all_samples:
        mask, region = ("", "") if s.mask is None else (s.mask.absolute(), regions[s.mask])
        labels = LABEL_SEPARATOR.join(s.labels)
        digest = content[s.file]
        writer.writerow((s.file.absolute(), labels, mask, s.split, s.group or "", digest, region))
    return _text(text.getvalue())


def has_our_columns(table: str) -> bool:
    """Whether a table is one of ``as_table``, and none of an earlier version."""
    return table.partition("\n")[0] == ",".join(COLUMNS)


def same_table(one: str, other: str) -> bool:
    """Whether two tables of ``as_table`` are of the same images, wherever their masks are kept:
    those of outlines lie in a cache.
    """
    return _but_for_masks(one) == _but_for_masks(other)


def _but_for_masks(table: str) -> list[list[str]]:
    place = COLUMNS.index(MASK)
    return [row[:place] + row[place + 1 :] for row in csv.reader(io.StringIO(table))]


def _text(table: str) -> str:
    """The table, if it can be written as text.

    Raises:
        DataError: if the name of a file in it is of another encoding than UTF-8.
    """
    for line in table.splitlines():
        try:
            line.encode()
        except UnicodeEncodeError as error:
            name = line.encode(errors="surrogateescape").decode(errors="replace").split(",")[0]
            raise DataError(
                f"the name of {name} is not UTF-8 and cannot stand in a table: rename the file"
            ) from error
    return table
