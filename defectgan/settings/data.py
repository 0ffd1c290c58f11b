"""Which images a training learns from, and how its networks see them."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from defectgan.settings.base import Settings


def _size(value: Any) -> Any:
    """Height and width from one number for both, or from "height x width"."""
    if isinstance(value, str):
        value = [part.strip() for part in value.lower().split("x")]
        if len(value) == 1:
            value *= 2
    if isinstance(value, int) and not isinstance(value, bool):
        value = value, value
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(map(_is_whole, value)):
        raise ValueError("expected one number of pixels for both sides, or height x width")
    return value


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number, or the text of one."""
    return str(value).isdecimal() and not isinstance(value, bool)


Side = Annotated[int, Field(ge=16, le=1024, multiple_of=16)]


class ViewConfig(Settings):
    """How the networks see an image."""

    image_size: Annotated[tuple[Side, Side], BeforeValidator(_size)] = Field(
        (128, 128), description="height and width that the networks see; one number for both"
    )
    fit: Literal["resize", "letterbox", "crop"] = Field(
        "resize",
        description="how an image becomes that size: all of it stretched, all of it in its "
        "proportions, or windows at a fixed scale, round the defect where it is known",
    )
    crop_size: int | None = Field(
        None,
        ge=16,
        description="image pixels on the shorter side of such a window; None: as many as the "
        "networks see, the image's own scale",
    )

    @model_validator(mode="after")
    def _crops_only_where_asked(self) -> Self:
        if self.crop_size is not None and self.fit != "crop":
            raise ValueError(f"crop_size {self.crop_size} is of use with the fit crop alone")
        return self


class ReadingConfig(Settings):
    """How a folder of images of this kind is read."""

    normal_class: str | None = Field(None, description="folder of the good images; None: by name")
    group_regex: str | None = Field(
        None, description="finds in a file's name which piece it shows; pieces are never split"
    )

    @field_validator("group_regex")
    @classmethod
    def _is_an_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from error
        return value

    levels: Literal["full", "minmax", "percentile"] = Field(
        "full",
        description="what is black and white to the networks: the whole range of the files' depth, "
        "or the darkest and brightest values of the good images, all or all but 0.1 % each",
    )


class DataConfig(ReadingConfig, ViewConfig):
    """Which images a training learns from, how they are read, seen and kept."""

    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="defect classes in order; None: all"
    )
    layout: str | None = Field(None, description="how the images are kept; None: recognised")
    val_fraction: float = Field(
        0.0, ge=0, lt=1, description="share of each class kept for validation"
    )
    holdout: float = Field(
        0.0, ge=0, lt=1, description="share of each class without test images kept for testing"
    )
    mask_values: Literal["auto", "plain", "any", "alpha", "inverted"] = Field(
        "auto",
        description="what means defect in a mask file: above half of its largest value (plain), "
        "all but the background's value or colour (any), what is opaque (alpha), what is not above "
        "half (inverted); auto: by how the masks look, and what was guessed is said",
    )
    pairs: str | None = Field(
        None,
        description="folder with each image of a defect as it is without it, or with what it is to "
        "be made from, such as its mask, called alike; these are then the good images",
    )
    normal_from_background: bool = Field(
        False,
        description="windows from beside the defects are good images too, with the fit crop",
    )
    strict: bool = Field(False, description="a file that cannot be used is an error")
    cache: Literal["auto", "ram", "disk", "none"] = Field(
        "auto",
        description="where decoded images are kept; auto: in memory if they fit, else in the run "
        "folder if they fit there, else in memory as far as it goes",
    )
    cache_mib: int = Field(
        4096, ge=0, description="of memory for decoded images, at most, a process"
    )
    workers: int | None = Field(
        None, ge=0, le=256, description="processes that read ahead; None: as many as serve"
    )

    @model_validator(mode="after")
    def _good_images_are_of_one_kind(self) -> Self:
        if self.pairs is not None and self.normal_from_background:
            raise ValueError(
                "pairs and normal_from_background each say what the good images are: leave one out"
            )
        return self


class PoseConfig(Settings):
    """In which poses the networks see an image."""

    flip: bool = Field(True, description="mirror at random")
    rotate: bool = Field(True, description="turn by multiples of 90 degrees at random")


class AugmentConfig(PoseConfig):
    """Drawn alike for normal and defect images, so that no class can be told by its exposure or
    pose.
    """

    contrast: float = Field(0.0, ge=0, lt=1, description="factor drawn from 1 +- this")
    brightness: float = Field(0.0, ge=0, lt=1, description="shift drawn from +- this, range 1")
    gamma: float = Field(0.0, ge=0, le=2, description="exponent between 1 / (1 + this), 1 + this")
    adaptive: bool = Field(
        False,
        description="also augment what the critic sees, painted images too, the more the surer it "
        "is of the classes of the real ones: for few images",
    )
