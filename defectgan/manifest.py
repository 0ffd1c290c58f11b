"""Generated sets: the rows of their manifest, read and written here alone.

SET/
    manifest.jsonl                 a row an image, see ``ManifestRow``
    rejected.jsonl                 a row an image that was given up, see ``GivenUp``
    job.json                       what the job depends on that made it
    images/<class>/, masks/<class>/

A row has a number, its ``format``. A row of today is one of ``FORMAT``; an older one, or one that
another program wrote, lacks fields, which are then None. What is added to a row with a default that
means what was there before leaves the number as it is.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from defectgan.errors import DataError
from defectgan.files import (
    append_json_lines,
    each_whole_line,
    parse_object,
    sort_json_lines,
    write_json_lines,
)
from defectgan.words import counted

MANIFEST, REJECTED, JOB = "manifest.jsonl", "rejected.jsonl", "job.json"
# 1: rows without a format, of 0.1.0 and shortly after it, the first of them without mask_sha256
#    and binary.
FORMAT = 2
# Joins the classes of an image that shows several.
AND = "+"
Box = tuple[int, int, int, int]


class _Line(BaseModel):
    """An object of a file; what else stands in it is kept."""

    model_config = ConfigDict(
        frozen=True, extra="allow", populate_by_name=True, protected_namespaces=()
    )

    def as_json(self) -> dict[str, Any]:
        """As it stands in the file: without what was never said."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Instance(_Line):
    """One of the defects of an image, which lies in the mask of all.

    ``defect``      its class, called ``class`` in the file
    ``seed``, ``window``, ``critic_score``, ``class_confidence``, ``nearness``, ``realism``  as of
                    the image
    ``region``      left, top, width, height round where it was allowed to be, None: anywhere
    ``box``, ``area``  of what is above the threshold, the area as a share of the image
    """

    defect: str = Field(alias="class")
    seed: int
    window: Box
    region: Box | None = None
    box: Box | None = None
    area: float = Field(ge=0, le=1)
    critic_score: float | None = None
    class_confidence: float | None = None
    nearness: float | None = None
    realism: float | None = None

    @property
    def verdict(self) -> dict[str, float]:
        """The critic's opinion, as far as there was a critic."""
        opinion = {
            "critic_score": self.critic_score,
            "class_confidence": self.class_confidence,
            "nearness": self.nearness,
            "realism": self.realism,
        }
        return {name: value for name, value in opinion.items() if value is not None}


class Rejection(_Line):
    """A painting that was tried and not kept: the ``nth`` defect of its image from a ``seed``;
    ``why`` is one of the words in ``generation/checks.py``, ``value`` what was too low or too high.
    """

    nth: int
    seed: int
    why: str
    value: float | None = None


class ManifestRow(_Line):
    """One image of a generated set.

    ``number``      counts the images of a job from 0
    ``output``, ``mask``  files below the folder, each with its SHA-256 as it was written
    ``binary``      whether the mask is 255 above the threshold and 0 elsewhere, instead of soft
    ``mask_kind``   what the mask is: ``layer``, the opacity of what was painted over the source;
                    ``whole``, all of the image, which was made anew; or ``difference``, where it
                    then differs from the source
    ``source``      the good image that was painted on, with the SHA-256 of its file; none of an
                    image that was made whole, from noise
    ``defect``      the class, called ``class`` in the file
    ``style``       the reference in whose manner it was painted, with the SHA-256 of its file
    ``seed``        of the noise, and of the place of the window
    ``window``      left, top, width, height in pixels: what the model saw and may have changed
    ``threshold``   opacity in [0, 1] above which a pixel of the mask is defect
    ``box``         left, top, width, height of that, None where there is none
    ``mask_area``   its share of the image, in [0, 1]
    ``critic_score``, ``class_confidence``  the critic's opinion, the latter in [0, 1]
    ``nearness``    where more of some examples was asked for: the cosine to the nearest of them
    ``realism``     where the best were asked for: how far the score lies above the good image's
    ``instances``   its defects, where there are several or their places were asked for
    ``strength``    by which what the model paints was scaled
    ``rejected``    paintings of it that were tried before and not kept
    ``model_sha256``  the model's identity; ``defectgan`` and ``torch`` are versions

    An image with defects of several classes has them all in ``defect``, joined by +.
    """

    format: int = Field(1, ge=1)
    number: int | None = Field(None, ge=0)
    binary: bool = False
    output: str
    output_sha256: str | None = None
    mask: str
    mask_sha256: str | None = None
    mask_kind: Literal["layer", "whole", "difference"] = "layer"
    source: str | None = None
    source_sha256: str | None = None
    defect: str = Field(alias="class")
    style: str | None = None
    style_sha256: str | None = None
    seed: int | None = None
    window: Box | None = None
    threshold: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    box: Box | None = None
    mask_area: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    critic_score: float | None = None
    class_confidence: float | None = None
    nearness: float | None = None
    realism: float | None = None
    instances: tuple[Instance, ...] = ()
    strength: float = 1.0
    rejected: tuple[Rejection, ...] = ()
    model_sha256: str | None = None
    defectgan: str | None = None
    torch: str | None = None

    def threshold_or(self, default: float) -> float:
        """The threshold, or another one where none is recorded."""
        return default if self.threshold is None else self.threshold

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of its defects."""
        return tuple(dict.fromkeys(one.defect for one in self.instances)) or (self.defect,)

    @property
    def boxes(self) -> tuple[tuple[str, Box], ...]:
        """The class of each defect and the box round it; where one is empty it has none."""
        found = [(one.defect, one.box) for one in self.instances] or [(self.defect, self.box)]
        return tuple((defect, box) for defect, box in found if box is not None)


class GivenUp(_Line):
    """An image of a job that was not made: every painting that was tried was rejected."""

    number: int = Field(ge=0)
    defect: str = Field(alias="class")
    rejected: tuple[Rejection, ...] = ()


class NumberedRow(ManifestRow):
    """A row of a job that can go on."""

    number: int = Field(ge=0)


class _OfNewerVersion(DataError):
    """A row that this version would misread."""


AnyRow = TypeVar("AnyRow", bound=_Line)


def each_row(out: Path) -> Iterator[ManifestRow]:
    """The rows of a generated set, one after the other; a last line that a kill cut short is left
    out.

    Raises:
        DataError: if another line is damaged, no row of an image, or of a newer version; says
            which.
    """
    for where, line in each_whole_line(out / MANIFEST):
        yield _row_of(line, where, ManifestRow)


def sound_rows(out: Path, say: Callable[[str], None]) -> Iterator[NumberedRow]:
    """As ``each_row``, of a job that can go on: a row without a number is damaged, and what is
    damaged, as by two jobs at once, is left out and said.

    Raises:
        DataError: if a row is of a newer version: what it says must not be lost.
    """
    for where, line in each_whole_line(out / MANIFEST):
        try:
            yield _row_of(line, where, NumberedRow)
        except _OfNewerVersion:
            raise
        except DataError:
            say(f"{where} is damaged: it is left out, and its image is made again")


def _row_of(line: bytes, where: str, kind: type[AnyRow]) -> AnyRow:
    tree = parse_object(line, where)
    if isinstance(number := tree.get("format"), int) and number > FORMAT:
        raise _OfNewerVersion(
            f"{where} is of the format {number}, of a newer version; this one reads up to "
            f"{FORMAT}: update defectgan"
        )
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        found = repr(tree[field]) if field in tree else "nothing"
        raise DataError(
            f"{where} is damaged: {field} is {found}, {first['msg'].lower()}: mend or remove the "
            "line"
        ) from error


def given_up(out: Path) -> list[GivenUp]:
    """The images of a job that were given up.

    Raises:
        DataError: if a line is damaged; says which.
    """
    return [_row_of(line, where, GivenUp) for where, line in each_whole_line(out / REJECTED)]


def append_given_up(out: Path, images: Iterable[GivenUp]) -> None:
    """Append images that were given up."""
    append_json_lines(out / REJECTED, [one.as_json() for one in images])


def write_given_up(out: Path, images: Iterable[GivenUp]) -> None:
    """Write images that were given up, all or none."""
    write_json_lines(out / REJECTED, (one.as_json() for one in images))


def read_manifest(out: Path) -> list[ManifestRow]:
    """As ``each_row``, all of them."""
    return list(each_row(out))


def present_rows(out: Path) -> tuple[list[ManifestRow], tuple[str, ...]]:
    """The rows of a generated set whose image and mask are both there, and what a person should
    know of the others: people take bad pictures out.
    """
    rows = read_manifest(out)
    present = [r for r in rows if (out / r.output).is_file() and (out / r.mask).is_file()]
    missing = len(rows) - len(present)
    note = f"{missing} of the {counted(len(rows), 'image')} that {out / MANIFEST} names"
    verb = "is missing or has" if missing == 1 else "are missing or have"
    return present, (f"{note} {verb} no mask: left out",) if missing else ()


def write_rows(out: Path, rows: Iterable[ManifestRow]) -> None:
    """Write a manifest whole or not at all; the rows may be read from that very file."""
    write_json_lines(out / MANIFEST, (row.as_json() for row in rows))


def append_rows(out: Path, rows: Iterable[ManifestRow]) -> None:
    """Append rows of images whose files are written."""
    append_json_lines(out / MANIFEST, [row.as_json() for row in rows])


def sort_rows(out: Path) -> None:
    """Bring the rows of a job, and what was given up, into the order of their numbers."""
    sort_json_lines(out / MANIFEST, "number")
    if (out / REJECTED).is_file():
        sort_json_lines(out / REJECTED, "number")
