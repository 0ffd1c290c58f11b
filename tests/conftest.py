"""Small things that many tests need: drawn boards, tiny settings, a tiny trained run."""

import os

# The tests run side by side, so one thread each, also for the processes that they start. It has to
# stand here before torch and numpy are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.util
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from defectgan.data.index import index_data
from defectgan.files import read_json_lines
from defectgan.manifest import MANIFEST
from defectgan.methods.base import CRITIC
from defectgan.methods.config import Config, parse_config
from defectgan.model.file import Model, load_model
from defectgan.model.painter import Painter
from defectgan.networks.generator import Generator
from defectgan.runs import RunFolder
from defectgan.settings.data import DataConfig
from defectgan.training.job import Job, resumed_job
from defectgan.training.watch import Outcome

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
# Seconds after which another process is taken for stuck, on a machine that has much else to do.
STUCK_AFTER = 300
CLASSES = ("thread", "brushing", "tin", "wound")

TINY: dict[str, Any] = {
    "data": {"image_size": 32},
    "method": {
        "name": "robust",
        "width": 4,
        "residual_blocks": 1,
        "spade_hidden": 4,
        "critic_width": 4,
        "critic_layers": 3,
        "tower_width": 8,
        "n_critic": 1,
        "warmup_steps": 2,
    },
    "training": {
        "steps": 6,
        "batch_size": 4,
        "log_every": 2,
        "save_every": 2,
        "sample_every": 3,
        "judge": "classifier",
    },
}


# So few steps at the usual rate paint what nobody would see, which generate rejects.
VISIBLE = TINY | {"optim": {"lr": 0.02}}


class Silent:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.warnings: list[str] = []

    def phase(self, text: str) -> None:
        pass

    def warmed(self, step: int, longest: int) -> None:
        pass

    def stepped(self, step: int) -> None:
        pass

    def logged(self, line: dict[str, Any]) -> None:
        self.lines.append(line)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class StopAfter:
    """Asks to stop when called for the n-th time, once a step."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def generator_of(model: Model) -> Generator:
    """The generator of a model that paints with one."""
    generator = model.painter.networks["generator"]
    assert isinstance(generator, Generator)
    return generator


def without_critic(model: Model) -> Model:
    """As an exported file has it."""
    networks = {k: net for k, net in model.painter.networks.items() if k != CRITIC}
    return replace(model, painter=Painter(model.painter.method, networks))


def load_script(path: str) -> ModuleType:
    """A script that is not part of the package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small drawn data folder: 6 normal images, 4 of each defect, true masks."""
    folder = tmp_path_factory.mktemp("data") / "pcb"
    load_script("sample_data/draw.py").draw_set(
        folder, normal=6, defects=4, size=48, seed=3, image_format="png"
    )
    return folder


@pytest.fixture(scope="session")
def tiny() -> Config:
    return parse_config(TINY, origin="tests")


def tiny_with(**sections: dict[str, Any]) -> Config:
    """The tiny settings with some of them changed."""
    tree = {name: {**TINY.get(name, {}), **values} for name, values in sections.items()}
    return parse_config(TINY | tree, origin="tests")


def start(
    config: Config,
    boards: Path,
    runs: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    watcher: Silent | None = None,
) -> Outcome:
    """Train on the boards in a new run folder."""
    job = Job(config, index_data(boards, DataConfig(classes=tuple(CLASSES))))
    return run_job(job, runs, stop=stop, watcher=watcher)


def run_job(
    job: Job,
    runs: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    watcher: Silent | None = None,
) -> Outcome:
    """Run a job in a new run folder."""
    return job.run(job.begin(runs, "tiny"), device=CPU, watcher=watcher or Silent(), stop=stop)


def go_on(run: Path, *, watcher: Silent | None = None) -> Outcome:
    """Go on with a run."""
    job = resumed_job(run, {})
    return job.run(RunFolder(run), device=CPU, watcher=watcher or Silent(), stop=lambda: False)


@pytest.fixture(scope="session")
def run(boards: Path, tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run; tests only read it."""
    return start(tiny, boards, tmp_path_factory.mktemp("work") / "runs").run


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    """The tiny model, made to paint: half a step into training its masks would still be gray."""
    model = load_model(run)
    with torch.no_grad():
        generator_of(model).head.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
        generator_of(model).last_noise.scale.fill_(0.5)
    return model


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Whatever ran before in this process: side by side that differs from run to run."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("DEFECTGAN_")]:
            patch.delenv(name)
        patch.setenv("DEFECTGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The manifest of a generated set as it stands in the file."""
    return read_json_lines(out / MANIFEST)


def wait_for(happened: Callable[[], Any]) -> None:
    """Until it has."""
    end = time.monotonic() + STUCK_AFTER
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)


def spoil(path: Path) -> None:
    """Damage the middle of a PNG, so that its head and its end are whole."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20] = bytes(20)
    path.write_bytes(data)
