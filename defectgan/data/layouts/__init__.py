"""Layouts: how people keep their images, one module each, all read into the same list of samples.

They are tried in the order of ``LAYOUTS``: those that say in a file what is in an image before
those whose folders do.
"""

from collections.abc import Callable
from pathlib import Path

from defectgan.data.layouts import (
    coco,
    deeppcb,
    folders,
    labelme,
    masks,
    mvtec,
    pairs,
    severstal,
    table,
    visa,
    voc,
    yolo,
)
from defectgan.data.layouts.base import Layout, Listing, has_class_folders, subfolders
from defectgan.data.layouts.table_rows import LABEL_SEPARATOR
from defectgan.data.samples import is_normal_name
from defectgan.data.walk import find_images
from defectgan.errors import DataError
from defectgan.names import class_name

__all__ = ["LABEL_SEPARATOR", "LAYOUTS", "Layout", "Listing", "is_annotated", "read_layout"]

FOLDERS = "folders"
# Class folders go before these: such files may be of some of the images alone. Of those with a rule
# only where it does not hold: a file that names itself says more than folders.
BESIDE: dict[str, Callable[[Path], bool]] = {
    **dict.fromkeys(("voc", "labelme", "dagm", "kolektor", "masks"), lambda root: False),
    "table": table.is_named,
    "yolo": yolo.is_named,
}

LAYOUTS: dict[str, Layout] = {
    "coco": Layout(coco.recognises, coco.read),
    "deeppcb": Layout(deeppcb.recognises, deeppcb.read),
    "severstal": Layout(severstal.recognises, severstal.read),
    "visa": Layout(visa.recognises, visa.read),
    "table": Layout(table.recognises, table.read),
    "yolo": Layout(yolo.recognises, yolo.read),
    "mvtec": Layout(mvtec.recognises, mvtec.read),
    "voc": Layout(voc.recognises, voc.read),
    "labelme": Layout(labelme.recognises, labelme.read),
    "dagm": Layout(pairs.is_dagm, pairs.read_dagm),
    "kolektor": Layout(pairs.is_kolektor, pairs.read_kolektor),
    "masks": Layout(masks.recognises, masks.read),
    FOLDERS: Layout(lambda root: True, folders.read),
}


def read_layout(root: Path, *, layout: str | None = None, normal: str | None = None) -> Listing:
    """All samples below a data folder, or in a table or another file that lists them.

    Args:
        root: the folder, or the file that lists the images.
        layout: one of ``LAYOUTS``; None recognises it.
        normal: the name of the normal class; None finds it by its name.

    Raises:
        DataError: if there is nothing there, or it is not what the layout expects.
    """
    if not root.exists():
        raise DataError(
            f"the data folder {root}: found nothing; expected a folder with one folder a class"
        )
    if normal is not None:
        class_name(normal, "the setting of the normal class")
    if layout is None:
        layout, below = _recognised(root)
        return LAYOUTS[layout].read(below, normal).with_notes(*_guessed(root, below, layout))
    if layout not in LAYOUTS:
        raise DataError(f"no layout {layout}: expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[layout].read(root, normal)


def _recognised(root: Path) -> tuple[str, Path]:
    """The layout of a folder or file; where a folder holds nothing but another one, of that."""
    name = next(
        n for n, kind in LAYOUTS.items() if kind.recognises(root) and not _gives_way(n, root)
    )
    if name != FOLDERS or not root.is_dir():
        return name, root
    inner = subfolders(root)
    if len(inner) == 1 and not find_images(root, nested=False).images:
        ((only, folder),) = inner.items()
        if not is_normal_name(only) and subfolders(folder):
            return _recognised(folder)
    return name, root


def _guessed(root: Path, below: Path, layout: str) -> list[str]:
    """What a person should know of how a layout was recognised."""
    notes = []
    if below != root:
        notes.append(f"{root} holds {below.relative_to(root)} alone: that is read")
    unread = [name for name in BESIDE if _gives_way(name, below)]
    if unread and layout in (FOLDERS, "mvtec"):
        notes.append(
            f"the folders of {below} are taken for classes; what its files say by the layout "
            f"{' or '.join(unread)} is not read unless that is named"
        )
    return notes


def _gives_way(name: str, root: Path) -> bool:
    """Whether a folder has files of a layout, but class folders, which go before them."""
    return (
        name in BESIDE
        and root.is_dir()
        and has_class_folders(root)
        and not BESIDE[name](root)
        and LAYOUTS[name].recognises(root)
    )


def is_annotated(folder: Path) -> bool:
    """Whether files in a folder, or its folders, say what is in its images."""
    return bool(subfolders(folder)) or any(
        kind.recognises(folder) for name, kind in LAYOUTS.items() if name != FOLDERS
    )
