"""Folders as they lie about: what is no data is left out and said, and no file stops the rest."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from defectgan_cli.console import LINES_SHOWN, Reporter, grouped
from defectgan_cli.main import app
from typer.testing import CliRunner

from defectgan.data.index import Index, index_data
from defectgan.data.walk import LOOP, MAC, OWN, find_images
from defectgan.errors import DataError, SettingError
from defectgan.generation.plan import find_sources
from defectgan.locks import held
from defectgan.ours import is_own, mark_own
from defectgan.settings.data import DataConfig
from tests.test_shipped_layouts import box, coco, loco, mask, photo, write, xml


def parts(root: Path, count: int = 3) -> Path:
    for i in range(count):
        photo(root / "good" / f"g{i}.png")
        photo(root / "crack" / f"c{i}.png")
    return root


def read(root: Path, **settings: Any) -> Index:
    return index_data(root, DataConfig(**settings))


def reasons(index: Index) -> dict[str, str]:
    return {path.name: reason for path, reason in index.skipped}


@pytest.mark.parametrize(
    "place",
    [
        *(".git/a.png", ".Trash-1000/files/a.png", "crack/.ipynb_checkpoints/a.png"),
        *("$RECYCLE.BIN/a.png", "good/@eaDir/a.png", "__MACOSX/crack/a.png"),
        *("crack/.thumbnails/a.png", "Thumbnails/a.png", "#recycle/a.png", "crack/.a.png"),
    ],
)
def test_what_is_nobodys_data_is_neither_learned_from_nor_painted_on(
    place: str, tmp_path: Path
) -> None:
    root = parts(tmp_path / "set")
    photo(root / place)
    index = read(root, strict=True)
    assert index.counts() == {"good": 3, "crack": 3}
    assert list(reasons(index)) == [Path(place).name]
    sources = find_sources(str(root))
    assert len(sources.files) == 6 and len(sources.rejected) == 1


def test_what_this_product_made_is_known_again(tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    mark_own(root / "runs" / "20260101-000000-set", "a training")
    photo(root / "runs" / "20260101-000000-set" / "samples" / "step-1.png")
    older = root / "generated" / "first"
    photo(older / "images" / "crack" / "1.png")
    for name in ("job.json", "manifest.jsonl"):
        write(older / name, "{}")
    index = read(root)
    assert index.counts() == {"good": 3, "crack": 3}
    assert set(reasons(index).values()) == {OWN} and len(index.skipped) == 2
    assert len(find_sources(str(root)).files) == 6


def test_a_folder_of_somebody_is_never_marked(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    mark_own(tmp_path, "an inspection")
    assert not is_own(tmp_path)


def test_links_to_where_they_lie_are_not_followed_and_others_are(tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    (root / "crack" / "up").symlink_to("..")
    (root / "loop").symlink_to(".")
    photo(tmp_path / "elsewhere" / "far.png")
    (root / "crack" / "more").symlink_to(tmp_path / "elsewhere")
    index = read(root)
    assert index.counts() == {"good": 3, "crack": 4}
    assert reasons(index) == {"up": LOOP, "loop": LOOP}


@pytest.mark.parametrize("name", ["x.gif", "x.pgm", "x.jp2", "x.HEIC", "noending", "x.png.bak"])
def test_every_image_that_is_not_taken_is_counted_with_the_reason(
    name: str, tmp_path: Path
) -> None:
    root = parts(tmp_path / "set")
    content = photo(tmp_path / "some.png").read_bytes()
    (root / "crack" / name).write_bytes(content)
    (root / "crack" / "notes.txt").write_text("no image")
    index = read(root)
    assert list(reasons(index)) == [name] and "an image " in reasons(index)[name]


@pytest.mark.parametrize("name", ["x.jfif", "x.jpe", "x.JPG", "x.dib"])
def test_other_endings_of_what_is_read_are_taken(name: str, tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    kind = "x.bmp" if name == "x.dib" else "x.jpg"
    photo(tmp_path / kind).rename(root / "crack" / name)
    assert read(root).counts() == {"good": 3, "crack": 4}


def test_the_files_of_a_mac_are_one_line(tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    for i in range(40):
        (root / "good" / f"._g{i}.png").write_bytes(b"\0\5\x16\7")
    index = read(root)
    assert len(index.skipped) == 40
    (line,) = grouped(index.skipped)
    assert line.startswith("40 files, the first: ") and line.endswith(MAC)


def test_a_long_list_of_warnings_ends_and_the_log_holds_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter(quiet=False)
    reporter.warn_of([f"file {i} is bad" for i in range(500)], all_in="log.txt", head="left out:")
    reporter.write_to(tmp_path / "log.txt")
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == LINES_SHOWN + 2 and "and 490 more, all in log.txt" in shown[-1]
    assert "file 499 is bad" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("name", ["masks", "Masks", "mask", "labels", "annotations", "gt"])
def test_a_folder_of_masks_is_no_class(name: str, tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    for i in range(3):
        mask(root / name / f"c{i}.png")
    index = read(root)
    assert index.classes == ("good", "crack")
    assert sum(s.mask is not None for s in index.samples) == 3


def test_a_class_called_label_whose_images_are_photographs_is_one_and_said(tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    photo(root / "label" / "torn.png")
    index = read(root)
    assert index.classes == ("good", "crack", "label")
    assert any("is taken for a class" in note for note in index.notes)


def test_names_that_are_no_text_or_as_long_as_can_be_are_taken(tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    for name in (b"\xff\xfe.png", b"x" * 238 + b".png", "r\u0308.png".encode()):
        photo(tmp_path / "a.png").rename(os.fsdecode(os.fsencode(root / "crack") + b"/" + name))
    assert read(root).counts() == {"good": 3, "crack": 6}
    result = CliRunner().invoke(
        app, ["train", "--data", str(root), "--dry-run", "--json", "--config", "quick"]
    )
    assert result.exit_code == 0 and json.loads(result.stdout)["classes"]["crack"] == 6


TABLE = "Image Path;Class;Split\nimgs\\a0.png;ok;train\nimgs/a1.png;tin;train\n"
TABLE += "imgs/a2.png;tin;valid\nimgs/ko\u0308.png;tin;\n"


def images(root: Path) -> Path:
    for name in ("a0", "a1", "a2", "k\u00f6"):
        photo(root / "imgs" / f"{name}.png")
    return root


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_foreign_table_is_read_whatever_its_columns_and_letters(
    encoding: str, tmp_path: Path
) -> None:
    text = TABLE.replace("o\u0308", "\u00f6") if encoding == "cp1252" else TABLE
    write(images(tmp_path / "set") / "parts.csv", text, encoding=encoding)
    index = read(tmp_path / "set")
    assert index.counts() == {"ok": 1, "tin": 2} and index.split_counts() == {"train": 3, "val": 1}
    assert any("read as Windows-1252" in n for n in index.notes) == (encoding == "cp1252")


def test_class_folders_say_more_than_a_table_of_another_name(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for split in ("train", "test"):
        parts(root / split)
    rows = [f"train/{name}/{name[0]}{i}.png,{name}" for name in ("good", "crack") for i in (0, 1)]
    write(root / "manifest.csv", "\n".join(["file,class", *rows]))
    index = read(root)
    assert index.layout == "folders"
    assert index.split_counts() == {"train": 6, "test": 6}


def test_class_folders_go_before_annotations_of_some_of_their_images_and_that_is_said(
    tmp_path: Path,
) -> None:
    root = parts(tmp_path / "set")
    tree = {"shapes": [], "imagePath": "c0.png", "imageWidth": 40, "imageHeight": 24}
    write(root / "crack" / "c0.json", tree)
    index = read(root)
    assert index.counts() == {"good": 3, "crack": 3}
    (note,) = index.notes
    assert "by the layout labelme is not read unless that is named" in note
    assert read(root.rename(tmp_path / "again"), layout="folders").layout == "folders"


def test_good_images_in_a_folder_beside_annotated_ones_are_the_normal_class(
    tmp_path: Path,
) -> None:
    for i in range(3):
        photo(tmp_path / "JPEGImages" / f"{i}.jpg")
        write(tmp_path / "Annotations" / f"{i}.xml", xml(f"{i}.jpg", "spur"))
        photo(tmp_path / "normal" / f"g{i}.jpg")
    index = read(tmp_path)
    assert index.layout == "voc" and index.counts() == {"normal": 3, "spur": 3}


def test_sets_of_several_objects_are_named_and_not_taken_for_classes(tmp_path: Path) -> None:
    for name in ("bottle", "cable"):
        loco(tmp_path / "all" / name)
    with pytest.raises(DataError, match=r"bottle and .*cable would do: name one") as caught:
        read(tmp_path / "all")
    assert caught.value.mend is None


def test_odd_rows_of_a_table_are_left_out_by_their_number(tmp_path: Path) -> None:
    text = "# of the line\n\nfile,labels\nimgs/a0.png,good\nimgs/a1.png,tin,and,more\n# late\n"
    text += ",tin\nimgs/a2.png,tin\nimgs/a2.png,dent\n"
    write(images(tmp_path / "set") / "labels.csv", text)
    index = read(tmp_path / "set")
    assert index.counts() == {"good": 1, "dent": 1, "tin": 1} and index.multi_label
    told = [reason for _, reason in index.skipped]
    assert "row 2 of" in told[0] and "has 4 cells, the head has 2" in told[0]
    assert "row 3 of" in told[1] and "names no file" in told[1]


def test_labels_none_of_which_is_of_good_images_ask_for_its_name(tmp_path: Path) -> None:
    write(images(tmp_path / "set") / "labels.csv", "image,label\na0.png,0\na1.png,1\n")
    with pytest.raises(DataError, match="found the labels 0, 1") as caught:
        read(tmp_path / "set")
    assert caught.value.mend == ("normal_class", "NAME")
    assert read(tmp_path / "set", normal_class="0").counts() == {"0": 1, "1": 1}


def test_the_normal_class_is_never_asked_for_where_the_folders_are_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("a", "b"):
            photo(tmp_path / "set" / split / name / "1.png")
    with pytest.raises(DataError, match="look like splits with the folders a, b") as caught:
        read(tmp_path / "set")
    assert caught.value.mend is None
    assert read(tmp_path / "set", normal_class="a").counts() == {"a": 1, "b": 1}


def test_a_class_that_differs_from_all_others_is_said(tmp_path: Path) -> None:
    root = parts(tmp_path / "set")
    assert not read(root).notes
    photo(root / "dent" / "1.png", size=(64, 64))
    (note,) = read(root).notes
    assert note.startswith("all images of dent (64 x 64) differ from the other classes in size")


def test_good_windows_come_from_beside_the_boxes_where_that_is_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "set"
    names = [f"{i}.png" for i in range(4)]
    for name in names:
        photo(root / name, size=(160, 96))
    tree = coco(names, names, width=160, height=96)
    write(root / "annotations.json", tree)
    with pytest.raises(DataError, match="no images in class normal") as caught:
        read(root)
    assert caught.value.mend == ("normal_from_background", "")
    with pytest.raises(SettingError, match="fit crop alone"):
        read(root, normal_from_background=True)
    config = DataConfig(normal_from_background=True, fit="crop", image_size=(32, 32))
    index = index_data(root, config)
    assert index.counts()["scratch"] == 4 and index.counts()["normal"] >= 4
    left, top, width, height = box()
    for sample in index.members[0]:
        assert sample.cut is not None and sample.header is not None
        x, y, w, h = sample.cut.window
        assert (w, h) == (32, 32)
        assert x >= left + width or y >= top + height or x + w <= left or y + h <= top
    halves = index_data(root, config.model_copy(update={"holdout": 0.5}))
    kept = {(s.cut.file if s.cut else s.file) for s in halves.held_out}
    assert kept and not kept & {(s.cut.file if s.cut else s.file) for s in halves.samples}


def test_a_bad_annotation_is_left_out_by_its_id(tmp_path: Path) -> None:
    root, names = tmp_path / "set", [f"{i}.png" for i in range(4)]
    for name in names:
        photo(root / name)
    tree = coco(names, names[:3])
    tree["annotations"][0] |= {"bbox": [1, 2, "x", 4], "segmentation": []}
    tree["annotations"].append({"id": 99, "image_id": 77, "category_id": 1, "bbox": box()})
    tree["annotations"].append({"id": 98, "image_id": 3, "category_id": 5, "bbox": box()})
    write(root / "annotations.json", tree)
    photo(root / "good.png")
    tree["images"].append({"id": 9, "file_name": "good.png"})
    write(root / "annotations.json", tree)
    index = read(root)
    notes = "\n".join(index.notes)
    for number in (7, 98, 99):
        assert f"annotation {number} of " in notes
    assert index.counts() == {"normal": 1, "scratch": 3}
    assert list(reasons(index)) == ["3.png"]
    assert "no image shows defects: left out of the classes" in notes


def test_one_job_at_a_time_is_at_work_in_a_folder(tmp_path: Path) -> None:
    with held(tmp_path / "set"):
        told = rf"another job .*\(process {os.getpid()}\): wait"
        with pytest.raises(DataError, match=told), held(tmp_path / "set"):
            raise AssertionError
        assert (tmp_path / "set").is_dir()
    assert not (tmp_path / "set").exists()
    with held(tmp_path / "set"):
        pass


def test_what_is_made_in_a_link_is_found_once(tmp_path: Path) -> None:
    photo(tmp_path / "a" / "1.png")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert len(find_images(tmp_path).images) == 1


def odd_names(boards: Path, root: Path) -> Path:
    root.mkdir()
    for source, name in zip(
        sorted((boards / "normal").iterdir()), (b"\xe9\xff.png", b"y" * 238 + b".png"), strict=False
    ):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(source.read_bytes())
    return root


def test_images_are_painted_on_and_inspected_whatever_they_are_called(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    root, out = odd_names(boards, tmp_path / "odd"), tmp_path / "set"
    words = ["--model", str(run), "--device", "cpu"]
    made = CliRunner().invoke(
        app, ["generate", "--normal", str(root), "--n", "4", "--out", str(out), *words]
    )
    assert made.exit_code == 0, made.output
    assert is_own(out) and len(list((out / "images").rglob("*.png"))) == 4
    for what in ([str(out)], [str(root), *words]):
        report = str(tmp_path / f"report-{len(what)}")
        seen = CliRunner().invoke(
            app, ["inspect-masks", *what, "--out", report, "--per-class", "1"]
        )
        assert seen.exit_code == 0, seen.output


def test_a_set_that_two_jobs_have_made_has_each_image_once_when_it_goes_on(
    run: Path, boards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    words = ["generate", "--normal", str(boards / "normal"), "--model", str(run), "--out", str(out)]
    assert CliRunner().invoke(app, [*words, "--n", "3"]).exit_code == 0
    manifest = out / "manifest.jsonl"
    rows = manifest.read_text().splitlines()
    torn = rows[1][:40] + rows[2][:60]
    manifest.write_text("\n".join([*rows[:2], torn, *rows[1:2], ""]))
    told = CliRunner().invoke(app, [*words, "--n", "4"])
    assert told.exit_code == 0 and "line 3 of" in told.stderr and "made again" in told.stderr
    numbers = [json.loads(row)["number"] for row in manifest.read_text().splitlines()]
    assert numbers == [0, 1, 2, 3]
    with held(out):
        waiting = CliRunner().invoke(app, [*words, "--n", "5"])
    assert waiting.exit_code == 3 and "another job is at work" in waiting.output
    assert len(manifest.read_text().splitlines()) == 4


def test_a_run_is_resumed_by_one_job_at_a_time(run: Path) -> None:
    words = ["train", "--resume", str(run), "--device", "cpu"]
    before = (run / "stats.jsonl").read_bytes()
    with held(run):
        waiting = CliRunner().invoke(app, words)
    assert waiting.exit_code == 3 and "another job is at work" in waiting.output
    assert (run / "stats.jsonl").read_bytes() == before
