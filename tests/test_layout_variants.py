"""Known layouts in other forms than the usual one: what is made of each, and what is said."""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from defectgan.data.index import Index, index_data
from defectgan.errors import DataError
from defectgan.settings.data import DataConfig
from tests.test_shipped_layouts import HIGH, SPOT, WIDE, coco, mask, photo, polygon, spot, write

LEFT, TOP, RIGHT, BOTTOM = SPOT
LINE = f"0 {(LEFT + RIGHT) / 2 / WIDE} {(TOP + BOTTOM) / 2 / HIGH} {12 / WIDE} {8 / HIGH}\n"
EMPTY = np.zeros((HIGH, WIDE), np.uint8)


def read(root: Path, **settings: Any) -> Index:
    return index_data(root, DataConfig(**settings))


def labelled(root: Path, images: str, labels: str, *, count: int = 4) -> None:
    """Images the first half of which has a box in a text file, the others an empty one."""
    for i in range(count):
        photo(root / images / f"{i}.jpg")
        write(root / labels / f"{i}.txt", LINE if i < count // 2 else "")


def splits(root: Path, form: str) -> None:
    """Four images to train on and two to validate on, ``{}`` being the split in ``form``."""
    for split, count in (("train", 4), ("valid", 2)):
        images = form.format(split)
        labelled(root, images, images.replace("images", "labels"), count=count)


def without_test(root: Path) -> None:
    splits(root, "{}/images")
    told = "train: ../train/images\nval: ../val/images\ntest: ../test/images\nnames: [scratch]\n"
    write(root / "data.yaml", told)


def darknet(root: Path) -> None:
    splits(root, "obj_{}_data")
    for split, count in (("train", 4), ("valid", 2)):
        names = "".join(f"data/obj_{split}_data/{i}.jpg\n" for i in range(count))
        write(root / f"{split}.txt", names)
    write(root / "obj.names", "scratch\n")
    told = "classes = 1\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n"
    write(root / "obj.data", told + "backup = backup/\n")


def list_in_each_split(root: Path) -> None:
    splits(root, "{}")
    for split in ("train", "valid"):
        write(root / split / "_darknet.labels", "scratch\n")


def list_beside_labels(root: Path) -> None:
    splits(root, "images/{}")
    write(root / "labels" / "train" / "classes.txt", "scratch\n")


@pytest.mark.parametrize("make", [without_test, darknet, list_in_each_split, list_beside_labels])
def test_the_forms_of_yolo_give_the_same_set(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "set")
    index = read(tmp_path / "set")
    assert index.layout == "yolo" and index.counts() == {"normal": 2, "scratch": 2}
    assert index.split_counts() == {"train": 4, "val": 2} and not index.skipped
    absent = [note for note in index.notes if "../test/images" in note and "not in" in note]
    assert len(absent) == (make is without_test)


def test_classes_that_nothing_names_are_called_by_their_numbers_and_that_is_said(
    tmp_path: Path,
) -> None:
    splits(tmp_path / "set", "{}/images")
    index = read(tmp_path / "set")
    assert index.layout == "yolo" and index.counts() == {"normal": 2, "0": 2}
    assert any("called by their numbers" in note for note in index.notes)


def test_text_files_that_are_no_labels_make_no_yolo_set(tmp_path: Path) -> None:
    splits(tmp_path / "set", "{}/images")
    write(tmp_path / "set" / "train" / "labels" / "1.txt", "a note on image 1\n")
    with pytest.raises(DataError, match="no normal class"):
        read(tmp_path / "set")


def test_images_and_labels_that_yolo_settings_leave_alone_are_said(tmp_path: Path) -> None:
    root = tmp_path / "set"
    labelled(root, "train/images", "train/labels")
    photo(root / "later" / "new.png")
    write(root / "train" / "labels" / "gone.txt", LINE)
    write(root / "data.yaml", "train: train/images\nnames: {0: scratch}\n")
    notes = "\n".join(read(root).notes)
    assert "1 image that data.yaml does not name" in notes and "new.png" in notes
    assert "1 text file of labels without an image" in notes and "gone.txt" in notes


def test_class_folders_go_before_a_table_and_yolo_labels_and_both_are_said(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name in ("good", "crack"):
        labelled(root, name, name)
    write(root / "parts.csv", "file,label\ngood/0.jpg,crack\n")
    index = read(root)
    assert index.layout == "folders" and index.counts() == {"good": 4, "crack": 4}
    (note,) = (note for note in index.notes if "taken for classes" in note)
    assert "table" in note and "yolo" in note


@pytest.mark.parametrize(
    "name",
    ["images/0a1b2c3d-part%20{}.png", "/data/local-files/?d=images%2F0a1b2c3d-part%20{}.png"],
)
def test_names_are_found_as_an_address_encodes_them(name: str, tmp_path: Path) -> None:
    for i in range(4):
        photo(tmp_path / "images" / f"0a1b2c3d-part {i}.png")
    names = [name.format(i) for i in range(4)]
    write(tmp_path / "result.json", coco(names, names[:2]))
    assert read(tmp_path).counts() == {"normal": 2, "scratch": 2}


def test_a_percent_sign_of_a_name_is_its_own_where_such_a_file_is(tmp_path: Path) -> None:
    names = ["10%20.png", "10 .png"]
    for name in names:
        photo(tmp_path / name)
    write(tmp_path / "annotations.json", coco(names, names[:1]))
    index = read(tmp_path)
    assert [s.file.name for s in index.samples if s.labels] == names[:1]


def segmentation(root: Path, images: str, masks: str, splits: Sequence[str]) -> None:
    for split in splits:
        for i in range(4):
            photo(root / images.format(split) / f"{i}.jpg")
            mask(root / masks.format(split) / f"{i}.png", spot() if i < 2 else EMPTY)


@pytest.mark.parametrize(
    ("images", "masks", "splits"),
    [
        ("images", "masks", ["train"]),
        ("", "GT", ["train"]),
        ("{}/images", "{}/masks", ["train", "test"]),
        ("images/{}", "annotations/{}", ["train", "test"]),
        ("{}_img", "{}_lab", ["train", "test"]),
        ("JPEGImages", "SegmentationClass", ["train"]),
    ],
)
def test_folders_of_masks_tell_good_images_from_others(
    images: str, masks: str, splits: Sequence[str], tmp_path: Path
) -> None:
    segmentation(tmp_path / "set", images, masks, splits)
    index = read(tmp_path / "set")
    assert index.layout == "masks" and index.counts() == {"normal": 2, "defect": 2}
    assert index.split_counts() == dict.fromkeys(splits, 4)
    assert all(s.mask for s in index.all_samples if s.labels)
    assert any("the class defect, all others are good" in note for note in index.notes)


def test_folders_that_may_be_classes_are_no_set_for_segmentation(tmp_path: Path) -> None:
    segmentation(tmp_path / "set", "{}", "masks/{}", ["fine", "torn"])
    with pytest.raises(DataError, match="no normal class"):
        read(tmp_path / "set")
    assert read(tmp_path / "set", normal_class="fine").counts() == {"fine": 4, "torn": 4}


def test_a_mask_that_is_white_all_over_is_a_defect(tmp_path: Path) -> None:
    segmentation(tmp_path / "set", "images", "masks", ["train"])
    mask(tmp_path / "set" / "masks" / "3.png", EMPTY + 255)
    assert read(tmp_path / "set").counts() == {"normal": 1, "defect": 3}


@pytest.mark.parametrize(
    "place", ["mask_gt/crack/c{}.png", "crack masks/c{}.png", "crack/gt_mask/c{}.png"]
)
def test_folders_with_a_word_for_masks_in_their_name_are_no_classes(
    place: str, tmp_path: Path
) -> None:
    for i in range(3):
        photo(tmp_path / "good" / f"g{i}.png")
        photo(tmp_path / "crack" / f"c{i}.png")
        mask(tmp_path / place.format(i))
    index = read(tmp_path)
    assert index.counts() == {"good": 3, "crack": 3}
    assert sum(s.mask is not None for s in index.samples) == 3


@pytest.mark.parametrize("place", ["crack/mask_c{}.png", "masks/crack/gt-c{}.png"])
def test_the_word_for_a_mask_may_stand_before_the_name_of_its_image(
    place: str, tmp_path: Path
) -> None:
    for i in range(3):
        photo(tmp_path / "good" / f"g{i}.png")
        photo(tmp_path / "crack" / f"c{i}.png")
        mask(tmp_path / place.format(i))
    index = read(tmp_path)
    assert index.counts() == {"good": 3, "crack": 3}
    assert sum(s.mask is not None for s in index.samples) == 3


def test_an_image_that_is_only_within_its_labelme_file_is_said(tmp_path: Path) -> None:
    data = base64.b64encode(photo(tmp_path / "0.jpg").read_bytes()).decode()
    (tmp_path / "0.jpg").unlink()
    points = [polygon()[i : i + 2] for i in range(0, 8, 2)]
    shape = {"label": "scratch", "shape_type": "polygon", "points": points}
    tree = {"shapes": [shape], "imagePath": "0.jpg", "imageData": data}
    write(tmp_path / "0.json", tree)
    with pytest.raises(DataError, match=r"its image 0\.jpg is not there, only within the file"):
        read(tmp_path)


def table(root: Path, content: str, name: str = "labels.csv") -> Path:
    for i in range(4):
        photo(root / "imgs" / f"{i}.png")
    write(root / name, content)
    return root


ROWS = "imgs/0.png{0}tin\nimgs/1.png{0}tin\nimgs/2.png{0}good\nimgs/3.png{0}good\n"


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\nfile;labels\n" + ROWS.format(";"),
        "file|labels\n" + ROWS.format("|"),
        "Datei,Klasse\n" + ROWS.format(","),
        "image_id,label\n" + ROWS.format(",").replace("imgs/", "").replace(".png", ""),
        "file,good,tin\n0.png,0,1\n1.png, 0, 1\n2.png,1,0\n3.png,1,0\n",
        "0.png,10,6,22,14,tin\n1.png,10,6,22,14,tin\n2.png,,,,,good\n3.png,,,,,good\n",
        "file,labels\n" + ROWS.format(",") + "imgs/3.png\n",
        "file,labels\n" + ROWS.format(",") + "\0imgs/\0.png,tin\n",
        "file,labels\n" + ROWS.format(",") + f"imgs/4.png,{'x' * 200_000}\n",
    ],
    ids=["sep", "bar", "german", "id", "one-hot", "no-head", "short", "zero", "long"],
)
def test_a_table_is_read_in_whatever_form_it_is(content: str, tmp_path: Path) -> None:
    index = read(table(tmp_path, content), classes=("tin",))
    assert index.layout == "table" and index.counts() == {"good": 2, "tin": 2}


def test_what_a_table_says_in_pixels_is_a_box(tmp_path: Path) -> None:
    head = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    rows = "0.png,40,24,tin,10,6,22,14\n0.png,40,24,rust,1,2,3,4\n1.png,40,24,tin,9,9,1,1\n"
    index = read(table(tmp_path, head + rows + "2.png,40,24,good,,,,\n"))
    (sample,) = (s for s in index.samples if s.labels)
    boxes = [(10.0, 6.0, 12.0, 8.0), (1.0, 2.0, 2.0, 2.0)]
    assert [(m.label, m.box) for m in sample.marks] == list(
        zip(("tin", "rust"), boxes, strict=True)
    )
    (reason,) = (reason for _, reason in index.skipped)
    assert "row 3 of" in reason and "has a box from 9, 9 to 1, 1" in reason


def test_a_table_in_each_split_is_read_with_its_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        told = "filename, dent, scratch\n0.png, 1, 0\n1.png, 0, 1\n2.png, 0, 0\n3.png, 0, 0\n"
        table(tmp_path / split, told, "_classes.csv")
    index = read(tmp_path)
    assert index.counts() == {"normal": 2, "dent": 1, "scratch": 1}
    assert index.split_counts() == {"train": 4, "val": 4}


def test_a_bad_line_of_json_is_left_out_by_its_number(tmp_path: Path) -> None:
    told = '{"file": "imgs/0.png", "label": "tin"}\n{oops\n{"file": "imgs/2.png", "label": "ok"}\n'
    index = read(table(tmp_path, told, "labels.jsonl"))
    assert index.counts() == {"ok": 1, "tin": 1}
    (reason,) = (reason for _, reason in index.skipped)
    assert reason.startswith("line 2 of ") and reason.count("line 2 of") == 1


def test_images_that_a_table_does_not_name_and_labels_with_a_comma_are_said(tmp_path: Path) -> None:
    told = 'file,labels\nimgs/0.png,"tin,rust"\nimgs/2.png,good\n'
    notes = "\n".join(read(table(tmp_path, told)).notes)
    assert "2 images that labels.csv does not name" in notes
    assert "the label tin,rust is one class" in notes


def test_a_table_without_rows_and_one_of_a_single_class_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row of .*labels\.csv can be used: there is none"):
        read(table(tmp_path / "a", "file,labels\n"))
    with pytest.raises(DataError, match="found the labels tin") as caught:
        read(table(tmp_path / "b", "file,labels\nimgs/0.png,tin\n"))
    assert caught.value.mend is None


@pytest.mark.parametrize(
    "name", ["ok_front", "NODefect_images", "MT_Free", "good parts", "no-defect"]
)
def test_a_word_of_its_name_tells_the_folder_of_good_images(name: str, tmp_path: Path) -> None:
    for split in ("train", "test"):
        photo(tmp_path / split / name / "a.png")
        photo(tmp_path / split / "not_ok" / "b.png")
    index = read(tmp_path)
    assert index.counts() == {name: 1, "not_ok": 1}
    assert index.split_counts() == {"train": 2, "test": 2}


FORMS = {
    "annotations.xml": ("<annotations><image name='0.png'/></annotations>", "CVAT's own XML"),
    "via.json": ('{"_via_img_metadata": {}}', "VGG Image Annotator's JSON"),
    "tasks.json": ('[{"data": {"image": "a"}, "annotations": []}]', "Label Studio's own JSON"),
    "list.csv": (
        "width,height\n1,2\n",
        "it holds a table, list.csv, with the columns width,height",
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_annotations_that_are_not_read_are_named(name: str, tmp_path: Path) -> None:
    content, told = FORMS[name]
    with pytest.raises(DataError) as caught:
        read(table(tmp_path, content, name))
    assert told in str(caught.value) and caught.value.mend is None


def test_a_normal_class_is_asked_for_only_among_folders_that_may_be_classes(tmp_path: Path) -> None:
    for name in ("candle", "pcb"):
        photo(tmp_path / "objects" / name / "Data" / "Images" / "0.png")
        photo(tmp_path / "deep" / name / "parts" / "train" / "ok" / "0.png")
    with pytest.raises(DataError, match="do not look like classes") as caught:
        read(tmp_path / "objects")
    assert caught.value.mend is None
    with pytest.raises(
        DataError, match=r"candle/parts and .*pcb/parts would do: name one"
    ) as caught:
        read(tmp_path / "deep")
    assert caught.value.mend is None


def test_a_class_is_known_however_its_letters_are_composed(tmp_path: Path) -> None:
    for name in ("gu\u0308t", "e\u0301caille"):
        photo(tmp_path / name / "a.png")
    index = read(tmp_path, normal_class="g\u00fct", classes=("\u00e9caille",))
    assert index.counts() == {"gu\u0308t": 1, "e\u0301caille": 1}
