"""Generated images among real ones: put there on purpose, and taken out again without a trace."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectgan_cli.main import app
from typer.testing import CliRunner

from defectgan.data.index import index_data
from defectgan.errors import DataError, SettingError
from defectgan.files import read_json_lines, write_json_lines
from defectgan.generation.formats import export_set
from defectgan.generation.into import ADDED, RECORD, remove_from
from defectgan.generation.prepare import generate, prepare
from defectgan.generation.wishes import Span, Wishes
from defectgan.images import read_mask, read_picture
from defectgan.settings.data import DataConfig
from tests.conftest import CLASSES, ROOT, rows_of
from tests.test_shards import files_of

SHIPPED = ROOT / "sample_data/pcb64.safetensors"


@pytest.fixture
def data(boards: Path, tmp_path: Path) -> Path:
    return shutil.copytree(boards, tmp_path / "pcb")


@pytest.fixture
def mvtec(data: Path, tmp_path: Path) -> Path:
    """The boards as MVTec keeps them."""
    root = tmp_path / "mvtec"
    shutil.copytree(data / "normal", root / "train" / "good")
    for name in CLASSES:
        shutil.copytree(data / name, root / "test" / name)
        (root / "ground_truth" / name).mkdir(parents=True)
        for mask in (data / "masks" / name).iterdir():
            shutil.copy(mask, root / "ground_truth" / name / f"{mask.stem}_mask.png")
    return root


def add(folder: Path, boards: Path, n: int = 8, **job: Any) -> Path:
    usual: dict[str, Any] = {"model": SHIPPED, "candidates": 1}
    return generate(boards / "normal", into=folder, n=n, **(usual | job))


@pytest.mark.parametrize("layout", ["folders", "mvtec"])
def test_what_is_added_is_read_with_its_masks_and_taken_out_again_without_a_trace(
    data: Path, mvtec: Path, boards: Path, layout: str
) -> None:
    root = data if layout == "folders" else mvtec
    before = files_of(root)
    out = add(root, boards)
    rows = rows_of(out)
    assert before.items() <= files_of(root).items()
    index = index_data(root, DataConfig(val_fraction=0))
    made = [s for s in index.samples if s.file.name.startswith("defectgan-")]
    assert Counter(s.labels[0] for s in made) == Counter(row["class"] for row in rows)
    place = root / ("masks" if layout == "folders" else "ground_truth")
    masks = {p.stem.removesuffix("_mask"): p for p in place.glob("*/defectgan-*.png")}
    for sample in made:
        (row,) = (r for r in rows if sample.file.stem.endswith(Path(r["output"]).stem))
        assert sample.file.read_bytes() == (out / row["output"]).read_bytes()
        mask = read_mask(masks[sample.file.stem])
        assert set(np.unique(mask)) <= {0, 255}
        assert np.array_equal(mask > 0, read_mask(out / row["mask"]) / 255 > row["threshold"])
    assert remove_from(root) == (2 * len(rows), [])
    assert files_of(root) == before
    with pytest.raises(DataError, match="nothing was added to"):
        remove_from(root)


def test_images_of_several_classes_are_added_by_the_name_of_their_folder(
    mvtec: Path, boards: Path
) -> None:
    wishes = Wishes(size=Span.read("16..20"), together=True)
    add(mvtec, boards, n=2, defects=["tin", "wound"], wishes=wishes)
    for place in ("test", "ground_truth"):
        assert len(list((mvtec / place / "tin+wound").glob("defectgan-*.png"))) == 2
    assert remove_from(mvtec) == (4, [])
    assert not (mvtec / "test" / "tin+wound").exists()


def test_the_same_line_goes_on_and_another_one_adds_beside_it(data: Path, boards: Path) -> None:
    before = files_of(data)
    first = add(data, boards, 4)
    assert add(data, boards, 6) == first and len(rows_of(first)) == 6
    second = add(data, boards, 4, seed=1)
    assert second != first and second.parent == first.parent
    assert len(list(data.glob("*/defectgan-*.png"))) == 6 + 4
    assert remove_from(data) == (20, []) and files_of(data) == before


def test_a_kill_between_the_record_and_the_files_loses_nothing(data: Path, boards: Path) -> None:
    before = files_of(data)
    out = add(data, boards, 4)
    whole = files_of(data)
    for path in list(data.glob("*/defectgan-*.png"))[:2]:
        path.unlink()
    assert add(data, boards, 4) == out and files_of(data) == whole
    for path in list(data.glob("*/defectgan-*.png"))[:2]:
        path.unlink()
    assert remove_from(data) == (6, []) and files_of(data) == before


def test_nothing_of_the_persons_is_overwritten_or_taken(data: Path, boards: Path) -> None:
    out = add(data, boards, 4)
    edited = next(iter(data.glob("tin/defectgan-*.png")))
    edited.unlink()  # as editors write: a new file
    edited.write_bytes(b"mine")
    assert add(data, boards, 4) == out and edited.read_bytes() == b"mine"
    removed, changed = remove_from(data)
    assert (removed, changed) == (7, [edited]) and edited.read_bytes() == b"mine"
    with pytest.raises(DataError, match="is there already: nothing is overwritten"):
        add(data, boards, 4)
    assert edited.read_bytes() == b"mine"


def test_a_record_that_names_files_elsewhere_takes_nothing(data: Path, boards: Path) -> None:
    add(data, boards, 2)
    record, secret = data / ADDED / RECORD, data.parent / "secret.png"
    secret.write_bytes(b"mine")
    rows = read_json_lines(record)
    for name in ("../secret.png", str(secret)):
        write_json_lines(record, [{**rows[0], "file": name}])
        with pytest.raises(DataError, match=r"secret\.png, which is not in"):
            remove_from(data)
    assert secret.exists()


def test_folders_whose_files_would_have_to_change_are_refused(
    data: Path, boards: Path, tmp_path: Path
) -> None:
    coco = add(data, boards, 4)
    export_set(coco, ["coco"])
    root = tmp_path / "coco"
    shutil.copytree(coco / "images", root / "images")
    shutil.copy(coco / "annotations.json", root)
    shutil.copytree(boards / "normal", root / "normal")
    before = files_of(root)
    with pytest.raises(DataError, match="is of the layout coco: only to class folders"):
        add(root, boards)
    with pytest.raises(SettingError, match="not into both"):
        prepare(str(boards / "normal"), model=SHIPPED, into=data, out=tmp_path / "out")
    assert files_of(root) == before


def test_without_saying_so_a_folder_of_real_images_is_left_alone(data: Path, boards: Path) -> None:
    with pytest.raises(DataError, match="is not empty: name another folder"):
        prepare(str(boards / "normal"), model=SHIPPED, out=data)


def test_the_command_adds_and_takes_out(data: Path, boards: Path) -> None:
    def call(*words: str) -> Any:
        return CliRunner().invoke(app, ["generate", *words])

    before, job = files_of(data), ["--model", str(SHIPPED), "--normal", str(boards / "normal")]
    result = call(*job, "--n", "4", "--into", str(data))
    assert result.exit_code == 0 and result.stdout == f"4 images: {data}\n"
    assert read_picture(next(iter(data.glob("tin/defectgan-*.png")))).size == (48, 48)
    assert json.loads(call("--into", str(data), "--remove", "--json").stdout)["removed"] == 8
    assert files_of(data) == before
    assert call("--remove").exit_code == 2 and call("--into", str(data), "--remove").exit_code == 3
