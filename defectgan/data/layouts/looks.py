"""What a folder looks like that cannot be read as it is named: what to name instead."""

from collections.abc import Mapping
from pathlib import Path

from defectgan.data.layouts.base import is_no_class, subfolders
from defectgan.data.samples import is_normal_name, split_name

_SHOWN = 3


def advice(root: Path, folders: Mapping[str, Path]) -> str:
    """What a person can do where no folder is that of good images; nothing where one of them may
    be, and is to be named.
    """
    inside = {path: subfolders(path) for path in folders.values()}
    below = [p for p, names in inside.items() if any(map(is_normal_name, names))]
    below = below or [p for p, names in inside.items() if any(map(split_name, names))]
    if below:
        first = " and ".join(map(str, below[:_SHOWN]))
        more = f" and {len(below) - _SHOWN} more" if len(below) > _SHOWN else ""
        return f"; {first}{more} would do: name one of them"
    if folders and not any(map(is_no_class, folders)):
        return ""  # one of them may be, and is to be named
    if (seen := _annotations(root)) is not None:
        return f"; it looks like {seen}"
    splits = [name for name in folders if split_name(name) is not None]
    if splits:
        parts = sorted({n for name in splits for n in subfolders(folders[name])})
        if parts:
            return (
                f"; {', '.join(splits)} look like splits with the folders {', '.join(parts[:8])}, "
                "none of which is called like good images: call that one normal"
            )
        return (
            f"; {', '.join(splits)} look like splits whose images no folder, table or annotation "
            "sorts into classes: sort them into folders, or list them in labels.csv"
        )
    what = "these folders hold images and labels rather than classes: " if folders else ""
    return f"; {what}or list the images in labels.csv, or bring annotations of a known form"


def _annotations(root: Path) -> str | None:
    """What the annotation files below a folder look like, where none could be read as such."""
    kinds: dict[str, int] = {}
    for path in sorted(root.glob("**/*"))[:5000]:
        if path.suffix.lower() in (".xml", ".json", ".txt", ".csv") and path.is_file():
            kinds[path.suffix.lower()] = kinds.get(path.suffix.lower(), 0) + 1
    if not kinds:
        return None
    suffix = max(kinds, key=lambda k: kinds[k])
    known = {
        ".xml": "annotations in XML that are not Pascal VOC's",
        ".json": "annotations in JSON that are neither COCO's nor labelme's",
        ".txt": "YOLO labels without a data.yaml or classes.txt that names the classes",
        ".csv": "a table without the columns file and labels",
    }
    return f"{known[suffix]} ({kinds[suffix]} {suffix} files)"
