import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectgan.data.index import index_data, read_split, split_content, write_split
from defectgan.data.samples import Sample
from defectgan.data.splits import group_by_name, keep_out, pieces
from defectgan.errors import DataError
from defectgan.files import sha256
from defectgan.settings.data import DataConfig


def test_the_same_seed_keeps_the_same_images_out(boards: Path, tmp_path: Path) -> None:
    config = DataConfig(val_fraction=0.3)
    index = index_data(boards, config, seed=3)
    assert index == index_data(boards, config, seed=3)
    assert index.held_out != index_data(boards, config, seed=4).held_out
    write_split(tmp_path / "split.json", index)
    assert read_split(tmp_path / "split.json") == index


def test_every_class_gives_its_share(boards: Path) -> None:
    index = index_data(boards, DataConfig(val_fraction=0.5))
    kept = Counter(s.labels for s in index.held_out)
    expected: dict[tuple[str, ...], int] = {(name,): 2 for name in index.classes[1:]}
    assert kept == {(): 3} | expected
    assert {s.split for s in index.held_out} == {"val"}


@given(
    kinds=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=40),
    fraction=st.floats(0.05, 0.9),
    seed=st.integers(0, 5),
)
def test_a_group_never_stands_on_both_sides_and_no_class_is_emptied(
    kinds: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    samples = [
        Sample(Path(f"{i}.png"), (f"c{k}",) if k else (), group=str(g))
        for i, (k, g) in enumerate(kinds)
    ]
    split = keep_out(samples, [], fraction=fraction, split="val", seed=seed)
    assert [s.file for s in split] == [s.file for s in samples]
    sides: dict[str | None, set[str]] = {}
    for sample in split:
        sides.setdefault(sample.group, set()).add(sample.split)
    assert all(len(s) == 1 for s in sides.values())
    assert {s.labels for s in split if s.split == "train"} == {s.labels for s in samples}


def test_twins_join_the_groups_they_stand_in() -> None:
    a, b, c = (
        Sample(Path(f"{n}.png"), (), group=g) for n, g in (("a", "1"), ("b", "2"), ("c", "2"))
    )
    assert pieces([a, b, c], []) == [[a], [b, c]]
    assert pieces([a, b, c], [[a, c]]) == [[a, b, c]]


def test_a_group_is_found_in_the_file_name() -> None:
    samples = [Sample(Path(f"x/exp{e}_num_7.png"), ()) for e in (1, 2)]
    assert [s.group for s in group_by_name(samples, r"num_(\d+)")] == ["7", "7"]
    assert [s.group for s in group_by_name(samples, r"exp\d")] == ["exp1", "exp2"]
    with pytest.raises(DataError, match=r"does not match x/exp1_num_7\.png"):
        group_by_name(samples, "tile")


def test_the_same_image_in_two_classes_is_reported_and_never_torn_apart(
    boards: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(boards, tmp_path / "data")
    first = sorted((root / "tin").iterdir())[0]
    shutil.copy(first, root / "thread" / first.name)
    index = index_data(root, DataConfig(val_fraction=0.5))
    assert index.notes[0].startswith("the same image in two classes: ")
    twins = [s for s in (*index.samples, *index.held_out) if s.file.name == first.name]
    twins = [s for s in twins if s.file.read_bytes() == first.read_bytes()]
    assert len(twins) == 2 and len({s.split for s in twins}) == 1


def test_a_training_image_that_is_also_a_test_image_is_left_out(
    boards: Path, tmp_path: Path
) -> None:
    shutil.copytree(boards, tmp_path / "train")
    leaked = sorted((boards / "tin").iterdir())[0]
    (tmp_path / "test" / "tin").mkdir(parents=True)
    shutil.copy(leaked, tmp_path / "test" / "tin" / "other.png")
    index = index_data(tmp_path, DataConfig())
    assert index.counts()["tin"] == 3
    assert index.skipped[0][0].name == leaked.name
    assert "kept for test" in index.skipped[0][1]


def test_a_validation_image_that_is_also_a_test_image_is_left_out(
    boards: Path, tmp_path: Path
) -> None:
    """Else the weights would be chosen by what they are tested on; by group as by content."""
    root = tmp_path / "pcb"
    for part in ("train", "val", "test"):
        shutil.copytree(boards, root / part)
    for part, shift in (("val", 1), ("test", 2)):
        for file in (root / part).rglob("*.png"):
            file.write_bytes(file.read_bytes() + bytes(shift))  # other content, the same image
    shutil.copy(root / "test/tin/0000.png", root / "val/tin/again.png")
    index = index_data(root, DataConfig())
    ((gone, reason),) = index.skipped
    assert gone == root / "val/tin/again.png"
    assert "0000.png" in reason and "kept for test" in reason


def test_the_content_of_all_that_a_run_learned_from_is_recorded(
    boards: Path, tmp_path: Path
) -> None:
    shutil.copytree(boards, tmp_path / "pcb")
    index = index_data(tmp_path / "pcb", DataConfig(val_fraction=0.5))
    split, changed = tmp_path / "split.json", index.samples[0].file
    write_split(split, index)
    before = split_content(split)
    assert sum(map(len, before.values())) == len(index.samples) + len(index.held_out)
    changed.write_bytes(changed.read_bytes() + b"0")
    write_split(split, index)  # as a resumed run does
    after = split_content(split)
    assert after["val"] == before["val"] and after["train"] - before["train"] == {sha256(changed)}
    assert before["train"] < after["train"]
