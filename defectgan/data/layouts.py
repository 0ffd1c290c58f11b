"""Layouts: how people keep their images, each read into the same list of samples.

folders   ROOT/normal/..., ROOT/<defect>/..., masks/<defect>/<path below the class>.png; also one
          level lower, as ROOT/train/... with ROOT/test/... beside it
mvtec     ROOT/train/good, ROOT/test/<defect>, ROOT/ground_truth/<defect>/<stem>_mask.png
table     labels.csv or labels.jsonl: file,labels[,mask][,split][,group]
coco      annotations.json and the images beside it or in images/; polygons and run lengths are
          true masks, boxes alone are boxes
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from defectgan.data.outlines import box_of, outline_of
from defectgan.data.samples import (
    NORMAL_NAMES,
    SPLITS,
    TEST,
    TRAIN,
    VAL,
    Mark,
    Sample,
    is_normal_name,
)
from defectgan.errors import DataError
from defectgan.files import parse_object
from defectgan.images import find_images
from defectgan.names import class_name
from defectgan.words import found

NEVER_CLASSES = ("masks", "ground_truth")
MASKS, GROUND_TRUTH, MVTEC_SUFFIX = "masks", "ground_truth", "_mask"
TABLES = ("labels.csv", "labels.jsonl")
COCO_FILE = "annotations.json"
LABEL_SEPARATOR = "|"
# What separates the columns of a CSV file; where the comma is decimal, spreadsheets take others.
DELIMITERS = ",;\t"
COLUMNS = "file,labels[,mask][,split][,group]"


@dataclass(frozen=True)
class Listing:
    """What a layout holds: the samples, the name of the normal class, all defect classes in the
    layout's order, and what a person should know about it.
    """

    root: Path
    layout: str
    normal: str
    defects: tuple[str, ...]
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()


class Layout(NamedTuple):
    recognises: Callable[[Path], bool]
    read: Callable[[Path, str | None], Listing]


def read_layout(root: Path, *, layout: str | None = None, normal: str | None = None) -> Listing:
    """All samples below a data folder, or in a table or a COCO file.

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
    if layout is None:
        layout = next(name for name, kind in LAYOUTS.items() if kind.recognises(root))
    elif layout not in LAYOUTS:
        raise DataError(f"no layout {layout}: expected one of {', '.join(LAYOUTS)}")
    if normal is not None:
        class_name(normal, "the setting of the normal class")
    return LAYOUTS[layout].read(root, normal)


def _named(root: Path, names: Iterable[str]) -> Path | None:
    """The file itself, or the first of these names in the folder."""
    if root.is_file():
        return root
    return next((root / name for name in names if (root / name).is_file()), None)


# --- class folders


def _read_folders(root: Path, normal: str | None) -> Listing:
    if not root.is_dir():
        raise DataError(
            f"the data folder {root}: found a file; expected a folder with one folder a class"
        )
    parts = _parts(root, normal)
    classes = {split: _class_folders(part) for split, part in parts.items()}
    base, folders = parts[TRAIN], classes[TRAIN]
    name = find_normal(base, list(folders), normal, hint=_one_lower(folders))
    samples = [
        sample
        for split, part in parts.items()
        for sample in _folder_samples(part, classes[split], name, split)
        if set(sample.labels) <= set(folders)
    ]
    note = f"{base.name}/ is learned from, what stands beside it is held out"
    defects = tuple(f for f in folders if f != name)
    notes = () if base == root else (note,)
    return Listing(base, "folders", name, defects, tuple(samples), notes)


def _parts(root: Path, normal: str | None) -> dict[str, Path]:
    """The folders that hold class folders: ROOT itself, or ROOT/train with val and test beside."""
    names = {p.name: p for p in root.iterdir() if p.is_dir()}
    if TRAIN in names and not any(is_normal_name(n) or n == normal for n in names):
        below = {p.name for p in names[TRAIN].iterdir() if p.is_dir()}
        if any(is_normal_name(n) or n == normal for n in below):
            return {split: names[split] for split in SPLITS if split in names}
    return {TRAIN: root}


def _class_folders(root: Path) -> dict[str, Path]:
    folders = {
        p.name: p
        for p in sorted(root.iterdir())
        if p.is_dir() and p.name.lower() not in NEVER_CLASSES and not p.name.startswith((".", "__"))
    }
    if not folders:
        raise DataError(
            f"no class folders in {root}: expected a folder called {NORMAL_NAMES[0]} with good "
            "images and one folder for each defect"
        )
    for name in folders:
        class_name(name, f"a folder in {root}")
    return folders


def _folder_samples(root: Path, folders: dict[str, Path], normal: str, split: str) -> list[Sample]:
    samples = []
    for name, folder in folders.items():
        files = find_images(folder)
        masks = _masks_by_key(files, folder, root / MASKS / name, suffix="")
        samples += [
            Sample(file, () if name == normal else (name,), masks.get(file), split=split)
            for file in files
        ]
    return samples


def _masks_by_key(
    files: Sequence[Path], folder: Path, masks: Path, *, suffix: str
) -> dict[Path, Path]:
    """The mask of each image that has one, by its path below the class without the extension.

    Raises:
        DataError: if two images would share one mask.
    """
    if not masks.is_dir():
        return {}
    found: dict[Path, Path] = {}
    owner: dict[Path, Path] = {}
    for file in files:
        key = file.relative_to(folder)
        mask = masks / key.with_name(f"{key.stem}{suffix}.png")
        if not mask.is_file():
            continue
        if mask in owner:
            raise DataError(
                f"the mask {mask} belongs to {owner[mask].name} and to {file.name}: rename one of "
                "the images and give each a mask of its own"
            )
        found[file], owner[mask] = mask, file
    return found


def find_normal(root: Path, names: Sequence[str], wanted: str | None, *, hint: str = "") -> str:
    """The name of the normal class among the names of classes.

    Raises:
        DataError: if there is none, or several.
    """
    if wanted is not None:
        if wanted in names:
            return wanted
        raise DataError(f"no folder {wanted} for the normal class in {root}{found(names, wanted)}")
    matches = [n for n in names if is_normal_name(n)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise DataError(
            f"{root} has several folders for the normal class ({', '.join(matches)}): say which "
            "one it is",
            mend=("normal_class", matches[0]),
        )
    text = f"no normal class in {root}: found {', '.join(names)}"
    if hint:
        raise DataError(text + hint)
    raise DataError(
        f"{text}; expected {', '.join(NORMAL_NAMES)}, or the name of the one with good images",
        mend=("normal_class", "NAME"),
    )


def _one_lower(folders: dict[str, Path]) -> str:
    below = [p for p in folders.values() if any(is_normal_name(q.name) for q in p.iterdir())]
    return f"; {' and '.join(map(str, below))} would do: name one of them" if below else ""


# --- MVTec AD


def _is_mvtec(root: Path) -> bool:
    """Only good images to train on, and the defects in test."""
    train, test = root / TRAIN, root / TEST
    if not (train.is_dir() and test.is_dir()):
        return False
    trained = [p.name for p in train.iterdir() if p.is_dir()]
    return bool(trained) and all(is_normal_name(name) for name in trained)


def _read_mvtec(root: Path, normal: str | None) -> Listing:
    train, test = _class_folders(root / TRAIN), _class_folders(root / TEST)
    name = find_normal(root / TRAIN, list(train), normal)
    defects = tuple(n for n in test if n != name)
    samples = [Sample(file, ()) for file in find_images(train[name])]
    if name in test:
        samples += [Sample(file, (), split=TEST) for file in find_images(test[name])]
    for defect in defects:
        files = find_images(test[defect])
        masks = _masks_by_key(
            files, test[defect], root / GROUND_TRUTH / defect, suffix=MVTEC_SUFFIX
        )
        samples += [Sample(file, (defect,), masks.get(file)) for file in files]
    note = (
        "the defects come from test/: they are then spent for testing; --holdout keeps some of them"
    )
    return Listing(root, "mvtec", name, defects, tuple(samples), (note,))


# --- a table


def _read_table(root: Path, normal: str | None) -> Listing:
    table = _named(root, TABLES)
    if table is None:
        raise DataError(f"no table in {root}: expected {' or '.join(TABLES)}")
    samples = [
        _row_sample(table, number, row, normal) for number, row in enumerate(_rows(table), start=1)
    ]
    defects = tuple(sorted({label for sample in samples for label in sample.labels}))
    if twice := [f for f, n in Counter(s.file for s in samples).items() if n > 1]:
        raise DataError(
            f"{table} lists {twice[0]} twice: give an image one row with all its labels"
        )
    name = normal or NORMAL_NAMES[0]
    return Listing(table.parent, "table", name, defects, tuple(samples))


def _rows(table: Path) -> list[dict[str, Any]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
        if table.suffix == ".csv":
            header = text.partition("\n")[0]
            delimiter = max(DELIMITERS, key=header.count)
            return list(csv.DictReader(text.splitlines(), delimiter=delimiter))
        return [
            parse_object(line.encode(), f"line {n} of {table}")
            for n, line in enumerate(text.split("\n"), start=1)
            if line.strip()
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the table {table}: {error}") from error


def _row_sample(table: Path, number: int, row: Any, normal: str | None) -> Sample:
    where = f"row {number} of {table}"
    if not isinstance(row, dict) or not row.get("file") or "labels" not in row:
        columns = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise DataError(f"{where} has {columns}; expected the columns {COLUMNS}")
    for name in ("file", "mask"):
        if not isinstance(row.get(name) or "", str):
            raise DataError(f"{where} has the {name} {row[name]}: expected a path as text")
    listed = row["labels"] or ""
    names = listed if isinstance(listed, list) else str(listed).split(LABEL_SEPARATOR)
    labels = [class_name(n.strip(), where) for n in map(str, names) if n.strip()]
    defects = [n for n in labels if n != normal and (normal or not is_normal_name(n))]
    if defects and len(defects) < len(labels):
        raise DataError(f"{where} calls {row['file']} normal and {', '.join(defects)}: choose one")
    split = row.get("split") or TRAIN
    if split not in SPLITS:
        raise DataError(f"{where} has the split {split}: expected {TRAIN}, {VAL} or {TEST}")
    mask = table.parent / row["mask"] if row.get("mask") else None
    if mask is not None and not mask.is_file():
        raise DataError(f"{where} names the mask {mask}: there is no such file")
    return Sample(
        file=table.parent / row["file"],
        labels=tuple(dict.fromkeys(defects)),
        mask=mask,
        group=str(row["group"]) if row.get("group") else None,
        split=split,
    )


# --- COCO


def _read_coco(root: Path, normal: str | None) -> Listing:
    path = _named(root, [COCO_FILE])
    if path is None:
        raise DataError(f"no {COCO_FILE} in {root}")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        names = {
            c["id"]: class_name(c["name"], f"category {c['id']} of {path}")
            for c in tree["categories"]
        }
        files = {i["id"]: str(i["file_name"]) for i in tree["images"]}
        marks: dict[Any, list[Mark]] = {key: [] for key in files}
        for mark in tree["annotations"]:
            shape = mark.get("segmentation")
            x, y, w, h = (float(v) for v in mark.get("bbox") or box_of(shape))
            label = names[mark["category_id"]]
            marks[mark["image_id"]].append(Mark((x, y, w, h), label, outline_of(shape)))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not a COCO file: {type(error).__name__} {error}; expected images, "
            "annotations with bbox, polygon or run lengths, and categories"
        ) from error
    folder = path.parent / "images" if (path.parent / "images").is_dir() else path.parent
    defects = tuple(n for n in names.values() if n != normal and not is_normal_name(n))
    samples = []
    for key, name in files.items():
        shown = tuple(m for m in marks[key] if m.label in defects)
        labels = tuple(dict.fromkeys(str(m.label) for m in shown))
        samples.append(Sample(folder / name, labels, marks=shown))
    return Listing(path.parent, "coco", normal or NORMAL_NAMES[0], defects, tuple(samples))


def _is_coco(root: Path) -> bool:
    path = _named(root, [COCO_FILE])
    return path is not None and path.suffix == ".json"


def _is_table(root: Path) -> bool:
    path = _named(root, TABLES)
    return path is not None and path.suffix in (".csv", ".jsonl")


# In the order in which they are tried.
LAYOUTS: dict[str, Layout] = {
    "coco": Layout(_is_coco, _read_coco),
    "table": Layout(_is_table, _read_table),
    "mvtec": Layout(_is_mvtec, _read_mvtec),
    "folders": Layout(lambda root: True, _read_folders),
}
