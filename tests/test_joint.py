"""Several data sets with different classes, learned from jointly through the mask vector."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import yaml
from defectgan_cli.main import app
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from typer.testing import CliRunner

from defectgan import losses
from defectgan.batch import Batch
from defectgan.data import joint
from defectgan.data.dataset import Batches
from defectgan.data.index import Index, index_data, read_split, write_split
from defectgan.data.joint import index_sets
from defectgan.devices import seeded
from defectgan.errors import DataError, ModelError, SettingError
from defectgan.export import available_formats, export
from defectgan.generation.plan import find_sources
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import run_job as generate
from defectgan.manifest import read_manifest
from defectgan.methods.base import CRITIC, Task
from defectgan.methods.config import parse_config
from defectgan.methods.draws import Draws
from defectgan.methods.stargan import StarGAN
from defectgan.model.file import load_model, load_tensors, read_info
from defectgan.model.painter import Painter
from defectgan.networks.control import MaskVector, asked, constant_map, one_hot
from defectgan.networks.stargan import StarCritic, StarGenerator
from defectgan.runs import RunFolder
from defectgan.settings.data import DataConfig
from defectgan.training.batches import make_batches
from defectgan.training.job import Job, new_job, resumed_job
from defectgan.training.warmup import chance_loss
from tests.conftest import CPU, TINY, Silent, StopAfter, go_on, run_job, spoil

# Of the first set: normal, dot, line; of the second: good images again, hole, and dots, too.
DARK, BRIGHT = 40, 200
SETS = ((0, 1, 2), (0, 1, 3))
TASK = Task(1, 4, (16, 16), sets=SETS)
NAMES = ("normal", "dot", "line", "hole")
SMALL = {"name": "stargan", "width": 4, "residual_blocks": 1, "critic_width": 4, "critic_layers": 3}


def write(folder: Path, tone: int, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = np.clip(tone + rng.integers(-20, 20, (32, 32)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def sets(folder: Path) -> list[Path]:
    """One set of dark images, one of bright ones, by which they are known again."""
    a, b = folder / "a", folder / "b"
    for k, (name, count) in enumerate((("normal", 5), ("dot", 3), ("line", 4))):
        write(a / name, DARK, count, k)
    for k, (name, count) in enumerate((("good", 3), ("hole", 4), ("dot", 2))):
        write(b / name, BRIGHT, count, 10 + k)
    return [a, b]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sets(tmp_path_factory.mktemp("sets"))


def tree(**method: Any) -> dict[str, Any]:
    training = TINY["training"] | {"batch_size": 12}
    return TINY | {"method": SMALL | {"n_critic": 1} | method, "training": training}


def batches_of(index: Index) -> Batches:
    return make_batches(parse_config(tree(), origin="tests"), index)


# --- the index


def test_what_is_good_is_one_class_and_each_set_tells_of_its_own_defects(roots: list[Path]) -> None:
    index = index_sets(roots, DataConfig())
    assert index.classes == ("normal", "dot", "line", "hole")
    assert index.counts() == {"normal": 8, "dot": 5, "line": 4, "hole": 4}
    assert index.known == SETS
    assert index.root == roots[0].parent and index.layout == "folders"
    assert any("dot is in" in note and "one class" in note for note in index.notes)
    assert index.beside(0, 2) == [0, 1, 2, 3, 4] and index.beside(0, 3) == [5, 6, 7]
    assert index.beside(0, 1) == [*range(8)]


def test_one_set_is_read_as_ever(roots: list[Path]) -> None:
    index = index_sets(roots[:1], DataConfig())
    assert not index.sets and not index.known and index.classes == ("normal", "dot", "line")


def test_classes_are_chosen_over_all_sets_in_the_order_asked_for(roots: list[Path]) -> None:
    index = index_sets(roots, DataConfig(classes=("hole", "line")))
    assert index.classes == ("normal", "hole", "line") and index.known == ((0, 2), (0, 1))
    with pytest.raises(DataError, match=r"no class hook in .*: found dot, line, hole"):
        index_sets(roots, DataConfig(classes=("hook", "line")))
    with pytest.raises(DataError, match="b has none of the classes line"):
        index_sets(roots, DataConfig(classes=("line",)))


def test_a_set_named_twice_and_one_that_contradicts_another_are_refused(
    roots: list[Path],
) -> None:
    with pytest.raises(DataError, match="twice"):
        index_sets([roots[0], roots[0]], DataConfig())
    one, other = (index_data(root, DataConfig()) for root in roots)
    with pytest.raises(DataError, match=r"line are the good images of .*b"):
        joint._joined([one, replace(other, classes=("line", "hole", "dot"))], None)


def test_the_record_of_a_split_tells_the_sets_also_where_they_have_moved(tmp_path: Path) -> None:
    old = sets(tmp_path)
    index = index_sets(old, DataConfig(val_fraction=0.4))
    write_split(tmp_path / "split.json", index)
    again = read_split(tmp_path / "split.json")
    assert [(s.file, s.labels, s.dataset, s.split) for s in again.all_samples] == [
        (s.file, s.labels, s.dataset, s.split) for s in index.all_samples
    ]
    assert (again.sets, again.known, again.ranges) == (index.sets, index.known, index.ranges)
    new = [tmp_path / "elsewhere" / "x", tmp_path / "y"]
    new[0].parent.mkdir()
    for before, after in zip(old, new, strict=True):
        before.rename(after)
    moved = read_split(tmp_path / "split.json", roots=new)
    assert moved.counts() == index.counts()
    assert {s.file.is_relative_to(new[s.dataset]) for s in moved.all_samples} == {True}
    with pytest.raises(DataError, match=r"2 data sets, 1 is named: .*in this order"):
        read_split(tmp_path / "split.json", roots=new[:1])


# --- batches


def test_both_images_of_a_row_are_of_one_set_whose_classes_are_known(roots: list[Path]) -> None:
    batches = batches_of(index_sets(roots, DataConfig()))
    seen = set()
    for step in range(6):
        batch = batches(step, 0)
        bright = [images.mean((1, 2, 3)) > 0 for images in (batch.normal, batch.defect)]
        assert torch.equal(*bright)
        for row, is_bright, known in zip(batch.label, bright[0], batch.known, strict=True):
            number = int(is_bright)
            assert known.nonzero().flatten().tolist() == list(SETS[number])
            seen.add((number, int(row.argmax())))
        told = batch.told
        assert told is not None and torch.equal(told, batch.known.repeat(2, 1))
    assert seen == {(0, 1), (0, 2), (1, 1), (1, 3)}


def test_a_damaged_image_gives_way_to_one_of_its_own_set(tmp_path: Path) -> None:
    roots = sets(tmp_path)
    for file in ("3.png", "4.png"):  # the last good ones of the first set
        spoil(roots[0] / "normal" / file)
    batches = batches_of(index_sets(roots, DataConfig()))
    for step in range(8):
        batch = batches(step, 0)
        bright = [images.mean((1, 2, 3)) > 0 for images in (batch.normal, batch.defect)]
        assert torch.equal(*bright)
    assert batches.images.damaged


def test_a_part_of_a_batch_keeps_what_its_labels_tell_of(roots: list[Path]) -> None:
    batch = batches_of(index_sets(roots, DataConfig()))(0, 0)
    assert torch.equal(batch.first(2).known, batch.known[:2])


def test_chance_knows_the_set_of_an_image(roots: list[Path]) -> None:
    """Two defects in each set, three in all."""
    assert chance_loss(index_sets(roots, DataConfig())) == pytest.approx(1.5 * np.log(2))


# --- losses


def test_classes_that_a_label_does_not_tell_of_get_no_gradient_at_all() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    label, known = one_hot([0, 1, 2, 0], 4), torch.tensor([[1.0, 1, 1, 0]]).expand(4, -1)
    for multi_label in (False, True):
        loss = losses.classification(logits, label, multi_label=multi_label, known=known)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.equal(gradient[:, 3], torch.zeros(4)) and gradient[:, :3].all()
        alone = losses.classification(logits[:, :3], label[:, :3], multi_label=multi_label)
        assert_close(loss, alone)


def test_all_classes_known_is_the_loss_of_one_set() -> None:
    logits, label = torch.randn(3, 4), one_hot([0, 3, 2], 4)
    known = torch.ones(3, 4)
    for kind in (False, True):
        assert_close(
            losses.classification(logits, label, multi_label=kind, known=known),
            losses.classification(logits, label, multi_label=kind),
        )


# --- the mask vector and StarGAN


def test_the_mask_vector_names_the_set_that_an_image_is_of() -> None:
    """By the classes that its labels tell of: a good image's is as one-hot as a defect's."""
    told = torch.stack([one_hot(list(known), 4).amax(0) for known in SETS])
    assert MaskVector(4, SETS).of(told).tolist() == [[1, 0], [0, 1]]


def test_the_sets_of_what_is_asked_for_are_those_whose_labels_tell_of_all_of_it() -> None:
    vector = MaskVector(4, SETS)
    # Normal and dot are told of by both, line by the first, hole by the second.
    told = vector.telling(constant_map(torch.eye(4)))
    assert told.tolist() == [[1, 1], [1, 1], [1, 0], [0, 1]]
    here_and_there = torch.zeros(2, 4, 2, 2)
    here_and_there[:, 0, 0] = here_and_there[:, 2, 1, 0] = 1
    here_and_there[0, 0, 1, 1] = here_and_there[1, 3, 1, 1] = 1
    assert vector.telling(here_and_there).tolist() == [[1, 0], [0, 0]]


def test_what_is_asked_for_anywhere_is_what_a_map_asks_for() -> None:
    control = torch.zeros(2, 3, 4, 4)
    control[:, 0] = 1
    control[0, :, 1, 1] = torch.tensor([0.0, 0, 1])
    assert asked(control).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert torch.equal(asked(constant_map(torch.eye(3))), torch.eye(3))


def method_and_networks(task: Task = TASK) -> tuple[StarGAN, dict[str, Any]]:
    tiny = {"data": {"image_size": 16}, "method": SMALL}
    method = StarGAN(parse_config(tiny, origin="tests").method, task)
    with seeded(0):
        return method, method.networks()


def of_first_set() -> Batch:
    normal, defect = torch.rand(2, 2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    known = one_hot([0, 1, 2], 4).amax(0).expand(2, -1)
    return Batch(normal, defect, one_hot([1, 2], 4), known=known)


def test_stargan_is_told_the_mask_vector_beside_the_label() -> None:
    _, networks = method_and_networks()
    generator, image = cast(StarGenerator, networks["generator"]), torch.rand(1, 1, 16, 16)
    planes = [image, *(torch.full_like(image, v) for v in (0.0, 1, 0, 0, 0, 1))]
    assert_close(
        generator(image, constant_map(one_hot([3], 4)), torch.tensor([[0.0, 1]])),
        torch.tanh(generator.body(torch.cat(planes, 1))),
    )


class Heard(nn.Module):
    """A generator that keeps the mask vectors that it is told."""

    def __init__(self, generator: StarGenerator) -> None:
        super().__init__()
        self.body, self.vector = generator, generator.vector
        self.vectors: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor, *told: torch.Tensor) -> torch.Tensor:
        self.vectors.append(told[1])
        return cast(torch.Tensor, self.body(image, *told))


def test_in_training_the_mask_vector_is_that_of_the_own_set_also_of_what_is_to_be_good() -> None:
    """There and back, and for the critic: else images of one set become those of another as soon
    as they are restored.
    """
    method, networks = method_and_networks()
    heard = Heard(cast(StarGenerator, networks["generator"]))
    networks["generator"], draws = heard, Draws(torch.Generator().manual_seed(1), 0)
    critic, generator = method.players()
    assert critic.ahead is not None
    generator.loss(networks, of_first_set(), draws, None)
    critic.ahead(networks, [of_first_set(), of_first_set()], draws)
    assert [vector.tolist() for vector in heard.vectors] == [n * [[1, 0]] for n in (4, 4, 8)]


def test_an_image_of_unknown_set_is_painted_in_the_manner_that_changes_it_least() -> None:
    """Among the sets that have what is asked for; each image of a batch for itself."""
    _, networks = method_and_networks()
    generator = cast(StarGenerator, networks["generator"])
    nearer = [torch.full((1, 16, 16), tone) for tone in (-0.9, 0.8)]

    def toned(planes: torch.Tensor) -> torch.Tensor:
        """Dark in the manner of the first set, bright in that of the second."""
        return (planes[:, 2:3] - planes[:, 1:2]) * 5

    generator.body.forward = toned  # type: ignore[method-assign]
    images = torch.stack([*nearer, *nearer])
    control = constant_map(one_hot([0, 0, 3, 2], 4))
    assert generator.nearest(images, control).mean((1, 2, 3)).sign().tolist() == [-1, 1, 1, -1]


def test_data_sets_with_the_same_classes_are_one_to_the_mask_vector() -> None:
    _, networks = method_and_networks(TASK._replace(sets=((0, 1, 2), (0, 2, 1), (0, 3))))
    assert networks["generator"].mask_vector.known.tolist() == [[1, 1, 1, 0], [1, 0, 0, 1]]


def test_one_data_set_has_no_mask_vector() -> None:
    _, networks = method_and_networks(TASK._replace(sets=()))
    assert networks["generator"].mask_vector is None
    assert networks["generator"].body[0].weight.shape[1] == 1 + 4


@pytest.mark.parametrize("player", ["critic", "generator"])
def test_classes_of_another_set_give_no_gradient(player: str) -> None:
    """Exactly none in the critic's kernel of that class; nor has it any say in a generator step."""
    method, networks = method_and_networks()
    batch, critic = of_first_set(), cast(StarCritic, networks[CRITIC])
    (one,) = (p for p in method.players() if p.name == player)
    fake = torch.rand_like(batch.images)

    def terms() -> dict[str, torch.Tensor]:
        return one.loss(networks, batch, Draws(torch.Generator().manual_seed(1), 0), fake)[1]

    name = "cls_r" if player == "critic" else "cls_f"
    before = terms()[name]
    (gradient,) = torch.autograd.grad(before, critic.logits.weight)
    assert not gradient[3].any() and all(gradient[k].any() for k in range(3))
    with torch.no_grad():
        critic.logits.weight[3] += 100
    assert torch.equal(terms()[name], before)


def test_how_sure_the_critic_is_of_a_class_is_among_those_of_its_sets() -> None:
    method, networks = method_and_networks()
    painter, images = Painter(method, networks), torch.rand(4, 1, 16, 16)
    logits = painter.classify(images)
    sure = painter.opinion(images, [0, 1, 2, 3]).confidence
    assert_close(sure[2], F.softmax(logits[2, [0, 1, 2]], 0)[2])
    assert_close(sure[3], F.softmax(logits[3, [0, 1, 3]], 0)[2])
    assert_close(sure[:2], F.softmax(logits[:2], 1)[[0, 1], [0, 1]])
    with torch.no_grad():
        networks[CRITIC].logits.weight[3] += 1000
    assert torch.equal(painter.names(images, 2), logits[:, :3].argmax(1) == 2)


# --- a training


@pytest.fixture(scope="module")
def trained(roots: list[Path], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    job = Job(parse_config(tree(), origin="tests"), index_sets(roots, DataConfig()))
    return RunFolder(run_job(job, tmp_path_factory.mktemp("joint")).run)


def test_a_joint_training_that_was_stopped_goes_on_bit_for_bit(
    trained: RunFolder, roots: list[Path], tmp_path: Path
) -> None:
    job = Job(parse_config(tree(), origin="tests"), index_sets(roots, DataConfig()))
    stopped = run_job(job, tmp_path, stop=StopAfter(3))
    assert stopped.interrupted
    go_on(stopped.run)
    ours, theirs = (
        load_tensors(run.state)[0] for r in (stopped.run,) for run in (RunFolder(r), trained)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_joint_run_is_gone_on_with_where_its_sets_have_moved(
    trained: RunFolder, roots: list[Path]
) -> None:
    index = resumed_job(trained.path, {}, data=roots).index
    assert index.known == SETS
    with pytest.raises(DataError, match="2 data sets, 1 is named"):
        resumed_job(trained.path, {}, data=roots[:1])


def test_a_model_knows_its_sets_and_paints_the_classes_of_each(
    trained: RunFolder, roots: list[Path], tmp_path: Path
) -> None:
    assert read_info(trained.weights).sets == (("normal", "dot", "line"), ("normal", "dot", "hole"))
    model = load_model(trained.path)
    sources = find_sources(str(roots[1] / "good"))
    job = GenerateJob(sources, ("hole",), 2, 0, binary_masks=False, candidates=2)
    generate(job, model, tmp_path / "set", device=CPU, batch_size=2)
    rows = read_manifest(tmp_path / "set")
    assert [row.defect for row in rows] == ["hole", "hole"]
    assert all(0 <= (row.class_confidence or -1) <= 1 for row in rows)
    files = export(model, tmp_path, available_formats())
    assert all(file.max_difference < 1e-4 for file in files)
    again = load_model(tmp_path / "generator.safetensors")
    image = torch.rand(1, 1, 32, 32)
    pictures = [m.painter.paint(image, [3], torch.empty(1, 0)).image for m in (model, again)]
    assert_close(*pictures)
    assert not torch.equal(pictures[0], model.painter.paint(image, [2], torch.empty(1, 0)).image)


def test_a_training_on_one_set_does_not_begin_with_weights_of_several(
    trained: RunFolder, roots: list[Path], tmp_path: Path
) -> None:
    """The mask vector is part of its form; the message says what does not fit."""
    config = parse_config(tree(), origin="tests")
    training = config.training.model_copy(update={"init_from": str(trained.path)})
    job = Job(config.model_copy(update={"training": training}), index_sets(roots[:1], DataConfig()))
    with pytest.raises(ModelError, match=r"generator|body\.0\.weight"):
        run_job(job, tmp_path)


@pytest.mark.parametrize("preset", ["quick", "paper", "table-full"])
def test_a_method_without_a_mask_vector_refuses_several_sets(
    preset: str, roots: list[Path]
) -> None:
    with pytest.raises(SettingError, match=r"learns from one data set, and 2 are named: .*stargan"):
        new_job(roots, preset, {"training": {"init_from": "none"}})


def test_the_command_takes_data_several_times(
    roots: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the size and with the preset of a real run, but two narrow steps of it."""
    monkeypatch.chdir(tmp_path)
    narrow = {"preset": "stargan", "method": SMALL, "training": {"batch_size": 4, "log_every": 1}}
    (tmp_path / "narrow.yaml").write_text(yaml.safe_dump(narrow))
    both = [word for root in roots for word in ("--data", str(root))]
    line = ["train", *both, "--config", "narrow.yaml", "--image-size", "64", "--steps", "2"]
    result = CliRunner().invoke(app, [*line, "--json"])
    assert result.exit_code == 0, result.output
    run = Path(json.loads(result.stdout)["run"])
    assert run.name.endswith("-a-b") and len(read_info(RunFolder(run).weights).sets) == 2
    refused = CliRunner().invoke(app, ["train", *both, "--config", "quick", "--dry-run"])
    assert refused.exit_code == 2 and "learns from one data set" in " ".join(refused.output.split())


def test_a_joint_training_is_judged_by_images_of_each_class_own_sets(
    roots: list[Path], tmp_path: Path
) -> None:
    job = Job(parse_config(tree(), origin="tests"), index_sets(roots, DataConfig()))
    watcher = Silent()
    run_job(job, tmp_path, watcher=watcher)
    assert {"cls_r", "cls_f", "confirmed"} <= watcher.lines[-1].keys()
    batches = batches_of(job.index)
    assert [float(batches.fixed(0, 3, beside=k).mean().sign()) for k in (2, 3)] == [-1, 1]
