"""The index: the images that a training learns from, checked, with their classes."""

import json
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from defectgan.data import checks, splits
from defectgan.data.background import background, cut_file
from defectgan.data.facts import Facts, digests
from defectgan.data.layouts import Listing, read_layout
from defectgan.data.levels import LEVEL_IMAGES, about_dim, find_levels
from defectgan.data.outlines import is_outlined, with_masks
from defectgan.data.samples import PLAIN, SPLITS, TEST, TRAIN, VAL, Cut, DataSet, Mark, Sample
from defectgan.data.truths import with_mask, with_truths
from defectgan.data.twins import held_together, whole_pairs, with_twins
from defectgan.errors import DataError
from defectgan.files import read_json, write_atomically
from defectgan.heads import EXPECTED, Header
from defectgan.images import Levels
from defectgan.names import class_name, same_name
from defectgan.settings.data import DataConfig
from defectgan.words import counted, found


@dataclass(frozen=True)
class Index:
    """The samples of a data folder.

    ``classes`` names the K classes, the normal one first; ``samples`` are learned from,
    ``held_out`` are kept for validation or testing; ``channels`` is 1 where every image is gray;
    ``levels`` are the pixel values that are black and white, None for each file's full range;
    ``skipped`` lists files that could not be used, each with its reason; ``notes`` are sentences
    for a person; ``sets`` are the data sets that are learned from jointly, none where there is one,
    the samples of each in succession.
    """

    root: Path
    layout: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    channels: int
    levels: Levels | None = None
    held_out: tuple[Sample, ...] = ()
    skipped: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()
    sets: tuple[DataSet, ...] = ()

    @cached_property
    def members(self) -> tuple[tuple[Sample, ...], ...]:
        """The samples of each class; one with several labels stands in several classes."""
        normal = tuple(s for s in self.samples if not s.labels)
        return normal, *(
            tuple(s for s in self.samples if name in s.labels) for name in self.classes[1:]
        )

    @cached_property
    def known(self) -> tuple[tuple[int, ...], ...]:
        """The numbers of the classes that the labels of each of several sets tell of."""
        return tuple(tuple(map(self.classes.index, one.classes)) for one in self.sets)

    @cached_property
    def ranges(self) -> tuple[tuple[range, ...], ...]:
        """Of each class, which of its members are of each of several sets."""
        ends = range(len(self.sets) + 1)
        numbers = [[sample.dataset for sample in members] for members in self.members]
        cuts = [[bisect_left(one, end) for end in ends] for one in numbers]
        return tuple(tuple(range(*pair) for pair in pairwise(one)) for one in cuts)

    def beside(self, k: int, other: int) -> list[int]:
        """Which of the members of class k are of a set that has the class ``other``, too."""
        if not self.sets:
            return list(range(len(self.members[k])))
        having = (r for r, known in zip(self.ranges[k], self.known, strict=True) if other in known)
        return [i for one in having for i in one]

    @property
    def all_samples(self) -> tuple[Sample, ...]:
        """Those to learn from, then those held out."""
        return (*self.samples, *self.held_out)

    @property
    def multi_label(self) -> bool:
        """Whether any image shows defects of several classes."""
        return any(len(s.labels) > 1 for s in self.samples)

    @property
    def paired(self) -> bool:
        """Whether images of defects have twins."""
        return any(sample.twin is not None for sample in self.samples)

    def numbers(self, labels: Iterable[str]) -> list[int]:
        """The class numbers of a sample's labels, [0] for a normal one's."""
        return [self.classes.index(name) for name in labels] or [0]

    def spread(self, k: int, count: int) -> list[Sample]:
        """``count`` samples of class k, or all if there are fewer, spread evenly."""
        total = len(self.members[k])
        count = min(count, total)
        return [self.members[k][i * total // count] for i in range(count)]

    def sizes(self) -> dict[str, int]:
        """How many images to learn from there are of each size and depth, the commonest first."""
        headers = [s.header for s in self.samples if s.header is not None]
        kinds = Counter(f"{h.width} wide, {h.height} high, {h.bits} bits" for h in headers)
        return dict(kinds.most_common())

    def counts(self) -> dict[str, int]:
        """How many images each class has."""
        return {c: len(m) for c, m in zip(self.classes, self.members, strict=True)}

    def split_counts(self) -> dict[str, int]:
        """How many images each split has."""
        kept = {split: sum(s.split == split for s in self.held_out) for split in (VAL, TEST)}
        return {TRAIN: len(self.samples), **{split: n for split, n in kept.items() if n}}


def index_data(root: Path, config: DataConfig, *, seed: int = 0, good_only: bool = False) -> Index:
    """Read a data folder, a table or a COCO file.

    Args:
        root: the folder or file; see ``layouts``.
        config: classes, normal class, layout, and what is held out.
        seed: draws the held-out images.
        good_only: whether normal images are all that is learned from: there need be no defects.

    Raises:
        DataError: if there is nothing to learn from: no normal class, an unknown or an empty class;
            with ``config.strict`` also if any file cannot be used.
    """
    listing = read_layout(root, layout=config.layout, normal=config.normal_class)
    if not (listing.defects or good_only):
        reason = f"; {listing.skipped[0][1]}" if listing.skipped else ""
        raise DataError(
            f"no defect classes in {listing.root}: found only {listing.normal}; expected one more "
            f"class for each defect{reason}"
        )
    names = _chosen(listing, config.classes)
    samples = [_with_labels(s, names) for s in listing.samples if not s.labels or _any(s, names)]
    facts = Facts()
    lone: checks.Skipped = []
    about_pairs: list[str] = []
    if config.pairs is not None:
        place = root if root.is_dir() else listing.root
        samples, lone, about_pairs = with_twins(samples, place, Path(config.pairs))
    samples, skipped = checks.usable(samples, facts)
    about_turned = checks.about_turned(samples)
    samples, unmasked, about_truths = with_truths(samples, facts, config.mask_values)
    samples, unclear = with_masks(samples)
    samples, damaged, about_masks = checks.with_marks(samples, facts)
    if config.normal_from_background:
        samples = background(samples, config)
    skipped = [*listing.skipped, *lone, *skipped, *unmasked, *damaged]
    notes = [
        *listing.notes,
        *about_pairs,
        *_alike(names),
        *about_turned,
        *about_truths,
        *about_masks,
    ]
    notes += [f"{path}: {reason}" for path, reason in unclear]
    notes += checks.about_files(samples)
    notes += checks.about_marks(samples, windows=config.fit == "crop")
    if config.group_regex is not None:
        samples = splits.group_by_name(samples, config.group_regex)
    if config.pairs is not None:
        samples = held_together(samples)
    # Two pairs are not the same for beginning with the same image, such as a bare board.
    told_apart = [s for s in samples if s.labels] if config.pairs is not None else samples
    twins = splits.duplicates(told_apart, facts)
    notes += splits.leaks(twins)
    samples, straddlers = splits.without_straddlers(samples, twins)
    skipped += straddlers
    if config.pairs is not None:
        samples, torn = whole_pairs(samples)
        skipped += torn
    for fraction, split in ((config.holdout, TEST), (config.val_fraction, VAL)):
        if fraction:
            samples = splits.keep_out(samples, twins, fraction=fraction, split=split, seed=seed)
    if facts.problem:
        notes.append(facts.problem)
    if config.strict and skipped:
        path, reason = skipped[0]
        raise DataError(
            f"{counted(len(skipped), 'file')} cannot be used, the first: {path}: {reason}"
        )
    notes += checks.odd_classes(samples, (listing.normal, *names))
    index = Index(
        root=listing.root,
        layout=listing.layout,
        classes=(listing.normal, *names),
        samples=tuple(s for s in samples if s.split == TRAIN),
        channels=max((s.header.channels for s in samples if s.header is not None), default=1),
        held_out=tuple(s for s in samples if s.split != TRAIN),
        skipped=(*skipped, *listing.aside),
        notes=tuple(notes),
    )
    if not all(index.members[:1] if good_only else index.members):
        raise _empty(index, listing)
    if config.levels != "full":
        good = [sample.file for sample in index.spread(0, LEVEL_IMAGES)]
        return replace(index, levels=find_levels(index.root, good, config.levels))
    deep = [s.file for s in index.samples if s.header is not None and s.header.bits == 16]
    return replace(index, notes=(*index.notes, *about_dim(deep, facts)))


def _chosen(listing: Listing, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The defect classes in the order asked for."""
    names = listing.defects if wanted is None else tuple(wanted)
    known = (listing.normal, *listing.defects)
    names = tuple(next((k for k in known if same_name(k, name)), name) for name in names)
    for name in names:
        if name == listing.normal:
            raise DataError(
                f"{name} is the normal class: it is always used, leave it out of the defect classes"
            )
        if name not in listing.defects:
            raise DataError(f"no class {name} in {listing.root}{found(known, name)}")
    if len(set(names)) < len(names):
        raise DataError(f"the classes {', '.join(names)} name one twice: name each class once")
    return names


def _alike(names: Sequence[str]) -> list[str]:
    """What a person must know of classes that are one but for how somebody wrote it."""
    spelled: dict[str, list[str]] = {}
    for name in names:
        spelled.setdefault("".join(name.split()).casefold(), []).append(name)
    return [
        f"the classes {' and '.join(same)} differ in case or blanks alone: give them one name if "
        "they are the same defect"
        for same in spelled.values()
        if len(same) > 1
    ]


def _any(sample: Sample, names: Sequence[str]) -> bool:
    return any(label in names for label in sample.labels)


def _with_labels(sample: Sample, names: Sequence[str]) -> Sample:
    return replace(
        sample,
        labels=tuple(name for name in names if name in sample.labels),
        marks=tuple(mark for mark in sample.marks if mark.label is None or mark.label in names),
    )


def _empty(index: Index, listing: Listing) -> DataError:
    """What is wrong with each class that has no images, and how to go on without them."""
    empty = [k for k, members in enumerate(index.members) if not members]
    text = "\n".join(_empty_class(index, listing, k) for k in empty)
    if empty[0] == 0 and any(s.marks or s.mask for s in index.samples):
        return DataError(
            f"{text}; or take good windows from beside the defects",
            mend=("normal_from_background", ""),
        )
    others = [name for k, name in enumerate(index.classes) if k and k not in empty]
    if not others or empty[0] == 0:
        return DataError(text)
    what = "it" if len(empty) == 1 else "them"
    text = f"{text}\nremove {what}, or name the classes to learn"
    return DataError(text, mend=("classes", " ".join(others)))


def _empty_class(index: Index, listing: Listing, k: int) -> str:
    name = index.classes[k]
    files = {s.file for s in listing.samples if (name in s.labels if k else not s.labels)}
    reasons = [reason for path, reason in index.skipped if path in files]
    where = f"class {name} of {index.root}"
    if reasons:
        return (
            f"no usable images in {where}: {len(reasons)} could not be read, the first: "
            f"{reasons[0]}"
        )
    if files:
        return f"no images in {where} are left to learn from: all are kept for testing"
    return f"no images in {where}: expected {EXPECTED} files"


def write_split(path: Path, index: Index) -> None:
    """Record which files a training learns from and which are held out, relative to the data, with
    the SHA-256 of all that each has held while the run learned from it, also before it was resumed.

    Raises:
        DataError: if a file cannot be read.
    """
    before = _recorded(path)["samples"] if path.is_file() else []
    content = {(row["file"], row.get("dataset", 0)): set(row.get("sha256", ())) for row in before}
    there = {s.file: s.dataset for s in index.all_samples if s.file.is_file()}
    for file, digest in digests([*there]).items():
        number = there[file]
        content.setdefault((_relative(file, _root(index, number)), number), set()).add(digest)
    record = {
        "root": str(index.root.resolve()),
        "layout": index.layout,
        "classes": index.classes,
        "channels": index.channels,
        "levels": index.levels,
        "samples": [_record(s, _root(index, s.dataset), content) for s in index.all_samples],
    }
    if index.sets:
        record["sets"] = [(str(root.resolve()), classes) for root, classes in index.sets]
    write_atomically(path, json.dumps(record, indent=1).encode())


def _root(index: Index, number: int) -> Path:
    """Where the data set of a number lies."""
    return index.sets[number].root if index.sets else index.root


Contents = Mapping[tuple[str, int], set[str]]


def _record(sample: Sample, root: Path, content: Contents) -> dict[str, Any]:
    file = _relative(sample.file, root)
    row: dict[str, Any] = {
        "file": file,
        "sha256": sorted(content.get((file, sample.dataset), ())),
        "labels": list(sample.labels),
        "split": sample.split,
    }
    if sample.truths:
        row["truths"] = [_relative(file, root) for file in sample.truths]
        row["rule"] = sample.rule
    elif sample.mask is not None and not is_outlined(sample):
        row["mask"] = _relative(sample.mask, root)
    if sample.marks:
        row["marks"] = sample.marks
    if sample.labelled is not None:
        row["labelled"] = sample.labelled
    if sample.cut is not None:
        row["cut"] = [_relative(sample.cut.file, root), sample.cut.window]
    if sample.dataset:
        row["dataset"] = sample.dataset
    if sample.group is not None:
        row["group"] = sample.group
    if sample.header is not None:
        row["header"] = sample.header
    if sample.twin is not None:
        row["twin"] = _relative(sample.twin, root)
    return row


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path.resolve())


def read_split(path: Path, *, roots: Sequence[Path] = ()) -> Index:
    """The index that ``write_split`` recorded, below other roots if the data has moved: one for
    each data set, in their order.

    Raises:
        DataError: if the record or one of its files is gone, or there are not as many roots as
            there are data sets.
    """
    record = _recorded(path)
    recorded = [DataSet(Path(at), tuple(names)) for at, names in record.get("sets", ())]
    before = [one.root for one in recorded] or [Path(record["root"])]
    roots = roots or before
    if len(roots) != len(before):
        raise DataError(
            f"{path} is of a training on {counted(len(before), 'data set')}, "
            f"{len(roots)} {'is' if len(roots) == 1 else 'are'} named: name where each is now, in "
            f"this order: {', '.join(map(str, before))}"
        )
    samples = [_recorded_sample(row, roots[row.get("dataset", 0)]) for row in record["samples"]]
    if gone := [s.file for s in samples if s.split == TRAIN and not s.file.is_file()]:
        raise DataError(
            f"{len(gone)} of the images of this run are gone, the first: {gone[0]}; bring them "
            "back, or say where the data is now",
            mend=("data", "FOLDER"),
        )
    samples = [with_mask(s) if all(f.is_file() for f in s.truths) else s for s in samples]
    samples, unclear = with_masks(samples)
    if unclear:
        raise DataError(f"{path} is damaged: {unclear[0][0]}: {unclear[0][1]}")
    return Index(
        root=common_root(roots),
        layout=record["layout"],
        classes=tuple(class_name(name, str(path)) for name in record["classes"]),
        samples=tuple(s for s in samples if s.split == TRAIN),
        channels=record["channels"],
        levels=record["levels"] and Levels(*record["levels"]),
        held_out=tuple(s for s in samples if s.split != TRAIN),
        sets=tuple(one._replace(root=at) for one, at in zip(recorded, roots, strict=False)),
    )


def common_root(roots: Sequence[Path]) -> Path:
    """The folder that holds all of several; that of one is itself."""
    return roots[0] if len(roots) == 1 else Path(os.path.commonpath([r.resolve() for r in roots]))


def _recorded_sample(row: Mapping[str, Any], root: Path) -> Sample:
    cut = Cut(root / row["cut"][0], tuple(row["cut"][1])) if "cut" in row else None
    return Sample(
        file=root / row["file"] if cut is None else cut_file(cut),
        labels=tuple(row["labels"]),
        mask=root / row["mask"] if "mask" in row else None,
        marks=tuple(Mark(tuple(box), *more) for box, *more in row.get("marks", ())),
        group=row.get("group"),
        split=row["split"],
        header=Header(*row["header"]) if "header" in row else None,
        truths=tuple(root / file for file in row.get("truths", ())),
        rule=row.get("rule", PLAIN),
        labelled=tuple(row["labelled"]) if "labelled" in row else None,
        cut=cut,
        twin=root / row["twin"] if "twin" in row else None,
        dataset=row.get("dataset", 0),
    )


def split_content(path: Path) -> dict[str, set[str]]:
    """The SHA-256 of the images of each split that ``write_split`` recorded.

    Raises:
        DataError: if the record is gone, or does not tell.
    """
    content: dict[str, set[str]] = {split: set() for split in SPLITS}
    for row in _recorded(path)["samples"]:
        if "sha256" not in row:
            raise DataError(
                f"{path} does not tell what {row['file']} held when the run began: it is of an "
                "earlier version, and nobody can tell what it has learned from; train anew"
            )
        content[row["split"]].update(row["sha256"])
    return content


def _recorded(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(
            f"no {path.name} in {path.parent}: it is not a run folder, or a damaged one"
        )
    return read_json(path)
