"""True masks as people have them, and the plain masks that are made of them.

plain      above half of the largest value is defect: 0 and 1, 0 and 255, soft masks
any        every value or colour but the background's is defect: numbers of classes, colours
alpha      what is opaque is defect
inverted   what is not above half of the largest value is defect

A mask that is not plain, or lies as the camera was held while its image is upright, or comes in
several files is made anew and kept in the cache, named by what it is made of: whatever reads masks
reads a plain one. Where one way of reading is to be told from another the masks of a set decide
together, and a person is told.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defectgan.data.facts import Facts
from defectgan.data.kept import WRITERS, kept_mask
from defectgan.data.samples import PLAIN, Sample
from defectgan.errors import DataError
from defectgan.files import digest
from defectgan.heads import SIDEWAYS, Header, probe
from defectgan.images import Picture, brightest, decoded, different, read_picture, strips, turned
from defectgan.words import counted

ANY, ALPHA, INVERTED = "any", "alpha", "inverted"
RULES = (PLAIN, ANY, ALPHA, INVERTED)
AUTO = "auto"

# More different values are no numbers of classes, and more colours none that stand for them.
MOST_NUMBERS = 32
# Masks of 8 bits with no larger value hold numbers of classes.
SMALL = 64
# Of 255: how far values lie from black or white in what a lossy file makes of a mask, and the share
# of a mask's pixels that lie so.
NEAR, NEARLY_ALL = 24, 0.97
# An inverted mask covers so much of the image, and of its border.
MOST = 0.5
# The share of a set's masks that look inverted from which on it is.
INVERTED_SHARE = 0.8
LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp")
WAY_OUT = "data.mask_values says otherwise"

Region = NDArray[np.bool_]


class Look(NamedTuple):
    """What a mask file looks like: how many different ``values`` or colours it has, the share of
    its pixels and of its border that are ``covered`` and ``bordered`` if it is plain, whether it
    holds ``numbers`` of classes or ``colours``, whether its transparency tells (``clear``), and
    whether it can be a ``mask`` at all.
    """

    values: int
    covered: float
    bordered: float
    numbers: bool
    colours: bool
    clear: bool
    mask: bool


def looks_of(files: Sequence[Path], facts: Facts) -> dict[Path, Look | DataError]:
    """What each of some files looks like as a mask."""
    found = facts.of("truth", files, look)
    return {f: one if isinstance(one, DataError) else Look(*one) for f, one in found.items()}


def look(path: Path) -> Look:
    """What a mask file looks like.

    Raises:
        DataError: if it is missing or damaged.
    """
    with decoded(path) as picture:
        return _look(path, picture)


def _look(path: Path, picture: Picture) -> Look:
    plain, few = _plain(picture), _few(picture)
    edges = (plain[0], plain[-1], plain[:, 0], plain[:, -1])
    colours = picture.pixels.shape[2] == 3 and few is not None and _is_coloured(picture.pixels)
    clear = _is_clear(picture)
    return Look(
        values=MOST_NUMBERS + 1 if few is None else len(few),
        covered=float(plain.mean()),
        bordered=float(np.concatenate(edges).mean()),
        numbers=few is not None and not colours and _has_numbers(path, picture, few),
        colours=colours and path.suffix.lower() not in LOSSY,
        clear=clear,
        mask=clear or few is not None or _is_two_toned(picture),
    )


def _gray(picture: Picture) -> NDArray[Any]:
    return brightest(picture.pixels)


def _packed(picture: Picture) -> NDArray[Any]:
    """A number for each value or colour, 0 for black alone."""
    pixels = picture.pixels
    if pixels.shape[2] == 1:
        return np.asarray(pixels[..., 0])
    wide = pixels.astype(np.uint64) if pixels.dtype.kind != "f" else pixels.view(np.uint32)
    return np.asarray(wide[..., 0] << 32 | wide[..., 1] << 16 | wide[..., 2])


def _few(picture: Picture) -> NDArray[Any] | None:
    """The different values, or colours, of a picture; None where there are many."""
    packed = _packed(picture)
    first = np.unique(packed[:: max(1, len(packed) // 64)])  # most photographs end here
    if len(first) > MOST_NUMBERS:
        return None
    values = different(packed, MOST_NUMBERS)
    return values if len(values) <= MOST_NUMBERS else None


def _is_coloured(pixels: NDArray[Any]) -> bool:
    return bool((pixels != pixels[..., :1]).any())


def _is_clear(picture: Picture) -> bool:
    """Whether transparency tells where the defects are."""
    alpha = picture.alpha
    return alpha is not None and bool(alpha.min() < alpha.max())


def _is_two_toned(picture: Picture) -> bool:
    """Whether nearly all values lie near black or white."""
    near, white = NEAR / 255 * picture.full.white, picture.full.white
    parts = strips(_gray(picture))
    count = sum(int(((part <= near) | (part >= white - near)).sum()) for part in parts)
    height, width = picture.size
    return count >= NEARLY_ALL * height * width


def _has_numbers(path: Path, picture: Picture, values: NDArray[Any]) -> bool:
    """Whether values are numbers of classes rather than the soft border of a plain mask: small
    ones, or such as fill areas.
    """
    if len(values) < 3 or path.suffix.lower() in LOSSY or picture.pixels.dtype.kind == "f":
        return False
    gray = _gray(picture)
    largest = int(gray.max())
    if largest < SMALL:
        return True
    import cv2

    window = np.ones((3, 3), np.uint8)
    low = [value for value in different(gray) if 0 < value <= largest / 2]
    return any(cv2.erode((gray == value).astype(np.uint8), window).any() for value in low)


def _plain(picture: Picture) -> Region:
    gray = _gray(picture)
    return np.asarray(gray > gray.max() / 2)


def _any(picture: Picture) -> Region:
    """All but black, or but the commonest value where nothing is black."""
    packed = _packed(picture)
    if (packed == 0).any():
        return np.asarray(packed != 0)
    values, counts = np.unique(packed, return_counts=True)
    return np.asarray(packed != values[counts.argmax()])


def _opaque(picture: Picture) -> Region:
    alpha = picture.alpha
    if alpha is None:
        return _plain(picture)
    return np.asarray(alpha > alpha.max() / 2)


_READ: Mapping[str, Callable[[Picture], Region]] = {
    PLAIN: _plain,
    ANY: _any,
    ALPHA: _opaque,
    INVERTED: lambda picture: ~_plain(picture),
}


def region_by(path: Path, rule: str) -> Region:
    """The defect of a mask file, [H, W], by a rule.

    Raises:
        DataError: if it is missing or damaged.
    """
    return _READ[rule](read_picture(path))


def with_truths(
    samples: Sequence[Sample], facts: Facts, wanted: str = AUTO
) -> tuple[list[Sample], list[tuple[Path, str]], list[str]]:
    """The samples, those with files of a true mask with a plain mask of them; those of which that
    is damaged or of another size, each with the reason; and what a person must know.

    Args:
        samples: with headers.
        facts: what is known of files.
        wanted: one of ``RULES`` for all masks, or AUTO.
    """
    files = [file for s in samples for file in s.truths]
    looks, heads = looks_of(files, facts), facts.of("header", files, probe)
    sound: list[Sample] = []
    skipped: list[tuple[Path, str]] = []
    for sample in samples:
        found = [looks[file] for file in sample.truths]
        bad = [str(one) for one in found if isinstance(one, DataError)]
        bad += _other_size(sample, heads)
        if bad:
            skipped.append((sample.file, bad[0]))
        else:
            sound.append(sample)
    known = {f: one for f, one in looks.items() if isinstance(one, Look)}
    rule, notes = _rule_of_set(sound, known, wanted)
    made = [_ruled(sample, known, rule, wanted) for sample in sound]
    notes += _about_large(made, known)
    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(with_mask, made)), skipped, notes


def _other_size(sample: Sample, heads: Mapping[Path, Any]) -> list[str]:
    """What is wrong where a mask is neither as large as the image nor as its file."""
    assert sample.header is not None
    width, height = sample.header.width, sample.header.height
    fitting = {(width, height)} | ({(height, width)} if sample.header.turn in SIDEWAYS else set())
    for file in sample.truths:
        head = heads[file]
        if not isinstance(head, DataError) and tuple(head[:2]) not in fitting:
            return [
                f"its mask {file} is {head[0]} x {head[1]}, the image {width} x {height}: give it "
                "a mask of its own size"
            ]
    return []


def _rule_of_set(
    samples: Sequence[Sample], looks: Mapping[Path, Look], wanted: str
) -> tuple[str, list[str]]:
    """The rule by which the masks of a set are read, and what was guessed."""
    masks = [looks[file] for s in samples if s.labels for file in s.truths]
    if wanted != AUTO or not masks:
        return (PLAIN if wanted == AUTO else wanted), []
    for has, what in (("numbers", "numbers of classes"), ("colours", "colours")):
        if count := sum(getattr(one, has) for one in masks):
            note = (
                f"{counted(count, 'mask')} with {what}: all but the background counts as defect in "
                f"the masks of this set ({WAY_OUT})"
            )
            return ANY, [note]
    seen = [one for one in masks if not one.clear and one.values > 1]
    dark = [one for one in seen if one.covered > MOST and one.bordered > MOST]
    if seen and len(dark) >= max(2, INVERTED_SHARE * len(seen)):
        note = (
            f"{len(dark)} of {counted(len(seen), 'mask')} cover most of the image and its border: "
            f"taken for inverted, what is dark counts as defect ({WAY_OUT})"
        )
        return INVERTED, [note]
    return PLAIN, []


def _ruled(sample: Sample, looks: Mapping[Path, Look], rule: str, wanted: str) -> Sample:
    if wanted == AUTO and any(looks[file].clear for file in sample.truths):
        rule = ALPHA
    return replace(sample, rule=rule) if sample.truths else sample


def _about_large(samples: Sequence[Sample], looks: Mapping[Path, Look]) -> list[str]:
    large = [
        s.truths[0]
        for s in samples
        if s.labels and s.truths and s.rule == PLAIN and looks[s.truths[0]].covered > MOST
    ]
    if not large:
        return []
    return [
        f"{counted(len(large), 'mask')} of more than half of the image: look whether what is white "
        f"in it is the defect, the first: {large[0]} ({WAY_OUT})"
    ]


def with_mask(sample: Sample) -> Sample:
    """The sample with a plain mask, upright: its only file where that is one, or one that is kept
    in the cache.

    Raises:
        DataError: if a file of it is missing or damaged, or nothing can be kept.
    """
    if not sample.truths:
        return sample
    assert sample.header is not None
    heads = [probe(file) for file in sample.truths] if sample.header.turn in SIDEWAYS else []
    lying = [_lies(head, sample.header) for head in heads]
    if len(sample.truths) == 1 and sample.rule == PLAIN and not any(lying):
        return replace(sample, mask=sample.truths[0], truths=())
    turn = sample.header.turn

    def drawn() -> Region:
        region: Region | None = None
        for i, file in enumerate(sample.truths):
            part = region_by(file, sample.rule)
            part = turned(part, turn) if lying and lying[i] else part
            region = part if region is None else region | part
        assert region is not None
        return region

    stamps = [(str(f.absolute()), f.stat().st_mtime_ns, f.stat().st_size) for f in sample.truths]
    content = digest(repr((stamps, sample.rule, lying, turn)).encode("utf-8", "surrogateescape"))
    return replace(sample, mask=kept_mask(content, drawn, sample.file))


def _lies(mask: Header, image: Header) -> bool:
    """Whether a mask lies as the camera was held, while its image is upright."""
    return (mask.width, mask.height) != (image.width, image.height)
