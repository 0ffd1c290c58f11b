"""What a folder looks like that cannot be read as it is named: what to name instead."""

import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from defectgan.data.layouts.base import is_no_class, may_be_normal, subfolders
from defectgan.data.samples import split_name
from defectgan.data.walk import find_images

_SHOWN = 3
# How deep folders are looked for that would do.
_DEPTH = 3
# Files by which annotations are told, and their first bytes that are looked at.
_FILES, _BYTES = 200, 2**16
# What tells forms of annotations that are not read: the ending, what stands in such a file, and
# what it is.
_FORMS = (
    (".xml", (b"<annotations", b"<image "), "CVAT's own XML"),
    (".xml", (b"<",), "XML that is not Pascal VOC's"),
    (".json", (b'"_via_',), "the VGG Image Annotator's JSON"),
    (".json", (b'"regions"', b'"shape_attributes"'), "the VGG Image Annotator's JSON"),
    (".json", (b'"classTitle"',), "Supervisely's JSON"),
    (".json", (b'"objects"', b'"tags"', b'"size"'), "Supervisely's JSON"),
    (".json", (b'"coordinates"', b'"annotations"', b'"label"'), "CreateML's JSON"),
    (".json", (b'"items"', b'"categories"'), "Datumaro's JSON"),
    (".json", (b'"data"', b'"annotations"'), "Label Studio's own JSON"),
    (".json", (b"",), "JSON that is neither COCO's nor labelme's"),
)


def advice(root: Path, folders: Mapping[str, Path]) -> str:
    """What a person can do where no folder is that of good images; nothing where one of them may
    be, and is to be named.
    """
    if below := _with_good_images(folders) or _with_splits(folders):
        first = " and ".join(map(str, below[:_SHOWN]))
        more = f" and {len(below) - _SHOWN} more" if len(below) > _SHOWN else ""
        return f"; {first}{more} would do: name one of them"
    if _are_classes(folders):
        return ""  # one of them may be, and is to be named
    if (seen := _annotations(root)) is not None:
        return f"; {seen}"
    splits = [name for name in folders if split_name(name) is not None]
    parts = sorted({n for name in splits for n in subfolders(folders[name])})
    if parts:
        return (
            f"; {', '.join(splits)} look like splits with the folders {', '.join(parts[:8])}, none "
            "of which is called like good images: call that one normal"
        )
    inner = {p: [n for n in subfolders(p) if not is_no_class(n)] for p in folders.values()}
    place, names = max(inner.items(), key=lambda one: len(one[1]), default=(root, []))
    if len(names) > 1:
        return (
            f"; {place} has the folders {', '.join(names[:8])}, none of which is called like good "
            "images: call that one normal"
        )
    if splits:
        return (
            f"; {', '.join(splits)} look like splits whose images no folder, table or annotation "
            "sorts into classes: sort them into folders, or list them in labels.csv"
        )
    what = "these folders do not look like classes; " if folders else ""
    return (
        f"; {what}sort the images into folders, list them in labels.csv, or bring annotations of a "
        "known form"
    )


def _with_good_images(folders: Mapping[str, Path], depth: int = _DEPTH) -> list[Path]:
    """The folders below, the highest ones, in which one folder is called like good images."""
    found: list[Path] = []
    for folder in folders.values():
        inner = subfolders(folder)
        if any(map(may_be_normal, inner)):
            found.append(folder.parent if split_name(folder.name) else folder)
        elif depth > 1:
            found += _with_good_images(inner, depth - 1)
    return list(dict.fromkeys(found))


def _with_splits(folders: Mapping[str, Path]) -> list[Path]:
    return [
        folder
        for folder in folders.values()
        if not is_no_class(folder.name) and any(map(split_name, subfolders(folder)))
    ]


def _are_classes(folders: Mapping[str, Path]) -> bool:
    """Whether folders hold images, each as that of a class does: in itself, in a folder
    called images, or in folders that are no parts of a layout.
    """
    shown = {name: path for name, path in folders.items() if find_images(path).images}
    return bool(shown) and not any(map(is_no_class, shown)) and all(map(_is_class, shown.values()))


def _is_class(folder: Path) -> bool:
    if find_images(folder, nested=False).images:
        return True
    inner = subfolders(folder)
    if len(inner) == 1:
        return bool(find_images(next(iter(inner.values())), nested=False).images)
    return not any(map(is_no_class, inner))


def _annotations(root: Path) -> str | None:
    """What the annotation files below a folder are, where none could be read as such."""
    seen: dict[str, int] = {}
    for path in islice(_texts(root), _FILES):
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8", errors="replace") as file:
                head = file.readline(200).strip()
            kind = (
                f"it holds a table, {path.name}, with the columns {head}: expected file and labels"
            )
        else:
            kind = f"it holds annotations in {_form(path)}: export them as COCO"
        seen[kind] = seen.get(kind, 0) + 1
    if not seen:
        return None
    return max(seen, key=lambda kind: seen[kind])


def _texts(root: Path) -> list[Path]:
    found: list[Path] = []
    for parent, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        found += [Path(parent, n) for n in sorted(files) if n[0] != "." and _ending(n)]
        if len(found) >= _FILES:
            break
    return found


def _ending(name: str) -> bool:
    return Path(name).suffix.lower() in (".xml", ".json", ".csv")


def _form(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_BYTES).replace(b"\0", b"")
    return next(
        (
            name
            for ending, needles, name in _FORMS
            if path.suffix.lower() == ending and all(needle in data for needle in needles)
        ),
        "a form that is not known here",
    )
