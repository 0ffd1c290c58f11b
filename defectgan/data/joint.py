"""Several data sets with different classes as one index, for a training that learns from them all.

What is good is one class, whatever its folder is called: every set tells of it. A defect class is
told of by the sets that have it, and by no other: their images may show it or not, nobody has
looked. Classes of one name in several sets are one class.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from defectgan.data.index import Index, common_root, index_data
from defectgan.data.layouts import read_layout
from defectgan.data.samples import DataSet, Sample
from defectgan.errors import DataError
from defectgan.images import Levels
from defectgan.names import same_name
from defectgan.settings.data import DataConfig
from defectgan.words import found


def index_sets(roots: Sequence[Path], config: DataConfig, *, seed: int = 0) -> Index:
    """Read one data set as ``index_data`` does, or several jointly.

    Raises:
        DataError: as ``index_data``, if a set is named twice or has none of the classes asked for,
            or if what one takes for good is a defect to another.
    """
    if len(roots) == 1:
        return index_data(roots[0], config, seed=seed)
    if len({root.resolve() for root in roots}) < len(roots):
        raise DataError(f"{', '.join(map(str, roots))} name a data set twice: name each once")
    chosen = _chosen(roots, config)
    return _joined(
        [
            index_data(root, config.model_copy(update={"classes": classes}), seed=seed)
            for root, classes in zip(roots, chosen, strict=True)
        ],
        config.classes,
    )


def _chosen(roots: Sequence[Path], config: DataConfig) -> list[tuple[str, ...] | None]:
    """Of the classes that are asked for those that each set has."""
    wanted = config.classes
    if wanted is None:
        return [None] * len(roots)
    having = [
        read_layout(root, layout=config.layout, normal=config.normal_class).defects
        for root in roots
    ]
    known = [*dict.fromkeys(name for names in having for name in names)]
    for name in wanted:
        if not any(same_name(name, one) for one in known):
            raise DataError(
                f"no class {name} in {' or '.join(map(str, roots))}{found(tuple(known), name)}"
            )
    parts = [tuple(w for w in wanted if any(same_name(w, n) for n in names)) for names in having]
    for root, part in zip(roots, parts, strict=True):
        if not part:
            raise DataError(
                f"{root} has none of the classes {', '.join(wanted)}: name one of its own, too, or "
                "leave it out"
            )
    return list(parts)


def _joined(parts: Sequence[Index], wanted: Sequence[str] | None) -> Index:
    normal = parts[0].classes[0]
    names: list[str] = []
    for name in (name for part in parts for name in part.classes[1:]):
        if not any(same_name(name, one) for one in names):
            names.append(name)
    if wanted is not None:
        names = [next(n for n in names if same_name(n, name)) for name in wanted]
    for part in parts:
        if any(same_name(part.classes[0], name) for name in names):
            raise DataError(
                f"{part.classes[0]} are the good images of {part.root}, and a class of defects "
                "elsewhere: rename one of the folders"
            )

    def called(name: str) -> str:
        return next(one for one in names if same_name(one, name))

    def ours(samples: Sequence[Sample], number: int) -> list[Sample]:
        return [
            replace(
                sample,
                labels=tuple(map(called, sample.labels)),
                marks=tuple(m._replace(label=m.label and called(m.label)) for m in sample.marks),
                dataset=number,
            )
            for sample in samples
        ]

    sets = [DataSet(p.root, (normal, *map(called, p.classes[1:]))) for p in parts]
    counted = enumerate(parts)
    both = [(ours(part.samples, i), ours(part.held_out, i)) for i, part in counted]
    levels = [part.levels for part in parts if part.levels is not None]
    return Index(
        root=common_root([part.root for part in parts]),
        layout=", ".join(dict.fromkeys(part.layout for part in parts)),
        classes=(normal, *names),
        samples=tuple(sample for samples, _ in both for sample in samples),
        channels=max(part.channels for part in parts),
        # Black and white of all: none of them is clipped.
        levels=Levels(min(one.black for one in levels), max(one.white for one in levels))
        if levels
        else None,
        held_out=tuple(sample for _, kept in both for sample in kept),
        skipped=tuple(row for part in parts for row in part.skipped),
        notes=(*(note for part in parts for note in part.notes), *_about(sets)),
        sets=tuple(sets),
    )


def _about(sets: Sequence[DataSet]) -> list[str]:
    """What a person should know of classes that several sets have."""
    shared = [
        (name, [str(one.root) for one in sets if name in one.classes])
        for name in dict.fromkeys(name for one in sets for name in one.classes[1:])
    ]
    return [
        f"the class {name} is in {' and '.join(roots)}: it is learned as one class"
        for name, roots in shared
        if len(roots) > 1
    ]
