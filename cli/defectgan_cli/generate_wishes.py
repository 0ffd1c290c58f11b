"""Options of generate that say where and how defects are painted, and what is kept of them."""

from typing import Annotated

from defectgan.generation.checks import Checks
from defectgan.generation.wishes import STRONGEST, Amount
from defectgan_cli.options import DATA, METHOD, setting, switch

_AREA = "a box x,y,w,h (pixels, or shares of the image with decimal points), a mask image"
Where = Annotated[
    str | None,
    setting(
        DATA,
        f"Where defects may be: {_AREA}, a folder of masks called like the images, or learned "
        "(where the model has found real ones).",
        env="WHERE",
        default="the model's choice",
        metavar="PLACE",
    ),
]
Forbidden = Annotated[
    str | None,
    setting(
        DATA,
        f"Where none may be: {_AREA}, or a folder of masks.",
        env="FORBIDDEN",
        default="nowhere",
        metavar="PLACE",
    ),
]
Size = Annotated[
    str | None,
    setting(
        METHOD,
        "Width and height of the region of a defect: pixels, or shares of the image with decimal "
        "points.",
        env="SIZE",
        default="all that is allowed",
        metavar="LO..HI",
    ),
]
CountPerImage = Annotated[
    str,
    setting(
        METHOD,
        "Defects of each image, apart from each other; with --together of each class.",
        env="COUNT_PER_IMAGE",
        metavar="LO..HI",
    ),
]
Together = Annotated[
    bool,
    switch(
        METHOD, "together", "Paint all classes into each image, instead of in turn.", env="TOGETHER"
    ),
]
Strength = Annotated[
    float,
    setting(
        METHOD,
        "Scales what is painted: 0 leaves the good image, 1 is what the model paints.",
        env="STRENGTH",
        min=0,
        max=STRONGEST,
    ),
]
MinConfidence = Annotated[
    float | None,
    setting(
        METHOD,
        "Keep a defect only if the critic is so sure of its class.",
        env="MIN_CONFIDENCE",
        default="any",
        min=0,
        max=1,
    ),
]
KeepBest = Annotated[
    float | None,
    setting(
        METHOD,
        "Keep this share of the paintings: the one that the critic finds most real beside its good "
        "image, of so many. 0.25 takes four times as many.",
        env="KEEP_BEST",
        default="all",
        min=0,
        max=1,
    ),
]
MinArea = Annotated[
    str | None,
    setting(
        METHOD,
        "Least area of a defect's mask: pixels, or a share of the image with a decimal point.",
        env="MIN_AREA",
        default="any",
        metavar="AREA",
    ),
]
MaxArea = Annotated[
    str | None,
    setting(METHOD, "Largest area, likewise.", env="MAX_AREA", default="any", metavar="AREA"),
]
NoBorder = Annotated[
    bool,
    switch(
        METHOD,
        "no-border",
        "Keep no defect that lies along the border for the most part.",
        env="NO_BORDER",
    ),
]


def checks_of(
    min_confidence: float | None,
    keep_best: float | None,
    min_area: str | None,
    max_area: str | None,
    *,
    no_border: bool,
) -> Checks:
    """What a painting must hold to be kept."""
    low, high = (None if area is None else Amount.read(area) for area in (min_area, max_area))
    return Checks(min_confidence, keep_best, low, high, no_border)
