"""The real images of an evaluation, and models that have seen what they may not."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from defectgan.data.index import index_data
from defectgan.data.samples import TEST, TRAIN, VAL
from defectgan.errors import DataError, ModelError
from defectgan.evaluation.leak import refuse_leaks
from defectgan.evaluation.real import RealSplit, SplitPlan, as_table, split_real
from defectgan.settings.data import DataConfig
from defectgan.training.job import Job, new_job
from tests.conftest import run_job, tiny_with

QUARTERS = SplitPlan(holdout=0.25, val_fraction=0.34)


def names(index_part: RealSplit, split: str) -> set[str]:
    return {f"{s.file.parent.name}/{s.file.name}" for s in index_part.part(split).samples}


@pytest.fixture
def parted(boards: Path, tmp_path: Path) -> Path:
    """The boards with folders train and test: a half of each class."""
    root = tmp_path / "parted"
    for source in sorted(boards.rglob("*.png")):
        if source.parent.parent.name != "masks":
            split = "train" if int(source.stem) % 2 == 0 else "test"
            target = root / split / source.parent.name / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return root


def test_each_image_stands_in_one_split_and_each_class_in_all(boards: Path) -> None:
    real = split_real(boards, DataConfig(), QUARTERS)
    parts = [names(real, split) for split in (TRAIN, VAL, TEST)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 6 + 4 * 4
    assert real.counts()[TEST] == {"normal": 2, "brushing": 1, "thread": 1, "tin": 1, "wound": 1}
    assert all(min(counts.values()) >= 1 for counts in real.counts().values())


def test_the_splits_are_those_that_a_training_with_the_same_shares_makes(boards: Path) -> None:
    real = split_real(boards, DataConfig(), QUARTERS)
    index = index_data(boards, DataConfig(holdout=0.25, val_fraction=0.34))
    assert index.samples == real.index.samples and index.held_out == real.index.held_out


def test_a_split_that_the_data_names_is_kept(parted: Path) -> None:
    real = split_real(parted, DataConfig(), SplitPlan(val_fraction=0.5))
    assert all(s.file.is_relative_to(parted / "test") for s in real.part(TEST).samples)
    assert all(
        s.file.is_relative_to(parted / "train")
        for split in (TRAIN, VAL)
        for s in real.part(split).samples
    )


def test_validation_images_can_leave_the_test_images_instead(parted: Path) -> None:
    real = split_real(parted, DataConfig(), SplitPlan(val_fraction=0.5, val_from="test"))
    assert len(real.part(TRAIN).samples) == len(list((parted / "train").rglob("*.png")))
    for split in (VAL, TEST):
        assert all(s.file.is_relative_to(parted / "test") for s in real.part(split).samples)
        assert min(real.counts()[split].values()) >= 1


def test_fewer_shots_are_among_more_and_good_images_all_stay(boards: Path) -> None:
    plan = SplitPlan(holdout=0.25, val_fraction=0.25)
    one, two, every = (
        split_real(boards, DataConfig(), replace(plan, shots=shots)) for shots in (1, 2, None)
    )
    assert names(one, TRAIN) < names(two, TRAIN) <= names(every, TRAIN)
    assert one.counts()[TRAIN] | {"normal": 0} == {
        "normal": 0,
        "brushing": 1,
        "thread": 1,
        "tin": 1,
        "wound": 1,
    }
    assert one.counts()[TRAIN]["normal"] == every.counts()[TRAIN]["normal"]
    assert names(one, TEST) == names(every, TEST)
    assert {s.file for s in one.left_out} == {s.file for s in every.index.samples} - {
        s.file for s in one.index.samples
    }
    few = split_real(boards, DataConfig(), replace(plan, normals=2))
    assert few.counts()[TRAIN]["normal"] == 2


def test_a_class_without_images_in_a_split_is_named(parted: Path) -> None:
    shutil.rmtree(parted / "train" / "tin")
    (parted / "train" / "tin").mkdir()
    shutil.copy(next((parted / "test" / "tin").iterdir()), parted / "train" / "tin" / "one.png")
    for file in (parted / "test" / "tin").iterdir():
        shutil.copy(file, parted / "train" / "tin" / f"twin-{file.name}")
    with pytest.raises(DataError, match="tin"):
        split_real(parted, DataConfig(), SplitPlan())


def test_images_with_several_defects_are_not_used(boards: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    text = as_table(index_data(boards, DataConfig()))
    first = sorted((boards / "tin").iterdir())[0]
    table.write_text(text.replace(f"{first},tin,", f"{first},tin|wound,"))
    real = split_real(table, DataConfig(), SplitPlan(holdout=0.5, val_fraction=0.5))
    assert sum(len(real.part(s).samples) for s in (TRAIN, VAL, TEST)) == 6 + 4 * 4 - 1
    assert any("several classes" in note for note in real.notes)


def test_a_training_on_the_table_learns_from_exactly_the_training_images(
    boards: Path, tmp_path: Path
) -> None:
    real = split_real(boards, DataConfig(), replace(QUARTERS, shots=1))
    (tmp_path / "labels.csv").write_text(as_table(real.index))
    job = new_job([tmp_path / "labels.csv"], "quick", {})
    assert {s.file for s in job.index.samples} == {s.file for s in real.index.samples}
    assert {(s.file, s.split) for s in job.index.held_out} == {
        (s.file, s.split) for s in real.index.held_out
    }
    assert {s.mask for s in job.index.samples} == {s.mask for s in real.index.samples}


def test_a_class_whose_name_a_table_would_read_as_two_is_refused(
    boards: Path, tmp_path: Path
) -> None:
    shutil.copytree(boards, tmp_path / "pcb")
    (tmp_path / "pcb" / "tin").rename(tmp_path / "pcb" / "tin|foil")
    index = index_data(tmp_path / "pcb", DataConfig())
    with pytest.raises(DataError, match=r"class tin\|foil .* call it otherwise"):
        as_table(index)


# --- leaks


def trained_on(real: RealSplit, folder: Path, **training: Any) -> Path:
    config = tiny_with(training={"steps": 1, **training}, method={"warmup_steps": 0})
    return run_job(Job(config, real.index), folder).run


@pytest.fixture(scope="module")
def real(boards: Path) -> RealSplit:
    return split_real(boards, DataConfig(), QUARTERS)


@pytest.fixture(scope="module")
def clean(real: RealSplit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has seen the training images alone."""
    return trained_on(real, tmp_path_factory.mktemp("clean"))


def test_a_model_that_saw_test_images_is_refused(real: RealSplit, run: Path) -> None:
    """It was trained on all boards."""
    with pytest.raises(ModelError, match="6 of the test images, 5 of the validation images"):
        refuse_leaks(run, real)
    with pytest.raises(ModelError, match="has seen"):
        refuse_leaks(run, real, trust=True)  # trust is for what cannot be known


def test_a_model_that_saw_the_training_images_alone_passes(real: RealSplit, clean: Path) -> None:
    seen = len(real.index.samples)
    for model in (clean, clean / "weights" / "last.safetensors"):
        (note,) = refuse_leaks(model, real)
        assert f"{seen} images, {seen} of them" in note


def test_what_fewer_shots_leave_out_may_not_be_seen_either(boards: Path, clean: Path) -> None:
    with pytest.raises(ModelError, match="of the left-out images"):
        refuse_leaks(clean, split_real(boards, DataConfig(), replace(QUARTERS, shots=1)))


def test_a_copy_of_what_is_learned_from_may_be_left_out(boards: Path, tmp_path: Path) -> None:
    shutil.copytree(boards, tmp_path / "pcb")
    for file in sorted((tmp_path / "pcb" / "tin").iterdir()):
        for n in range(6):
            shutil.copy(file, file.with_name(f"{file.stem}-copy{n}.png"))
    real = split_real(tmp_path / "pcb", DataConfig(), replace(QUARTERS, shots=3))
    content = [
        {s.file.read_bytes() for s in part if s.labels == ("tin",)}
        for part in (real.index.samples, real.left_out)
    ]
    assert content[0] & content[1]
    (note,) = refuse_leaks(trained_on(real, tmp_path), real)
    assert "to learn from here" in note


def test_images_are_recognised_under_another_name(boards: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(boards, tmp_path / "copy")
    for file in sorted((tmp_path / "copy").rglob("*.png")):
        file.rename(file.with_stem(f"copy-{file.stem}"))
    with pytest.raises(ModelError, match="of the test images"):
        refuse_leaks(run, split_real(tmp_path / "copy", DataConfig(), QUARTERS))


def test_it_is_what_was_learned_from_that_counts_not_what_the_files_hold_now(
    boards: Path, tmp_path: Path
) -> None:
    """A test and a training image change places after the training, as when an export is numbered
    anew.
    """
    shutil.copytree(boards, tmp_path / "pcb")
    before = split_real(tmp_path / "pcb", DataConfig(), QUARTERS)
    run = trained_on(before, tmp_path / "run")
    learned = next(s.file for s in before.part("train").samples if s.labels == ("tin",))
    tested = next(s.file for s in before.part("test").samples if s.labels == ("tin",))
    one, other = learned.read_bytes(), tested.read_bytes()
    learned.write_bytes(other)
    tested.write_bytes(one)
    with pytest.raises(ModelError, match="1 of the test images"):
        refuse_leaks(run, split_real(tmp_path / "pcb", DataConfig(), QUARTERS))


def test_a_class_with_fewer_images_than_shots_is_said(boards: Path) -> None:
    notes = split_real(boards, DataConfig(), replace(QUARTERS, shots=100)).notes
    assert any(note.startswith("tin has ") and "not 100" in note for note in notes)


def test_a_name_that_is_no_text_is_refused_as_it_cannot_stand_in_a_table(
    boards: Path, tmp_path: Path
) -> None:
    shutil.copytree(boards, tmp_path / "pcb")
    file = tmp_path / "pcb/tin/0000.png"
    file.rename(file.with_name(os.fsdecode(b"gro\xdf.png")))
    with pytest.raises(DataError, match="is not UTF-8"):
        as_table(index_data(tmp_path / "pcb", DataConfig()))


def test_what_the_run_before_has_seen_counts(real: RealSplit, run: Path, tmp_path: Path) -> None:
    begun = trained_on(real, tmp_path, init_from=str(run))
    with pytest.raises(ModelError, match="of the test images"):
        refuse_leaks(begun, real)


def test_weights_without_a_run_need_somebodys_word(
    real: RealSplit, run: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.safetensors"
    shutil.copy(run / "weights" / "last.safetensors", alone)
    with pytest.raises(ModelError, match="nobody can tell"):
        refuse_leaks(alone, real)
    (note,) = refuse_leaks(alone, real, trust=True)
    assert "trusted" in note
    begun = trained_on(real, tmp_path / "begun", init_from=str(alone))
    with pytest.raises(ModelError, match=r"the run of .*alone\.safetensors is not there"):
        refuse_leaks(begun, real)
    known, word = refuse_leaks(begun, real, trust=True)
    assert "11 images" in known and "trusted" in word


def test_trust_does_not_cover_what_is_known(
    boards: Path, real: RealSplit, run: Path, tmp_path: Path
) -> None:
    """It began with unknown weights, and has seen all boards itself."""
    alone = tmp_path / "alone.safetensors"
    shutil.copy(run / "weights" / "last.safetensors", alone)
    every = RealSplit(index_data(boards, DataConfig()))
    begun = trained_on(every, tmp_path, init_from=str(alone))
    with pytest.raises(ModelError, match="of the test images"):
        refuse_leaks(begun, real, trust=True)
