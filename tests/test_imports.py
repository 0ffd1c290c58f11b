"""The house has one direction: commands -> jobs -> data, models, losses -> basics."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

LIBRARY = sorted((ROOT / "defectgan").rglob("*.py"))
BASICS = {
    *("compose", "images", "config", "errors", "files", "control", "devices", "runs", "views"),
    *("heads", "listener", "locks", "manifest", "memory", "names", "ours", "pages", "words"),
}
MATERIAL = {"data", "models", "losses", "metrics"}
MODEL = {"model"}
JOBS = {"training", "generation", "inspection", "evaluation", "export"}


def imports_of(path: Path) -> set[str]:
    """The modules that a file names in its imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def rooms_of(path: Path) -> set[str]:
    return {n.split(".")[1] for n in imports_of(path) if n.startswith("defectgan.")}


def room(path: Path) -> str:
    return path.relative_to(ROOT / "defectgan").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_the_library_never_imports_what_stands_above_it(path: Path) -> None:
    assert not {
        n for n in imports_of(path) if n.split(".")[0] in ("typer", "rich", "defectgan_cli")
    }
    allowed = {room(path)} | BASICS
    if room(path) in JOBS:
        allowed |= MATERIAL | MODEL | JOBS
    elif room(path) in MODEL:
        allowed |= MATERIAL | MODEL
    elif room(path) in MATERIAL:
        allowed |= MATERIAL
    assert rooms_of(path) <= allowed


def test_losses_import_torch_alone() -> None:
    assert imports_of(ROOT / "defectgan" / "losses.py") == {"torch", "torch.nn"}


@pytest.mark.parametrize(
    ("module", "only"),
    [("albumentations", {"data/augment.py"}), ("PIL", {"heads.py", "images.py"})],
)
def test_a_library_stands_behind_few_modules(module: str, only: set[str]) -> None:
    users = {
        p.relative_to(ROOT / "defectgan").as_posix()
        for p in LIBRARY
        if any(n.split(".")[0] == module for n in imports_of(p))
    }
    drawing = {"inspection/sheet.py"} if module == "PIL" else set()
    assert users == only | drawing


@pytest.mark.parametrize("module", ["defectgan", "defectgan_cli.main"])
def test_asking_for_help_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_metrics_are_arithmetic_alone() -> None:
    files = (ROOT / "defectgan" / "metrics").glob("*.py")
    used = {name.split(".")[0] for file in files for name in imports_of(file)}
    assert used <= {"collections", "typing", "numpy"}


STILL = """
import importlib, pathlib, random, sys
import numpy, torch
random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
def state():
    kind, keys, *rest = numpy.random.get_state()
    return random.getstate(), keys.tolist(), rest, torch.get_rng_state().tolist()
before = state()
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert state() == before, name
"""


def test_importing_the_library_draws_nothing_and_seeds_nothing() -> None:
    modules = [
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for p in LIBRARY
    ]
    subprocess.run([sys.executable, "-c", STILL, *modules], check=True)
