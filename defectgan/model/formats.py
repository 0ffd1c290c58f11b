"""The formats of weights and state files: their number, and how an older header becomes one of
today.

A header is a table of strings. Each entry of ``CONVERTERS`` turns one of its format into one of the
next, taking what is needed and nothing else; tensors have the same names and meaning in all formats
that are read. docs/file-formats.md says what each holds, and when there is a new one.
"""

import json
from collections.abc import Callable, Mapping

from defectgan.errors import SettingError
from defectgan.settings.earlier import METHOD, NETWORKS, shape_today

Header = Mapping[str, str]

FORMAT = "defectgan-4"

# Why the weights of a format mean nothing to the networks of today.
REFUSED = {
    "defectgan-1": "what it paints was not limited to the range of an image then, and the same "
    "weights would paint something else now: train again"
}

NEWER = "it is of a newer version of defectgan: use that one"

VIEW = ("image_size", "fit", "crop_size")
READING = ("normal_class", "group_regex", "levels")
POSES = ("flip", "rotate")


def as_today(header: Header) -> Header:
    """The header of today's format that says what an older one does.

    Raises:
        ValueError: if the format is not one that is read; says why.
        KeyError: if the header lacks what its format holds.
    """
    while (name := header.get("format", "")) != FORMAT:
        if name not in CONVERTERS:
            raise ValueError(_why(name))
        header = CONVERTERS[name](header)
    return header


def _why(name: str) -> str:
    kind, _, number = name.partition("-")
    if kind != "defectgan" or not number.isdecimal():
        return f"it holds weights of another program; expected {FORMAT}"
    return f"it holds weights of the format {name}: {REFUSED.get(name, NEWER)}"


def _from_2(header: Header) -> Header:
    """Format 2 held the whole configuration of its training, and was read by all of it."""
    config = json.loads(header["config"])
    data, augment = config["data"], config["augment"]
    form = {
        "generator": config["generator"],
        "critic": config["critic"],
        "view": {name: data[name] for name in VIEW if name in data},
        "poses": {name: augment[name] for name in POSES if name in augment},
        "reading": {name: data[name] for name in READING if name in data},
    }
    kept = {name: value for name, value in header.items() if name != "config"}
    return kept | {
        "format": "defectgan-3",
        "form": json.dumps(form),
        "training": header["config"],
    }


def _from_3(header: Header) -> Header:
    """Format 3 knew one method, in sections for its networks, and switches for its two forms.

    Raises:
        ValueError: if its switches say neither.
    """
    form = json.loads(header["form"])
    networks = {name: form.pop(name) for name in NETWORKS if name in form}
    try:
        form[METHOD] = shape_today(networks, origin="its form")
    except SettingError as error:
        raise ValueError(str(error)) from error
    return {**header} | {"format": "defectgan-4", "form": json.dumps(form)}


CONVERTERS: Mapping[str, Callable[[Header], Header]] = {
    "defectgan-2": _from_2,
    "defectgan-3": _from_3,
}
