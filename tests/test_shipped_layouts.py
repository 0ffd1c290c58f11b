"""Tiny sets as public ones and labelling tools ship them: what is made of each."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from defectgan.data.index import Index, index_data, read_split, write_split
from defectgan.data.masks import read_region
from defectgan.errors import DataError
from defectgan.settings.data import DataConfig

WIDE, HIGH = 40, 24
# Left, top, right, bottom of the defect in every image of one.
SPOT = (10, 6, 22, 14)
_counter = iter(range(10**6))


def photo(path: Path, *, size: tuple[int, int] = (WIDE, HIGH), turn: int | None = None) -> Path:
    """A gray image like no other; ``size`` is that of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(next(_counter))
    image = Image.fromarray(rng.integers(0, 256, size[::-1], dtype=np.uint8))
    options: dict[str, Any] = {}
    if turn is not None:
        exif = Image.Exif()
        exif[0x0112] = turn
        options["exif"] = exif
    image.save(path, **options)
    return path


def spot(value: int = 255, ground: int = 0) -> np.ndarray[Any, Any]:
    mask = np.full((HIGH, WIDE), ground, np.uint8)
    left, top, right, bottom = SPOT
    mask[top:bottom, left:right] = value
    return mask


def mask(path: Path, pixels: np.ndarray[Any, Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(spot() if pixels is None else pixels).save(path)
    return path


def write(path: Path, content: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding=options.get("encoding", "utf-8"))
    return path


def polygon() -> list[float]:
    left, top, right, bottom = SPOT
    return [left, top, right, top, right, bottom, left, bottom]


def box() -> list[float]:
    left, top, right, bottom = SPOT
    return [left, top, right - left, bottom - top]


def coco(
    names: Sequence[str], bad: Sequence[str], *, text_ids: bool = False, **image: Any
) -> dict[str, Any]:
    """A COCO tree in which the images ``bad`` have one outlined scratch."""
    key: Callable[[int], Any] = str if text_ids else int
    ids = {name: i for i, name in enumerate(names)}
    size = {"width": WIDE, "height": HIGH}
    return {
        "images": [{"id": key(i), "file_name": n, **size, **image} for n, i in ids.items()],
        "categories": [
            {"id": 0, "name": "defects", "supercategory": "none"},
            {"id": 1, "name": "scratch", "supercategory": "defects"},
        ],
        "annotations": [
            {
                "id": 7 + i,
                "image_id": ids[name],
                "category_id": 1,
                "bbox": box(),
                "segmentation": [polygon()],
            }
            for i, name in enumerate(bad)
        ],
    }


def xml(name: str, *objects: str, size: tuple[int, int] = (WIDE, HIGH), folder: str = "") -> str:
    left, top, right, bottom = SPOT
    bounds = f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    things = "".join(f"<object><name>{o}</name><bndbox>{bounds}</bndbox></object>" for o in objects)
    return (
        f"<annotation><folder>{folder}</folder><filename>{name}</filename><size><width>{size[0]}"
        f"</width><height>{size[1]}</height><depth>1</depth></size>{things}</annotation>"
    )


def facts(index: Index) -> tuple[str, dict[str, int], dict[str, int], int]:
    """Layout, images to learn from of each class, splits, and how many images have a true mask."""
    masks = sum(s.mask is not None for s in index.all_samples if s.labels)
    return index.layout, index.counts(), index.split_counts(), masks


def read(root: Path, **settings: Any) -> Index:
    index = index_data(root, DataConfig(**settings))
    # What a run records is what it learns from again.
    write_split(root.parent / f"{root.name}-split.json", index)
    again = read_split(root.parent / f"{root.name}-split.json")
    assert again.all_samples == index.all_samples
    for sample in index.all_samples:
        if sample.labels and sample.mask is not None:
            assert np.array_equal(read_region(sample.mask), spot() > 0), sample
    return index


def roboflow(root: Path) -> None:
    for split, count in (("train", 4), ("valid", 2), ("test", 2)):
        names = [f"{split}{i}_png.rf.0a1b.jpg" for i in range(count)]
        for name in names:
            photo(root / split / name)
        tree = coco(names, names[: count // 2])
        write(root / split / "_annotations.coco.json", tree, encoding="utf-8-sig")


def cvat(root: Path) -> None:
    names = [f"line 1/{i}.png" for i in range(4)]
    for name in names:
        photo(root / "images" / "default" / name)
    write(root / "annotations" / "instances_default.json", coco(names, names[:2], text_ids=True))


def label_studio(root: Path) -> None:
    for i in range(4):
        photo(root / "images" / f"0a1b2c3d-part{i}.png")
    names = [f"..\\..\\label-studio\\data\\images\\0a1b2c3d-part{i}.png" for i in range(4)]
    write(root / "result.json", coco(names, names[:2]))


def labelme2coco(root: Path) -> None:
    for i in range(4):
        photo(root / "shots" / f"part{i}.png")
    names = [f"/home/somebody/shots/part{i}.png" for i in range(3)]
    names.append("https://example.org/bucket/shots/part3.png?token=1")
    write(root / "dataset.json", coco(names, names[:2]))


def yolo(root: Path) -> None:
    left, top, right, bottom = (v / side for v, side in zip(SPOT, (WIDE, HIGH) * 2, strict=True))
    line = f"1 {left} {top} {right} {top} {right} {bottom} {left} {bottom}\n"
    for split, count in (("train", 4), ("valid", 2)):
        for i in range(count):
            photo(root / split / "images" / f"{i}.jpg")
            if i % 2 == 0:
                write(root / split / "labels" / f"{i}.txt", line)
        write(root / split / "labels" / "1.txt", "")
    settings = "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['dent', 'scratch']\n"
    write(root / "data.yaml", settings)


def boards(root: Path) -> None:
    left, top, right, bottom = SPOT
    for i in range(3):
        name = f"0004100{i}"
        for kind in ("temp", "test"):
            photo(root / "group00041" / "00041" / f"{name}_{kind}.jpg")
        told = f"{left} {top} {right} {bottom} 4\n"
        write(root / "group00041" / "00041_not" / f"{name}.txt", told)
    line = "group00041/00041/{0}.jpg group00041/00041_not/{0}.txt\n"
    write(root / "trainval.txt", line.format("00041000") + line.format("00041001"))
    write(root / "test.txt", line.format("00041002"))


def labelme(root: Path) -> None:
    points = [polygon()[i : i + 2] for i in range(0, 8, 2)]
    for i in range(4):
        photo(root / f"{i}.jpg")
        shape = {"label": "scratch", "shape_type": "polygon", "points": points}
        shapes = [shape] if i < 2 else []
        tree = {"version": "5.2", "shapes": shapes, "imagePath": f"..\\shots\\{i}.jpg"}
        write(root / f"{i}.json", tree | {"imageData": None, "imageWidth": 40, "imageHeight": 24})


def visa(root: Path) -> None:
    rows = ["image,label,mask"]
    for i in range(3):
        photo(root / "Data" / "Images" / "Normal" / f"{i:04}.JPG")
        rows.append(f"{root.name}/Data/Images/Normal/{i:04}.JPG,normal,")
    for i in range(2):
        photo(root / "Data" / "Images" / "Anomaly" / f"{i:03}.JPG")
        mask(root / "Data" / "Masks" / "Anomaly" / f"{i:03}.png", spot(1 + i))
        name = f"{root.name}/Data/{{}}/Anomaly/{i:03}"
        rows.append(f"{name.format('Images')}.JPG,scratch,{name.format('Masks')}.png")
    write(root / "image_anno.csv", "\n".join(rows))


def severstal(root: Path) -> None:
    left, top, right, bottom = SPOT
    runs = " ".join(f"{x * HIGH + top + 1} {bottom - top}" for x in range(left, right))
    for i in range(4):
        photo(root / "train_images" / f"{i}.jpg")
    rows = ["ImageId,ClassId,EncodedPixels", *(f"{i}.jpg,{1 + i},{runs}" for i in range(2))]
    write(root / "train.csv", "\n".join(rows))
    photo(root / "test_images" / "9.jpg")


def dagm(root: Path) -> None:
    for part in ("Train", "Test"):
        for i in range(4):
            photo(root / part / f"{i:04}.PNG")
        for i in range(2):
            mask(root / part / "Label" / f"{i:04}_label.PNG")
        write(root / part / "Label" / "Labels.txt", "1\n")


def kolektor(root: Path) -> None:
    for piece in range(3):
        for i in range(2):
            photo(root / f"kos0{piece}" / f"Part{i}.jpg")
            shown = spot() if i == 0 else np.zeros((HIGH, WIDE), np.uint8)
            mask(root / f"kos0{piece}" / f"Part{i}_label.bmp", shown)


def kolektor2(root: Path) -> None:
    for part, count in (("train", 4), ("test", 2)):
        for i in range(count):
            photo(root / part / f"1000{i}.png")
            shown = spot() if i % 2 else np.zeros((HIGH, WIDE), np.uint8)
            mask(root / part / f"1000{i}_GT.png", shown)


def segmented(root: Path) -> None:
    for part, count in (("train", 4), ("test", 2)):
        for i in range(count):
            photo(root / part / "images" / f"{i}.jpg")
            shown = spot() if i % 2 else np.zeros((HIGH, WIDE), np.uint8)
            mask(root / part / "masks" / f"{i}.png", shown)


def loco(root: Path) -> None:
    for i in range(3):
        photo(root / "train" / "good" / f"{i:03}.png")
        photo(root / "validation" / "good" / f"{i:03}.png")
        photo(root / "test" / "good" / f"{i:03}.png")
    left, _, right, bottom = SPOT
    for i in range(2):
        photo(root / "test" / "logical_anomalies" / f"{i:03}.png")
        upper, lower = spot(), spot(0)
        upper[10:], lower[10:bottom, left:right] = 0, 255
        for n, part in enumerate((upper, lower)):
            mask(root / "ground_truth" / "logical_anomalies" / f"{i:03}" / f"{n:03}.png", part)


def magnetic(root: Path) -> None:
    for name in ("MT_Free", "MT_Crack"):
        for i in range(3):
            photo(root / name / "Imgs" / f"exp1_num_{i}.jpg")
            mask(root / name / "Imgs" / f"exp1_num_{i}.png", spot(255 if name != "MT_Free" else 0))


def neu(root: Path) -> None:
    for split, count in (("train", 3), ("validation", 1)):
        for i in range(count):
            photo(root / split / "images" / "crazing" / f"crazing_{i}.jpg")
            # As they ship, many name their file without its ending.
            write(root / split / "annotations" / f"crazing_{i}.xml", xml(f"crazing_{i}", "crazing"))
            photo(root / split / "images" / "normal" / f"good_{split}{i}.jpg")


def pku(root: Path) -> None:
    for i in range(2):
        photo(root / "images" / "Spur" / f"0{i}_spur.jpg")
        told = xml(f"0{i}_spur.jpg", "spur", "spur", folder="Spur")
        write(root / "Annotations" / "Spur" / f"0{i}_spur.xml", told)
        photo(root / "PCB_USED" / f"0{i}.JPG")


SPLIT = {"train": 4}
SHIPPED: list[tuple[Callable[[Path], None], tuple[str, dict[str, int], dict[str, int], int]]] = [
    (roboflow, ("coco", {"normal": 2, "scratch": 2}, {"train": 4, "val": 2, "test": 2}, 4)),
    (cvat, ("coco", {"normal": 2, "scratch": 2}, SPLIT, 2)),
    (label_studio, ("coco", {"normal": 2, "scratch": 2}, SPLIT, 2)),
    (labelme2coco, ("coco", {"normal": 2, "scratch": 2}, SPLIT, 2)),
    (yolo, ("yolo", {"normal": 2, "scratch": 2}, {"train": 4, "val": 2}, 3)),
    (boards, ("deeppcb", {"normal": 2, "spur": 2}, {"train": 4, "test": 2}, 0)),
    (labelme, ("labelme", {"normal": 2, "scratch": 2}, SPLIT, 2)),
    (visa, ("visa", {"normal": 3, "scratch": 2}, {"train": 5}, 2)),
    (severstal, ("severstal", {"normal": 2, "1": 1, "2": 1}, SPLIT, 2)),
    (dagm, ("dagm", {"normal": 2, "defect": 2}, {"train": 4, "test": 4}, 4)),
    (kolektor, ("kolektor", {"normal": 3, "defect": 3}, {"train": 6}, 3)),
    (kolektor2, ("kolektor", {"normal": 2, "defect": 2}, {"train": 4, "test": 2}, 3)),
    (segmented, ("masks", {"normal": 2, "defect": 2}, {"train": 4, "test": 2}, 3)),
    (loco, ("mvtec", {"good": 3, "logical_anomalies": 2}, {"train": 5, "val": 3, "test": 3}, 2)),
    (magnetic, ("folders", {"MT_Free": 3, "MT_Crack": 3}, {"train": 6}, 3)),
    (neu, ("voc", {"normal": 3, "crazing": 3}, {"train": 6, "val": 2}, 0)),
    (pku, ("voc", {"normal": 2, "spur": 2}, SPLIT, 0)),
]


@pytest.mark.parametrize(("make", "expected"), SHIPPED, ids=[make.__name__ for make, _ in SHIPPED])
def test_a_set_is_read_as_it_ships(
    make: Callable[[Path], None], expected: tuple[Any, ...], tmp_path: Path
) -> None:
    make(tmp_path / "set")
    index = read(tmp_path / "set")
    assert facts(index) == expected
    assert not index.skipped
    for sample in index.all_samples:
        for mark in sample.marks:
            assert mark.box == pytest.approx(box())


@pytest.mark.parametrize("make", [roboflow, loco, kolektor2], ids=lambda m: m.__name__)
def test_a_set_in_a_folder_of_its_own_is_read_and_said(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "set" / "dataset" / "set")
    index = index_data(tmp_path / "set", DataConfig())
    make(tmp_path / "plain")
    assert facts(index) == facts(index_data(tmp_path / "plain", DataConfig()))
    assert any("alone: that is read" in note for note in index.notes)


def test_several_objects_in_one_folder_are_named(tmp_path: Path) -> None:
    for name in ("candle", "capsules"):
        visa(tmp_path / name)
    with pytest.raises(DataError, match=r"several objects of VisA \(candle, capsules\): name one"):
        read(tmp_path)
