"""Generated sets in the formats of others, read back by their ecosystems' own tools, or where those
cannot be installed by their published rules, written out here.
"""

import csv
import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from torchvision.datasets import VOCDetection

from defectgan.data.index import index_data
from defectgan.data.masks import Part, cut_parts, find_parts, is_defect
from defectgan.errors import DataError, SettingError
from defectgan.generation.formats import FORMATS, export_set
from defectgan.generation.formats.coco import run_lengths
from defectgan.generation.formats.yolo import labels_of, outline
from defectgan.generation.plan import find_sources
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import run_job
from defectgan.generation.wishes import Span, Wishes
from defectgan.images import Picture, read_mask, read_picture, write_picture
from defectgan.manifest import MANIFEST
from defectgan.model.file import load_model
from defectgan.settings.data import DataConfig
from tests.conftest import CLASSES, ROOT, rows_of
from tests.test_shards import files_of

CPU = torch.device("cpu")
N = 12
# Its decoder does not know numpy 2's copy yet.
OLD_PYCOCOTOOLS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set by the shipped weights, in all formats."""
    out = tmp_path_factory.mktemp("painted") / "set"
    model = load_model(ROOT / "sample_data/pcb64.safetensors")
    sources = find_sources(str(ROOT / "sample_data/normal"))
    run_job(GenerateJob(sources, CLASSES, N, 0, False), model, out, device=CPU, batch_size=16)
    written = export_set(out, FORMATS)
    assert list(written) == list(FORMATS) and all(path.exists() for path in written.values())
    return out


def found_in(out: Path, row: dict[str, Any]) -> NDArray[np.bool_]:
    """What the manifest means by a mask."""
    return np.asarray(read_mask(out / row["mask"]) / 255 > row["threshold"])


def number_of_parts(found: NDArray[np.bool_]) -> int:
    return int(cv2.connectedComponents(found.astype(np.uint8), connectivity=8)[0]) - 1


@OLD_PYCOCOTOOLS
def test_pycocotools_reads_the_masks_boxes_and_areas_of_coco(painted: Path) -> None:
    coco = COCO(str(painted / "annotations.json"))
    rows = {row["output"]: row for row in rows_of(painted)}
    names = {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}
    assert list(names.values()) == list(CLASSES) and len(coco.imgs) == N
    thresholds = coco.dataset["info"]["mask_thresholds"]
    for image in coco.loadImgs(coco.getImgIds()):
        row = rows[image["file_name"]]
        found = found_in(painted, row)
        assert (image["height"], image["width"]) == found.shape
        assert thresholds[row["class"]] == [row["threshold"]]
        parts = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert len(parts) == number_of_parts(found)
        union = np.zeros(found.shape, int)
        for part in parts:
            region = coco.annToMask(part)
            union += region
            assert names[part["category_id"]] == row["class"]
            assert part["area"] == region.sum() == coco_mask.area(part["segmentation"])
            assert part["bbox"] == coco_mask.toBbox(part["segmentation"]).tolist()
        assert np.array_equal(union, found)  # no pixel twice, none missing


def test_torchvision_reads_the_boxes_of_voc(painted: Path) -> None:
    rows = {Path(row["output"]).stem: row for row in rows_of(painted)}
    read = VOCDetection(str(painted), year="2012", image_set="trainval")
    assert len(read) == N
    for image, target in read:
        told = target["annotation"]
        row = rows[told["filename"].removesuffix(".jpg")]
        found = found_in(painted, row)
        before = read_picture(painted / row["output"]).pixels.astype(int)
        assert np.abs(np.asarray(image).astype(int) - before).max() <= 6
        assert float(told["mask_threshold"]) == row["threshold"]
        boxes = {
            tuple(int(thing["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax"))
            for thing in told.get("object", [])
        }
        assert all(thing["name"] == row["class"] for thing in told.get("object", []))
        expected = {(x + 1, y + 1, x + w, y + h) for x, y, w, h, _ in find_parts(found)}
        assert boxes == expected  # as the development kit counts: from 1, the last one included


def ultralytics(out: Path) -> list[tuple[Path, NDArray[np.float64], list[NDArray[np.float64]]]]:
    """Images with their classes and segments, by the rules of ultralytics 8: ``check_det_dataset``,
    ``get_img_files``, ``img2label_paths`` and ``verify_image_label``.
    """
    settings = yaml.safe_load((out / "data.yaml").read_text())
    assert {"train", "val", "names"} <= settings.keys() and "path" not in settings
    names = settings["names"]
    assert list(names) == list(range(len(names)))
    root = (out / settings["train"]).resolve()
    read = []
    for image in sorted(p for p in root.glob("**/*.*") if p.suffix == ".png"):
        before, behind = str(image).rsplit("/images/", 1)
        file = Path(f"{before}/labels/{behind}").with_suffix(".txt")
        lines = [line.split() for line in file.read_text().strip().splitlines() if line]
        assert all(len(line) > 6 and len(line) % 2 == 1 for line in lines)
        classes = np.array([line[0] for line in lines], dtype=np.float64)
        segments = [np.array(line[1:], np.float64).reshape(-1, 2) for line in lines]
        assert all((s >= 0).all() and (s <= 1).all() for s in segments)
        assert classes.max(initial=0) < len(names)
        read.append((image, classes, segments))
    return read


def test_the_segments_of_yolo_fill_the_masks_by_the_rules_of_ultralytics(painted: Path) -> None:
    """``polygon2mask`` fills what the points, rounded down to pixels, go round."""
    rows = {(painted / row["output"]).resolve(): row for row in rows_of(painted)}
    read = ultralytics(painted)
    assert len(read) == N
    for image, classes, segments in read:
        row = rows[image]
        found = found_in(painted, row)
        assert set(classes) <= {CLASSES.index(row["class"])}
        assert len(segments) == number_of_parts(found)
        filled = np.zeros(found.shape, np.uint8)
        for segment in segments:
            points = (segment * found.shape[::-1]).astype(np.int32)
            cv2.fillPoly(filled, [points], 1)
            wide, high = np.ptp(segment, axis=0)
            assert wide > 0 and high > 0  # else ultralytics drops the box
        assert np.array_equal(filled > 0, without_holes(found))


def without_holes(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each part with what it encloses."""
    contours, _ = cv2.findContours(found.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(found.shape, np.uint8)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    return filled > 0


def test_the_masks_of_mvtec_are_found_by_the_rules_of_anomalib(painted: Path) -> None:
    """``make_mvtec_dataset``: PNG files, good ones to train on, and of each image in test the mask
    that stands at its place in ``ground_truth``, sorted, and whose name holds the image's.
    """
    root = painted / "mvtec"
    files = sorted(root.glob("**/*.png"))
    parts = [(p.parts[-3], p.parts[-2], p) for p in files]
    images = [(label, p) for split, label, p in parts if split == "test" and label != "good"]
    masks = [(label, p) for split, label, p in parts if split == "ground_truth"]
    good = [p for split, label, p in parts if (split, label) == ("train", "good")]
    rows = {Path(row["output"]).stem: row for row in rows_of(painted)}
    assert len(images) == len(masks) == N
    assert len(good) == len({row["source"] for row in rows.values()})
    for (label, image), (of, mask) in zip(images, masks, strict=True):
        row = rows[image.stem]
        assert label == of == row["class"] and image.stem in mask.stem
        assert image.read_bytes() == (painted / row["output"]).read_bytes()
        values = np.asarray(Image.open(mask))
        assert set(np.unique(values)) <= {0, 255}
        assert np.array_equal(values > 0, found_in(painted, row))
    sources = sorted({row["source"] for row in rows.values()})
    kept = {read_picture(p).pixels.tobytes() for p in good}
    assert kept == {read_picture(Path(p)).pixels.tobytes() for p in sources}


def test_the_table_says_what_the_manifest_says(painted: Path) -> None:
    with (painted / "labels.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    for line, row in zip(table, rows_of(painted), strict=True):
        assert (line["file"], line["labels"], line["mask"]) == (
            *(row["output"], row["class"], row["mask"]),
        )
        assert float(line["threshold"]) == row["threshold"]
        assert float(line["area"]) == row["mask_area"]
        assert int(line["parts"]) == number_of_parts(found_in(painted, row))
        if row["box"]:
            assert [int(line[s]) for s in ("left", "top", "width", "height")] == row["box"]


@OLD_PYCOCOTOOLS
def test_an_image_of_several_classes_has_an_annotation_of_each_of_its_defects(
    tmp_path: Path,
) -> None:
    out, classes = tmp_path / "set", ("tin", "wound")
    model = load_model(ROOT / "sample_data/pcb64.safetensors")
    sources = find_sources(str(ROOT / "sample_data/normal"))
    wishes = Wishes(size=Span.read("16..20"), together=True)
    job = GenerateJob(sources, classes, 4, 0, False, 1, wishes=wishes)
    run_job(job, model, out, device=CPU, batch_size=16)
    export_set(out, FORMATS)
    coco = COCO(str(out / "annotations.json"))
    names = {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}
    segments = {image: (labels, found) for image, labels, found in ultralytics(out)}
    with (out / "labels.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(coco.imgs) == len(table) == 4
    for image, line, row in zip(coco.dataset["images"], table, rows_of(out), strict=True):
        assert image["file_name"] == line["file"] == row["output"]
        assert line["labels"] == "tin|wound"
        told = [(one["class"], one["box"]) for one in row["instances"]]
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert [(names[one["category_id"]], one["bbox"]) for one in annotations] == told
        assert sum(coco.annToMask(one) for one in annotations).max() == 1
        root = ET.parse(out / f"VOCdevkit/VOC2012/Annotations/{Path(row['output']).stem}.xml")
        assert [thing.findtext("name") for thing in root.iter("object")] == list(classes)
        labels, outlines = segments[(out / row["output"]).resolve()]
        assert set(labels) == {0, 1} and len(outlines) == number_of_parts(found_in(out, row))
        name = Path(row["output"]).name
        assert (out / "mvtec/test/tin+wound" / name).is_file()
        masks = out / "mvtec/ground_truth/tin+wound"
        assert (masks / f"{Path(name).stem}_mask.png").is_file()


@OLD_PYCOCOTOOLS
@given(seed=st.integers(0, 10**6), full=st.floats(0.02, 0.98), size=st.integers(1, 24))
@settings(deadline=None, max_examples=80)
def test_parts_make_up_a_region_and_their_outlines_fill_them(
    seed: int, full: float, size: int
) -> None:
    """Down to parts of one pixel."""
    region = np.random.default_rng(seed).random((size, size + 3)) < full
    parts = cut_parts(region)
    union = np.zeros(region.shape, int)
    for part in parts:
        own = placed(part, region.shape)
        union += own
        assert sorted([*part.box, part.area]) == sorted([*part.box, int(own.sum())])
        assert np.array_equal(coco_mask.decode(run_lengths(part, region.shape)) > 0, own)
        points = np.array(outline(part, region.shape)).reshape(-1, 2)
        assert (np.ptp(points, axis=0) > 0).all()
        filled = np.zeros(region.shape, np.uint8)
        cv2.fillPoly(filled, [(points * region.shape[::-1]).astype(np.int32)], 1)
        assert np.array_equal(filled > 0, without_holes(own))
    assert np.array_equal(union, region)
    told = sorted([*part.box, part.area] for part in parts)
    assert told == sorted(find_parts(region))


def placed(part: Part, size: tuple[int, int]) -> NDArray[np.bool_]:
    whole = np.zeros(size, bool)
    left, top, width, height = part.box
    whole[top : top + height, left : left + width] = part.pixels
    return whole


@pytest.mark.parametrize(
    ("output", "label"),
    [
        ("images/tin/a.png", "labels/tin/a.txt"),
        ("images/images/a.b.tif", "images/labels/a.b.txt"),
    ],
)
def test_labels_lie_where_ultralytics_looks_for_them(output: str, label: str) -> None:
    assert labels_of(output) == label


def with_good_images(root: Path, name: str) -> None:
    """Say in a format that some images show nothing: a set that was painted has none of these."""
    folder = root / {"yolo": "images/normal", "voc": "normal"}.get(name, "normal")
    for i in range(4):
        gray = np.full((16, 16, 3), 60 + 40 * i, np.uint8)
        write_picture(folder / f"{i}.png", Picture(gray))
        (root / "labels" / "normal").mkdir(parents=True, exist_ok=True)
        (root / "labels" / "normal" / f"{i}.txt").touch()
    if name == "coco":
        coco = json.loads((root / "annotations.json").read_text())
        size = {"height": 16, "width": 16}
        coco["images"] += [{"id": 100 + i, "file_name": f"normal/{i}.png"} | size for i in range(4)]
        (root / "annotations.json").write_text(json.dumps(coco))
    elif name == "yolo":
        settings = yaml.safe_load((root / "data.yaml").read_text())
        del settings["val"]  # the same images, which would be kept for testing
        (root / "data.yaml").write_text(yaml.safe_dump(settings))
    elif name == "table":
        with (root / "labels.csv").open("a") as file:
            file.writelines(f"normal/{i}.png,normal\n" for i in range(4))


@pytest.mark.parametrize("name", ["coco", "yolo", "mvtec", "voc", "table"])
def test_our_own_readers_take_each_format(painted: Path, tmp_path: Path, name: str) -> None:
    """With the masks that they tell of: those of the manifest, or of VOC their boxes."""
    if name == "mvtec":
        root = painted / "mvtec"
    else:
        root = shutil.copytree(painted, tmp_path / name, ignore=without(name))
        with_good_images(root, name)
    index = index_data(root, DataConfig(layout=name, val_fraction=0))
    rows = {Path(row["output"]).stem: row for row in rows_of(painted)}
    read = [s for s in index.samples if s.labels]
    shown = {stem for stem, row in rows.items() if row["box"]}
    assert shown <= {sample.file.stem for sample in read} <= rows.keys()
    for sample in read:
        assert sample.labels == (rows[sample.file.stem]["class"],)


def without(name: str) -> Any:
    """All but what belongs to a format."""
    own = {
        "coco": {"annotations.json", "images"},
        "yolo": {"data.yaml", "images", "labels"},
        "voc": {"VOCdevkit"},
        "table": {"labels.csv", "images", "masks"},
    }[name]

    def ignored(folder: str, names: list[str]) -> set[str]:
        return set(names) - own if Path(folder).name == "set" else set()

    return ignored


def test_an_export_that_is_done_again_is_the_same_and_follows_a_set_that_grew(
    painted: Path, tmp_path: Path
) -> None:
    model = load_model(ROOT / "sample_data/pcb64.safetensors")
    sources = find_sources(str(ROOT / "sample_data/normal"))
    out = tmp_path / "set"
    for n in (5, N, N):
        run_job(GenerateJob(sources, CLASSES, n, 0, False), model, out, device=CPU, batch_size=16)
        export_set(out, FORMATS)
        assert len(json.loads((out / "annotations.json").read_text())["images"]) == n
    assert files_of(out) == files_of(painted)


def test_images_that_are_gone_are_left_out_and_counted(painted: Path, tmp_path: Path) -> None:
    rows = rows_of(painted)
    for name in ("images", "masks", MANIFEST, "job.json"):
        (tmp_path / name).symlink_to(painted / name)
    (tmp_path / "masks").unlink()
    (tmp_path / "masks").mkdir()
    for row in rows[1:]:
        (tmp_path / row["mask"]).parent.mkdir(exist_ok=True)
        (tmp_path / row["mask"]).symlink_to(painted / row["mask"])
    said: list[str] = []
    export_set(tmp_path, ["coco"], say=said.append)
    assert len(said) == 1 and said[0].startswith("1 image left out of coco: ")
    assert rows[0]["mask"] in said[0]
    assert len(json.loads((tmp_path / "annotations.json").read_text())["images"]) == N - 1


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"no format cocco: found folder, .* did you mean coco"):
        export_set(tmp_path, ["cocco"])
    with pytest.raises(DataError, match="holds no images of a job"):
        export_set(tmp_path, ["coco"])
    deep = Picture(np.zeros((8, 8, 1), np.uint16))
    write_picture(tmp_path / "images" / "tin" / "a.png", deep)
    write_picture(tmp_path / "masks" / "tin" / "a.png", Picture(np.zeros((8, 8, 1), np.uint8)))
    row = {"output": "images/tin/a.png", "mask": "masks/tin/a.png", "class": "tin"}
    (tmp_path / MANIFEST).write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="16 bits a channel, a JPEG image of VOC 8"):
        export_set(tmp_path, ["voc"])
    assert not [p for p in (tmp_path / "VOCdevkit").rglob("*") if p.is_file()]
    export_set(tmp_path, ["yolo", "coco"])
    assert (tmp_path / "labels" / "tin" / "a.txt").read_text() == ""
    assert json.loads((tmp_path / "annotations.json").read_text())["annotations"] == []


def test_a_mask_of_any_threshold_is_cut_where_the_manifest_says(tmp_path: Path) -> None:
    soft = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_picture(tmp_path / "images" / "tin" / "a.png", Picture(np.zeros((16, 16, 1), np.uint8)))
    write_picture(tmp_path / "masks" / "tin" / "a.png", Picture(soft[..., None]))
    for threshold in (0.2, 0.7):
        row = {"output": "images/tin/a.png", "mask": "masks/tin/a.png", "class": "tin"}
        (tmp_path / MANIFEST).write_text(json.dumps(row | {"threshold": threshold}) + "\n")
        export_set(tmp_path, ["coco", "voc"])
        (part,) = json.loads((tmp_path / "annotations.json").read_text())["annotations"]
        assert part["area"] == is_defect(soft, threshold).sum()
        told = ET.parse(tmp_path / "VOCdevkit/VOC2012/Annotations/a.xml")
        assert told.findtext("mask_threshold") == str(threshold)
