"""Several processes take the step of one. They talk by gloo over this machine's loopback."""

import json
import math
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import yaml
from torch import distributed
from torch.testing import assert_close

from defectgan.batch import Batch
from defectgan.data.dataset import Batches
from defectgan.data.index import index_data
from defectgan.devices import seeded
from defectgan.errors import SettingError, TrainingError
from defectgan.files import read_json_lines
from defectgan.model.file import load_tensors
from defectgan.runs import RunFolder
from defectgan.training.batches import make_batches
from defectgan.training.distributed import ALONE, PATIENCE, World, _in_company, join_world
from defectgan.training.job import Job, shared_batch
from defectgan.training.loop import Training
from defectgan.training.step import Engine
from tests.conftest import ROOT, STUCK_AFTER, TINY, Silent, tiny_with, wait_for

STEPS = 10
SETTINGS = tiny_with(
    augment={"contrast": 0.3, "adaptive": True},
    method={"mask_supervision": 1.0, "n_critic": 2},
    training={"steps": 100, "batch_size": 8},
)
BY_THE_CLOCK = SETTINGS.training.model_copy(update={"save_every": None})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun sets."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }


def batches(boards: Path, rows: slice) -> Batches:
    return make_batches(SETTINGS, index_data(boards, SETTINGS.data), rows=rows, truths=True)


def train(boards: Path, world: World) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """A few steps; the terms of each, averaged over the processes, and the weights.

    In double precision: in single, rounding is no longer small after seven steps.
    """
    torch.set_default_dtype(torch.float64)
    mine = batches(boards, world.part(4))
    method = Job(SETTINGS, mine.images.index).method()
    engine = Engine(SETTINGS, method, device=torch.device("cpu"), bf16=False, world=world)
    with seeded(0), torch.no_grad():  # see the golden losses
        engine.state.networks["generator"].head.weight.normal_(std=0.1)  # type: ignore[operator, union-attr]
    lines = []
    with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        for t in range(STEPS):
            terms = engine.step(t, lambda *key: Batch(*(part.double() for part in mine(*key))))
            world.average(list(terms.values()))
            lines.append({name: float(term) for name, term in terms.items()})
    return lines, engine.state.weights()


def group_threads() -> list[str]:
    """The threads of this process that belong to a group and its store."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if name.startswith(("gloo", "pt_gloo", "pt_tcpstore"))]


def one_of_two(rank: int, port: int, boards: Path, folder: Path) -> None:
    os.environ |= environment(rank, 2, port)
    world = join_world(torch.device("cpu"))
    assert world.tell("from the first" if world.first else "") == "from the first"
    assert world.any(rank == 1) and not world.any(False)
    assert world.each(False, rank == 0, rank == 1) == [False, True, True]
    lines, weights = train(boards, world)
    torch.save((lines, weights), folder / f"{rank}.pt")
    assert group_threads()
    world.leave()
    assert not group_threads()  # one that works on while the interpreter goes aborts the process


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_on_the_whole_batch(
    boards: Path, tmp_path: Path
) -> None:
    context, port = multiprocessing.get_context("spawn"), free_port()
    both = [
        context.Process(target=one_of_two, args=(rank, port, boards, tmp_path)) for rank in (0, 1)
    ]
    for process in both:
        process.start()
    expected, weights = train(boards, ALONE)
    torch.set_default_dtype(torch.float32)
    for process in both:
        process.join(STUCK_AFTER)
        assert process.exitcode == 0
    for rank in (0, 1):
        lines, theirs = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for line, one in zip(lines, expected, strict=True):
            assert line == pytest.approx(one, rel=1e-5, abs=1e-7)
        for name, tensor in weights.items():
            if name.startswith("generator.") and re.search(r"\.convs?\.(\d\.)?bias$", name):
                continue  # a normalization behind it takes it away: its gradient is rounding alone
            assert_close(theirs[name], tensor, rtol=1e-5, atol=1e-5)


def test_the_parts_of_a_batch_make_the_whole(boards: Path) -> None:
    whole = batches(boards, slice(None))(3, 1)
    parts = [batches(boards, World(rank, 2).part(4))(3, 1) for rank in (0, 1)]
    for i, tensor in enumerate(whole):
        assert torch.equal(torch.cat([part[i] for part in parts]), tensor)


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(SettingError, match="batch size that is a multiple of 6"):
        World(0, 3).part(8)


def test_the_first_process_alone_looks_at_the_clock_for_a_checkpoint(
    boards: Path, tmp_path: Path
) -> None:
    """Clocks differ: one that saved while the others train would wait for them for good."""
    for rank in (0, 1):
        training = Training(
            SETTINGS.model_copy(update={"training": BY_THE_CLOCK}),
            index_data(boards, SETTINGS.data),
            RunFolder(tmp_path),
            device=torch.device("cpu"),
            watcher=Silent(),
            world=World(rank, 2),
        )
        training._saved_at = -math.inf
        assert training._save_is_due() == (rank == 0)


def test_a_batch_is_made_large_enough_to_be_shared() -> None:
    sizes = {4: 8, 8: 8, 16: 16, 18: 24}
    assert {batch: World(size=4).shareable(batch) for batch in sizes} == sizes
    for batch in sizes.values():
        World(size=4).part(batch // 2)


def test_the_batch_of_a_preset_follows_the_processes_and_one_asked_for_does_not(
    tmp_path: Path,
) -> None:
    mine, above = tmp_path / "mine.yaml", tmp_path / "above.yaml"
    mine.write_text("training: {batch_size: 4}")
    above.write_text("preset: quick")
    nothing: dict[str, dict[str, Any]] = {"training": {"batch_size": None}}
    assert shared_batch("quick", nothing, 1) is None
    assert shared_batch("quick", nothing, 4) is None
    assert shared_batch("quick", nothing, 3) == shared_batch(above, nothing, 3) == 18
    assert shared_batch("quick", {"training": {"batch_size": 12}}, 3) is None
    assert shared_batch(mine, nothing, 2) is None
    for config, asked in ((mine, nothing), ("quick", {"training": {"batch_size": 4}})):
        with pytest.raises(SettingError, match="batch size that is a multiple of 8"):
            shared_batch(config, asked, 4)


def test_gpus_wait_for_each_other_for_minutes_and_their_processes_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first process may be reading the data for long while the others wait for its word; the
    gradients of all are ready at about the same time.
    """
    made: list[tuple[Any, ...]] = []

    class Group:
        pass

    def new_group(**options: Any) -> Group:
        made.append(("group", options))
        return Group()

    monkeypatch.setattr("defectgan.processes.rendezvous", lambda url: iter([("s", 1, 2)]))
    monkeypatch.setattr("defectgan.processes.PrefixStore", lambda name, store: store)
    monkeypatch.setattr(
        distributed, "init_process_group", lambda backend, **options: made.append((backend,))
    )
    monkeypatch.setattr(distributed, "new_group", new_group)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert join_world(torch.device("cpu")) == World(1, 2) and made == [("gloo",)]
    world = join_world(torch.device("cuda:1"))
    assert isinstance(world.gpus, Group)
    assert made[1:] == [("gloo",), ("group", {"backend": "nccl", "timeout": PATIENCE})]
    asked: list[Any] = []
    monkeypatch.setattr(
        distributed, "all_reduce", lambda flat, *op, group=None: asked.append(group)
    )
    world.average([torch.zeros(1)])
    world.any(False)
    assert asked == [world.gpus, None]


def start(
    place: Path, size: int, *words: str, program: Sequence[str] = ("-m", "defectgan_cli")
) -> list[subprocess.Popen[bytes]]:
    port = free_port()
    command = [sys.executable, *program, "train", "--data", "pcb", "--config", "t.yaml"]
    return [
        subprocess.Popen(
            [*command, *words],
            cwd=place,
            env=os.environ | environment(rank, size, port) | {"PYTHONPATH": f"{ROOT}:{ROOT}/cli"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(size)
    ]


@pytest.fixture
def place(boards: Path, tmp_path: Path) -> Path:
    (tmp_path / "pcb").symlink_to(boards)
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(TINY))
    return tmp_path


@pytest.mark.slow
@pytest.mark.long
def test_the_command_trains_in_one_folder_and_resumes(place: Path) -> None:
    for words in ([], ["--resume", "--steps", "8"]):
        both = start(place, 2, *words)
        results = [process.communicate(timeout=STUCK_AFTER) for process in both]
        assert [process.returncode for process in both] == [0, 0], results
        assert results[0][0].startswith(b"weights: ") and results[1][0] == b""
        assert results[1][1] == b""
    (run,) = [path for path in (place / "runs").iterdir() if path.name != "latest"]
    assert [line["step"] for line in read_json_lines(run / "stats.jsonl")] == [2, 4, 6, 8]
    assert load_tensors(run / "weights" / "last.safetensors")[1].step == 8


def test_the_batch_that_is_taken_instead_of_the_presets_is_said(place: Path) -> None:
    """Refused before there is a run folder, where one was asked for."""
    both = start(place, 3, "--config", "quick", "--dry-run", "--json")
    results = [process.communicate(timeout=120) for process in both]
    assert json.loads(results[0][0])["batch_size"] == 18
    said = " ".join(results[0][1].decode().split())
    assert "batch size 18: that of quick cannot be shared evenly by 3 processes" in said


LEFT_ALONE = """
import atexit, os
import torch
from defectgan.training.distributed import join_world
from tests.test_distributed import group_threads

atexit.register(lambda: print(group_threads()))
world = join_world(torch.device("cpu"))
world.any(False)
if not world.first:
    os._exit(0)
assert group_threads()
while True:
    world.any(False)
"""


@pytest.mark.slow
def test_an_error_too_leaves_no_thread_of_the_group(tmp_path: Path) -> None:
    both = start(tmp_path, 2, program=("-c", LEFT_ALONE))
    (said, error), _ = [process.communicate(timeout=STUCK_AFTER) for process in both]
    assert b"another process of this training has ended" in error
    assert said == b"[]\n" and both[0].returncode == 1


LEAVES_LATE = """
from pathlib import Path
from defectgan.training.distributed import World
from defectgan_cli.main import app
from tests.conftest import wait_for

leave = World.leave


def late(world):
    Path(f"done-{world.rank}").touch()
    if world.first:
        wait_for(Path("go").exists)
    leave(world)


World.leave = late
app()
"""


@pytest.mark.slow
def test_a_stop_that_comes_when_all_is_done_changes_nothing(place: Path) -> None:
    both = start(place, 2, program=("-c", LEAVES_LATE))
    wait_for(lambda: len(list(place.glob("done-*"))) == 2)
    for process in both:
        process.terminate()
    (place / "go").touch()
    for process in both:
        _, said = process.communicate(timeout=STUCK_AFTER)
        assert process.returncode == 0, said


@pytest.mark.slow
def test_a_plan_is_said_once(place: Path) -> None:
    both = start(place, 2, "--dry-run", "--json")
    plans = [process.communicate(timeout=STUCK_AFTER)[0] for process in both]
    assert json.loads(plans[0])["steps"] == 6 and plans[1] == b""
    assert not (place / "runs").exists()


@pytest.mark.slow
def test_a_stop_that_reaches_the_whole_group_saves_also_with_reading_processes(place: Path) -> None:
    """As torchrun stops its processes: those that read must leave the answer to the trainer."""
    words = ["train", "--data", "pcb", "--config", "reading.yaml", "--steps", "100000"]
    (place / "reading.yaml").write_text(
        yaml.safe_dump(TINY | {"data": {"image_size": 32, "workers": 1}})
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "defectgan_cli", *words],
        cwd=place,
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: list(place.glob("runs/latest/stats.jsonl")))
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=STUCK_AFTER)
    assert process.returncode == 130, said.decode()
    assert "go on with" in " ".join(said.decode().split())
    steps = [line["step"] for line in read_json_lines(place / "runs/latest/stats.jsonl")]
    assert load_tensors(place / "runs/latest/state.safetensors")[1].step >= steps[-1]


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others(place: Path) -> None:
    both = start(place, 2, "--steps", "100000")
    wait_for(lambda: list(place.glob("runs/latest/stats.jsonl")))
    both[1].kill()
    both[1].communicate(timeout=STUCK_AFTER)
    _, message = both[0].communicate(timeout=STUCK_AFTER)
    assert both[0].returncode == 3
    assert "another process of this training has ended" in " ".join(message.decode().split())


def children(process: subprocess.Popen[Any]) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return list(map(int, path.read_text().split()))


@pytest.mark.slow
@pytest.mark.long
def test_torchrun_starts_a_training_again_where_its_last_checkpoint_was(place: Path) -> None:
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    training = ["defectgan_cli", "train", "--data", "pcb", "--config", "t.yaml", "--steps", "40"]
    agent = subprocess.Popen(
        [sys.executable, "-m", *command, "--max-restarts", "1", "-m", *training],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: len(read_json_lines(place / "runs/latest/stats.jsonl")) >= 4)
    os.kill(children(agent)[-1], signal.SIGKILL)
    _, said = agent.communicate(timeout=STUCK_AFTER)
    assert agent.returncode == 0, said.decode()[-2000:]
    runs = [p for p in (place / "runs").iterdir() if not p.is_symlink()]
    assert len(runs) == 1 and load_tensors(runs[0] / "weights" / "last.safetensors")[1].step == 40
    assert [line["step"] for line in read_json_lines(runs[0] / "stats.jsonl")] == list(
        range(2, 41, 2)
    )


def test_memory_that_ends_in_an_exchange_is_not_another_process_that_ended() -> None:
    with pytest.raises(RuntimeError, match=r"^CUDA error: out of memory$"), _in_company():
        raise RuntimeError("CUDA error: out of memory")
    with pytest.raises(TrainingError, match="another process of this"), _in_company():
        raise RuntimeError("Connection closed by peer")
