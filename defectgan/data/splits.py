"""Splits: which images are kept out of the training, and that no piece stands on both sides."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from defectgan.data.facts import Facts
from defectgan.data.samples import SPLITS, TRAIN, Sample
from defectgan.errors import DataError, SettingError
from defectgan.files import sha256


def group_by_name(samples: Sequence[Sample], pattern: str) -> list[Sample]:
    """The samples with the group that a regular expression finds in each file's name: its first
    parenthesis, or all that it matches.

    Raises:
        SettingError: if the expression is not one.
        DataError: if it does not match a file.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise SettingError(f"the group expression {pattern} is not one: {error}") from error
    grouped = []
    for sample in samples:
        file = sample.cut.file if sample.cut else sample.file
        match = expression.search(file.name)
        if match is None:
            raise DataError(
                f"the group expression {pattern} does not match {file}: expected one "
                "that finds in each name which piece the image shows"
            )
        name = match.group(1) if expression.groups else match.group(0)
        grouped.append(replace(sample, group=name))
    return grouped


def duplicates(samples: Iterable[Sample], facts: Facts) -> list[list[Sample]]:
    """Samples whose files have the same content; only files of one size are read."""
    by_size: dict[int, list[Sample]] = {}
    for sample in samples:
        by_size.setdefault(sample.file.stat().st_size, []).append(sample)
    alike = [s for same_size in by_size.values() if len(same_size) > 1 for s in same_size]
    digests = facts.of("sha256", [s.file for s in alike], sha256)
    by_content: dict[str | DataError, list[Sample]] = {}
    for sample in alike:
        by_content.setdefault(digests[sample.file], []).append(sample)
    return [twins for twins in by_content.values() if len(twins) > 1]


def pieces(samples: Sequence[Sample], twins: Iterable[Sequence[Sample]]) -> list[list[Sample]]:
    """The samples in the smallest sets that may not be torn apart: by group and by content."""
    parent = list(range(len(samples)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    number = {sample.file: i for i, sample in enumerate(samples)}
    first_of: dict[str, int] = {}
    for i, sample in enumerate(samples):
        if sample.group is not None:
            parent[root(i)] = root(first_of.setdefault(sample.group, i))
    for same in twins:
        members = [number[s.file] for s in same if s.file in number]
        for i in members[1:]:
            parent[root(i)] = root(members[0])
    joined: dict[int, list[Sample]] = {}
    for i, sample in enumerate(samples):
        joined.setdefault(root(i), []).append(sample)
    return list(joined.values())


def keep_out(
    samples: Sequence[Sample],
    twins: Sequence[Sequence[Sample]],
    *,
    fraction: float,
    split: str,
    seed: int,
) -> list[Sample]:
    """The samples, of which a fraction of each class has moved from training to ``split``.

    Whole pieces move, drawn by the seed, scarce classes first; the last piece of a class stays. A
    class that has images in ``split`` already gives none.
    """
    rng = np.random.default_rng([seed, len(split)])
    free = pieces([s for s in samples if s.split == TRAIN], twins)
    classes = [{label for s in piece for label in _classes(s)} for piece in free]
    served = {label for s in samples if s.split == split for label in _classes(s)}
    counts = Counter(label for piece in free for s in piece for label in _classes(s))
    left = Counter(label for names in classes for label in names)  # pieces still to learn from
    moved: set[Path] = set()
    for name in sorted(counts.keys() - served, key=lambda n: (counts[n], n)):
        mine = [i for i in rng.permutation(len(free)) if name in classes[i]]
        have = sum(name in _classes(s) for i in mine for s in free[i] if s.file in moved)
        for i in mine:
            if have >= round(fraction * counts[name]):
                break
            if free[i][0].file not in moved and all(left[label] > 1 for label in classes[i]):
                moved |= {s.file for s in free[i]}
                left.subtract(classes[i])
                have += sum(name in _classes(s) for s in free[i])
    return [replace(s, split=split) if s.file in moved else s for s in samples]


def leaks(twins: Sequence[Sequence[Sample]]) -> list[str]:
    """What a person must know of files with the same content: in two classes, or in two splits."""
    told = []
    for same in twins:
        names = ", ".join(str(s.file) for s in same)
        if len({s.labels for s in same}) > 1:
            told.append(f"the same image in two classes: {names}")
        if len({s.split for s in same}) > 1:
            told.append(f"the same image in two splits: {names}")
    return told


def without_straddlers(
    samples: Sequence[Sample], twins: Sequence[Sequence[Sample]]
) -> tuple[list[Sample], list[tuple[Path, str]]]:
    """The samples without those that stand, by content or group, on another side of a split that
    the layout itself names: no training image beside one that judges, no validation image beside
    one that tests.
    """
    dropped: list[tuple[Path, str]] = []
    for piece in pieces(samples, twins):
        kept = max(piece, key=lambda s: SPLITS.index(s.split))
        reason = f"it belongs together with {kept.file}, which is kept for {kept.split}"
        dropped += [(s.file, reason) for s in piece if s.split != kept.split]
    gone = {path for path, _ in dropped}
    return [s for s in samples if s.file not in gone], dropped


def _classes(sample: Sample) -> tuple[str, ...]:
    return sample.labels or ("",)
