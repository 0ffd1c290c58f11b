import csv
import json
import shutil
from pathlib import Path

import pytest

from defectgan.data.index import Index, index_data
from defectgan.errors import DataError
from defectgan.settings.data import DataConfig
from tests.conftest import CLASSES

DEFECTS = ("thread", "tin")


def folders(boards: Path, root: Path) -> Path:
    for name in ("normal", *DEFECTS):
        shutil.copytree(boards / name, root / name)
        if name in DEFECTS:
            shutil.copytree(boards / "masks" / name, root / "masks" / name)
    return root


def mvtec(boards: Path, root: Path) -> Path:
    shutil.copytree(boards / "normal", root / "train" / "good")
    for name in DEFECTS:
        shutil.copytree(boards / name, root / "test" / name)
        (root / "ground_truth" / name).mkdir(parents=True)
        for mask in (boards / "masks" / name).iterdir():
            shutil.copy(mask, root / "ground_truth" / name / f"{mask.stem}_mask.png")
    return root


def files_of(boards: Path, name: str) -> list[Path]:
    return sorted((boards / name).iterdir())


def table(boards: Path, root: Path) -> Path:
    root = folders(boards, root)
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "labels", "mask"])
        for path in files_of(boards, "normal"):
            writer.writerow([f"normal/{path.name}", "", ""])
        for name in DEFECTS:
            for path in files_of(boards, name):
                mask = f"masks/{name}/{path.stem}.png"
                writer.writerow([f"{name}/{path.name}", name, mask])
    return root


def coco(boards: Path, root: Path) -> Path:
    root = folders(boards, root)
    (root / "masks").rename(root.parent / "unused")
    names = [f"{n}/{p.name}" for n in ("normal", *DEFECTS) for p in files_of(boards, n)]
    tree = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(DEFECTS)],
        "annotations": [
            {"image_id": i, "category_id": DEFECTS.index(name.split("/")[0]), "bbox": [1, 2, 3, 4]}
            for i, name in enumerate(names)
            if not name.startswith("normal")
        ],
    }
    (root / "annotations.json").write_text(json.dumps(tree))
    return root


MAKERS = {"folders": folders, "mvtec": mvtec, "table": table, "coco": coco}


def essence(index: Index) -> list[tuple[str, tuple[str, ...]]]:
    return sorted((s.file.name, s.labels) for s in index.samples)


@pytest.mark.parametrize("layout", MAKERS)
def test_each_layout_is_recognised_and_gives_the_index_of_class_folders(
    layout: str, boards: Path, tmp_path: Path
) -> None:
    index = index_data(MAKERS[layout](boards, tmp_path / "data"), DataConfig())
    plain = index_data(folders(boards, tmp_path / "plain"), DataConfig())
    assert index.layout == layout
    assert index.classes[1:] == plain.classes[1:] == DEFECTS
    assert essence(index) == essence(plain)
    if layout != "coco":
        masked = {s.file.name for s in index.samples if s.mask is not None and s.labels}
        assert masked == {s.file.name for s in plain.samples if s.labels}


def test_an_mvtec_set_warns_that_its_test_images_are_spent(boards: Path, tmp_path: Path) -> None:
    index = index_data(mvtec(boards, tmp_path / "data"), DataConfig(holdout=0.5))
    assert "spent for testing" in index.notes[0]
    assert index.counts() == {"good": 3, "thread": 2, "tin": 2}
    assert index.split_counts() == {"train": 7, "test": 7}


def test_an_image_with_several_labels_stands_in_each_of_its_classes(
    boards: Path, tmp_path: Path
) -> None:
    root = table(boards, tmp_path / "data")
    text = (root / "labels.csv").read_text()
    first = f"thread/{files_of(boards, 'thread')[0].name},thread"
    (root / "labels.csv").write_text(text.replace(first, f"{first}|tin"))
    index = index_data(root, DataConfig())
    assert index.multi_label
    assert index.counts() == {"normal": 6, "thread": 4, "tin": 5}
    assert index.numbers(index.members[1][0].labels) == [1, 2]


def test_json_lines_say_the_same_as_csv(boards: Path, tmp_path: Path) -> None:
    root = table(boards, tmp_path / "data")
    expected = essence(index_data(root, DataConfig()))
    with (root / "labels.csv").open() as file:
        rows = [{**row, "labels": [row["labels"]]} for row in csv.DictReader(file)]
    (root / "labels.csv").unlink()
    (root / "labels.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert essence(index_data(root, DataConfig())) == expected


def test_classes_that_differ_in_case_or_blanks_alone_are_said(boards: Path, tmp_path: Path) -> None:
    root = table(boards, tmp_path / "data")
    text = (root / "labels.csv").read_text()
    (root / "labels.csv").write_text(text.replace(",tin", ",T in", 1))
    (note,) = index_data(root, DataConfig()).notes
    assert note.startswith("the classes T in and tin differ in case or blanks alone")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_table_of_a_spreadsheet_says_the_same(
    delimiter: str, boards: Path, tmp_path: Path
) -> None:
    root = table(boards, tmp_path / "data")
    expected = essence(index_data(root, DataConfig()))
    text = (root / "labels.csv").read_text()
    (root / "labels.csv").write_text(text.replace(",", delimiter))
    assert essence(index_data(root, DataConfig())) == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("normal/x.png,normal|tin,", r"row 15 .* calls .* normal and tin"),
        ("thread/a.png,thread,masks/none.png", r"row 15 .* names the mask .*none\.png"),
        ("tin/gone.png,tin,", r"1 file cannot be used, the first: .*gone\.png"),
    ],
)
def test_a_wrong_row_of_a_table_is_named(
    row: str, message: str, boards: Path, tmp_path: Path
) -> None:
    root = table(boards, tmp_path / "data")
    with (root / "labels.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(DataError, match=message):
        index_data(root, DataConfig(strict=True))


def test_a_table_without_its_columns_says_which_are_expected(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("name,class\na.png,tin\n")
    with pytest.raises(DataError, match=r"has name, class; expected .* file,labels.*group"):
        index_data(tmp_path, DataConfig())


def test_a_json_file_that_is_no_coco_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text('{"images": []}')
    with pytest.raises(DataError, match=r"annotations\.json is not a COCO file: KeyError"):
        index_data(tmp_path, DataConfig())


def test_a_polygon_without_a_box_has_the_box_round_it(boards: Path, tmp_path: Path) -> None:
    root = coco(boards, tmp_path / "data")
    tree = json.loads((root / "annotations.json").read_text())
    for mark in tree["annotations"]:
        mark |= {"bbox": None, "segmentation": [[5, 6, 9, 6, 9, 16]]}
    (root / "annotations.json").write_text(json.dumps(tree))
    (mark,) = index_data(root, DataConfig()).members[1][0].marks
    assert mark[:2] == ((5, 6, 4, 10), "thread")


def test_two_images_that_would_share_a_mask_are_named(boards: Path, tmp_path: Path) -> None:
    root = folders(boards, tmp_path / "data")
    first = sorted((root / "tin").iterdir())[0]
    shutil.copy(first, first.with_suffix(".bmp"))
    with pytest.raises(DataError, match=rf"belongs to {first.stem}.* and to {first.stem}"):
        index_data(root, DataConfig())


def test_a_mask_of_another_size_is_named(boards: Path, tmp_path: Path) -> None:
    from PIL import Image

    root = folders(boards, tmp_path / "data")
    mask = sorted((root / "masks" / "tin").iterdir())[0]
    Image.new("L", (3, 5)).save(mask)
    index = index_data(root, DataConfig())
    assert index.counts()["tin"] == len(CLASSES) - 1
    assert f"its mask {mask} is 3 x 5, the image " in index.skipped[0][1]


def test_an_unknown_layout_lists_the_known_ones(boards: Path) -> None:
    with pytest.raises(DataError, match=r"expected one of coco, .*, folders"):
        index_data(boards, DataConfig(layout="zip"))
