"""The samples of a layout, looked at: which files can be used, where their defects lie, and what a
person must know of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from defectgan.data.facts import Facts
from defectgan.data.masks import MaskFacts, look_at_mask
from defectgan.data.outlines import is_outlined, lies, upright_box
from defectgan.data.samples import Mark, Sample
from defectgan.errors import DataError
from defectgan.heads import SIDEWAYS, Header, probe
from defectgan.words import counted

Skipped = list[tuple[Path, str]]


def usable(samples: Sequence[Sample], facts: Facts) -> tuple[list[Sample], Skipped]:
    """The samples whose files can be used, with their headers, and the others with the reason."""
    files = [file for s in samples for file in (s.file, *s.truths)]
    headers = facts.of("header", files, probe)
    good: list[Sample] = []
    skipped: Skipped = []
    for sample in samples:
        heads = [headers[file] for file in (sample.file, *sample.truths)]
        bad = [str(head) for head in heads if isinstance(head, DataError)]
        if bad:
            skipped.append((sample.file, bad[0]))
            continue
        made = replace(sample, header=Header(*headers[sample.file]))  # type: ignore[misc]
        if (problem := _otherwise_labelled(made)) is not None:
            skipped.append((sample.file, problem))
        else:
            good.append(_upright(made))
    return good, skipped


def _otherwise_labelled(sample: Sample) -> str | None:
    """What is wrong where labels are for an image of another size."""
    header = sample.header
    if header is None or sample.labelled is None or not sample.marks or lies(sample):
        return None
    if sample.labelled == (header.width, header.height):
        return None
    width, height = sample.labelled
    return (
        f"its labels are for an image {width} wide and {height} high, {sample.file} is "
        f"{header.width} wide and {header.height} high: take the image that was labelled, or label "
        "this one"
    )


def _upright(sample: Sample) -> Sample:
    """The sample with its boxes as the image lies upright."""
    if not lies(sample):
        return sample
    assert sample.header is not None
    header = sample.header
    marks = tuple(mark._replace(box=upright_box(mark.box, header)) for mark in sample.marks)
    return replace(sample, marks=marks)


def about_turned(samples: Sequence[Sample]) -> list[str]:
    """What a person must know of images that a camera held otherwise, where nothing tells whether
    they were labelled as they lie in the file or upright.
    """
    unclear = [s.file for s in samples if _is_unclear(s)]
    if not unclear:
        return []
    return [
        f"{counted(len(unclear), 'image')} with labels or masks are turned or mirrored by what the "
        "camera has noted (EXIF): the labels are taken for the upright image, the first: "
        f"{unclear[0]}; look at it in a preview"
    ]


def _is_unclear(sample: Sample) -> bool:
    header = sample.header
    if header is None or header.turn == 1:
        return False
    telling = header.turn in SIDEWAYS and header.width != header.height
    unclear_marks = bool(sample.marks) and not (telling and sample.labelled is not None)
    return unclear_marks or (bool(sample.truths) and not telling)


def with_marks(samples: Sequence[Sample], facts: Facts) -> tuple[list[Sample], Skipped, list[str]]:
    """The samples with the places of their defects by their masks, those whose mask is damaged, and
    what a person must know of the masks.
    """
    looks = facts.of("mask", [s.mask for s in samples if s.mask is not None], look_at_mask)
    marked, damaged = [], []
    soft, empty, untrue = [], [], []
    for sample in samples:
        look = looks[sample.mask] if sample.mask is not None else None
        if look is None:
            marked.append(sample)
        elif isinstance(look, DataError):
            damaged.append((sample.file, str(look)))
        else:
            values, boxes = MaskFacts(*look)
            soft += [sample.mask] if values > 2 else []
            empty += [sample.mask] if sample.labels and not boxes else []
            untrue += [sample.mask] if boxes and not sample.labels else []
            by_mask = tuple(Mark((x, y, w, h)) for x, y, w, h in boxes)
            marked.append(replace(sample, marks=sample.marks or by_mask))
    notes = [
        f"{counted(len(masks), noun)} {what}, the first: {masks[0]}"
        for masks, noun, what in (
            (soft, "mask", "with other values than two: above half of the largest is defect"),
            (empty, "empty mask", "of images of defects"),
            (untrue, "mask", "of normal images in which there is a defect"),
        )
        if masks
    ]
    return marked, damaged, notes


def about_marks(samples: Sequence[Sample], *, windows: bool) -> list[str]:
    """What a person must know of where defects lie; ``windows`` says whether they are looked at
    through windows.
    """
    notes = []
    if windows and (anywhere := [s for s in samples if s.labels and not s.marks]):
        notes.append(
            f"windows lie anywhere in {counted(len(anywhere), 'image')} of defects with neither a "
            f"mask nor a box, the first: {anywhere[0].file}"
        )
    partly = [s for s in samples if not is_outlined(s) and any(m.outline for m in s.marks)]
    partly = [s for s in partly if s.mask is None]
    if partly:
        notes.append(
            f"{counted(len(partly), 'image')} with outlines of some defects and boxes of others: "
            f"they have no true mask, the first: {partly[0].file}"
        )
    return notes


def about_files(samples: Sequence[Sample]) -> list[str]:
    """What a person must know of the files themselves."""
    notes = []
    if paged := [s.file for s in samples if s.header is not None and s.header.pages > 1]:
        notes.append(
            f"only the first page is read of {counted(len(paged), 'file')} with several: {paged[0]}"
        )
    return notes


def odd_classes(samples: Sequence[Sample], classes: Sequence[str]) -> list[str]:
    """What a person must know of a class whose files differ from all others in size, depth or
    being gray: a classifier will learn just that.
    """
    kinds: dict[str, list[Header]] = {name: [] for name in classes}
    for sample in samples:
        if sample.header is not None and sample.cut is None:
            for name in sample.labels or classes[:1]:
                kinds[name].append(sample.header)
    notes = []
    for what, of in (
        ("size", lambda h: f"{h.width} x {h.height}"),
        ("depth", lambda h: f"{h.bits} bits"),
        ("colour", lambda h: "gray" if h.channels == 1 else "in colour"),
    ):
        values = {name: Counter(map(of, heads)) for name, heads in kinds.items() if heads}
        notes += _apart(what, values)
    return notes


def _apart(what: str, values: dict[str, Counter[str]]) -> list[str]:
    """The classes that share no value with the others, where those share theirs."""
    apart = [
        name
        for name, mine in values.items()
        if not any(mine.keys() & other.keys() for n, other in values.items() if n != name)
    ]
    if not apart or len(values) < 2:
        return []
    if len(values) == 2 or len(apart) == len(values):
        apart = apart[-1:] if len(values) == 2 else apart
    said = ", ".join(f"{name} ({values[name].most_common(1)[0][0]})" for name in apart)
    rest = next((n for n in values if n not in apart), None)
    other = "" if rest is None else f" ({rest}: {values[rest].most_common(1)[0][0]})"
    return [
        f"all images of {said} differ from the other classes in {what}{other}: a classifier will "
        f"learn just that; bring all images to one {what}"
    ]
