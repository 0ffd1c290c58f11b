import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectgan.data.index import index_data, read_split, write_split
from defectgan.errors import DataError
from defectgan.names import (
    DEVICES,
    LONGEST,
    class_name,
    plain_name,
    safe_folders,
    safe_name,
)
from defectgan.settings.data import DataConfig

NO_NAMES = (
    "/etc/crack",
    "../../crack",
    "crack/../..",
    "..",
    ".",
    "./crack",
    "\\\\server\\share",
    "C:\\crack",
    "..\\crack",
    "cra\0ck",
    "cra\nck",
    "\x7f",
    "",
    "  ",
    "\udcff",
)
AWKWARD = (
    "crack/rust",
    "con",
    "AUX",
    "aux.png",
    "tin. ",
    ".hidden",
    "-rf",
    "Tin",
    "tin",
    "t\u00efn",
    "ti\u0308n",
    "\u88c2\u7eb9",
    "a:b|c*d?",
    "x" * 300,
    "x" * 301,
    "\u88c2" * 200,
    "***",
    "good\u202e",
)
texts = st.text(st.characters(codec="utf-8"), max_size=300)


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
def test_a_name_that_no_class_can_have_is_refused_with_where_it_stands(name: str) -> None:
    with pytest.raises(DataError, match=r"^row 3 of t\.csv names a class that cannot be: .*name$"):
        class_name(name, "row 3 of t.csv")


@pytest.mark.parametrize("name", AWKWARD, ids=lambda n: repr(n[:12]))
def test_a_name_that_is_merely_awkward_for_a_folder_is_none_of_these(name: str) -> None:
    assert class_name(name, "here") == name


@pytest.mark.parametrize("name", ["tin", "missing hole", "rolled-in_scale", "Kratzer \u00fc (2)"])
def test_a_name_that_every_file_system_takes_stays_as_it_is(name: str) -> None:
    assert safe_name(name) == name


@given(texts)
def test_a_safe_name_is_one_visible_part_of_a_path_for_any_file_system(name: str) -> None:
    safe = safe_name(name)
    assert safe and not set(safe) & set('<>:"/\\|?*') and safe.isprintable()
    assert safe[0] not in " .-" and safe[-1] not in " .-"
    assert len(os.fsencode(safe)) <= LONGEST + 1
    assert safe.partition(".")[0].casefold() not in DEVICES
    assert safe_name(safe) == safe


@given(texts)
def test_a_plain_name_needs_no_quotes(name: str) -> None:
    assert all(c.isalnum() or c in "_.-" for c in plain_name(name))


@given(st.lists(st.one_of(texts, st.sampled_from([*AWKWARD, "tin-2", "TIN-2"])), unique=True))
def test_no_two_classes_share_a_folder_on_any_file_system(names: list[str]) -> None:
    folders = safe_folders(names)
    assert list(folders) == names
    assert len({f.casefold() for f in folders.values()}) == len(names)


def test_classes_that_differ_in_case_or_accents_alone_are_numbered() -> None:
    names = ("tin", "Tin", "t\u00efn", "ti\u0308n", "tin-2")
    assert list(safe_folders(names).values()) == [
        "tin",
        "Tin-2",
        "t\u00efn",
        "t\u00efn-2",
        "tin-2-2",
    ]


# --- through every layout


def in_table(boards: Path, root: Path, name: str, *, as_json: bool = False) -> Path:
    shutil.copytree(boards, root)
    files = [(f"{k}/{p.name}", k) for k in ("normal", "tin") for p in (boards / k).iterdir()]
    rows = [{"file": file, "labels": "" if k == "normal" else name} for file, k in sorted(files)]
    if as_json:
        listed = [{**row, "labels": [row["labels"]] if row["labels"] else []} for row in rows]
        (root / "labels.jsonl").write_text("\n".join(map(json.dumps, listed)))
        return root
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("file", "labels"))
        writer.writeheader()
        writer.writerows(rows)
    return root


def in_json_table(boards: Path, root: Path, name: str) -> Path:
    return in_table(boards, root, name, as_json=True)


def in_coco(boards: Path, root: Path, name: str) -> Path:
    shutil.copytree(boards, root)
    files = [f"{k}/{p.name}" for k in ("normal", "tin") for p in sorted((boards / k).iterdir())]
    tree: dict[str, Any] = {
        "images": [{"id": i, "file_name": file} for i, file in enumerate(files)],
        "categories": [{"id": 7, "name": name}],
        "annotations": [
            {"image_id": i, "category_id": 7, "bbox": [1, 2, 3, 4]}
            for i, file in enumerate(files)
            if file.startswith("tin")
        ],
    }
    (root / "annotations.json").write_text(json.dumps(tree))
    return root


LISTS = {"table": in_table, "JSON table": in_json_table, "COCO": in_coco}


@pytest.mark.parametrize("layout", LISTS)
@pytest.mark.parametrize("name", ["/etc/crack", "../../crack", "..", "cra\0ck", "C:\\x"], ids=repr)
def test_a_listed_name_that_no_class_can_have_is_refused_with_its_row(
    layout: str, name: str, boards: Path, tmp_path: Path
) -> None:
    root = LISTS[layout](boards, tmp_path / "data", name)
    with pytest.raises(
        DataError, match=r"^(row 7|line 7|category 7) of .* names a class that cannot be"
    ):
        index_data(root, DataConfig())


@pytest.mark.parametrize("layout", LISTS)
@pytest.mark.parametrize(
    "name", ["crack/rust", "con", "\u88c2\u7eb9", "x" * 300], ids=lambda n: n[:9]
)
def test_a_listed_name_that_is_awkward_for_a_folder_is_read(
    layout: str, name: str, boards: Path, tmp_path: Path
) -> None:
    root = LISTS[layout](boards, tmp_path / "data", name)
    assert index_data(root, DataConfig()).classes == ("normal", name)


@pytest.mark.parametrize("test", [True, False], ids=["mvtec", "folders"])
def test_a_folder_with_a_name_that_no_class_can_have_is_refused(
    test: bool, boards: Path, tmp_path: Path
) -> None:
    if test:
        shutil.copytree(boards / "normal", tmp_path / "train" / "good")
        shutil.copytree(boards / "tin", tmp_path / "test" / "ti\nn")
    else:
        shutil.copytree(boards / "normal", tmp_path / "good")
        shutil.copytree(boards / "tin", tmp_path / "ti\nn")
    with pytest.raises(DataError, match=r"^a folder in .* names a class that cannot be: 'ti\\nn'"):
        index_data(tmp_path, DataConfig())


@pytest.mark.parametrize("name", ["/etc/crack", "..", ""])
def test_a_split_or_a_setting_that_names_such_a_class_is_refused(
    name: str, boards: Path, tmp_path: Path
) -> None:
    split = tmp_path / "split.json"
    write_split(split, index_data(boards, DataConfig(classes=("tin",))))
    tree = json.loads(split.read_text())
    split.write_text(json.dumps({**tree, "classes": ["normal", name]}))
    with pytest.raises(DataError, match=r"split\.json names a class that cannot be"):
        read_split(split)
    with pytest.raises(DataError, match="normal class names a class that cannot be"):
        index_data(boards, DataConfig(normal_class=name))
