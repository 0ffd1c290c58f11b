"""The house has one direction: commands -> jobs -> model -> data, networks, losses -> basics.

Jobs do not know each other, but for evaluation, which trains, paints and inspects through the front
doors of those rooms: what their package itself names.
"""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

LIBRARY = sorted((ROOT / "defectgan").rglob("*.py"))
BASICS = {
    *("compose", "images", "config", "errors", "files", "control", "devices", "runs", "views"),
    *(
        "heads",
        "lazy",
        "listener",
        "locks",
        "manifest",
        "memory",
        "names",
        "ours",
        "pages",
        "words",
    ),
}
MATERIAL = {"data", "models", "losses", "metrics"}
MODEL = {"model"}
DOORS = {"training", "generation", "inspection"}
GUARD = "TYPE_CHECKING"
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
    assert rooms_of(path) <= allowed(room(path))


def allowed(room: str) -> set[str]:
    """The rooms that a room may use: its own, and those on floors below."""
    below = BASICS | {room}
    if room in JOBS:
        return below | MATERIAL | MODEL | (DOORS if room == "evaluation" else set())
    if room in MODEL:
        return below | MATERIAL
    if room in MATERIAL:
        return below | MATERIAL
    return below if room in BASICS else below | MATERIAL | MODEL | JOBS


EVALUATION = sorted((ROOT / "defectgan" / "evaluation").glob("*.py"))


@pytest.mark.parametrize("path", EVALUATION, ids=lambda p: p.name)
def test_evaluation_uses_other_jobs_through_their_front_doors(path: Path) -> None:
    inner = tuple(f"defectgan.{job}." for job in DOORS)
    assert not {name for name in imports_of(path) if name.startswith(inner)}


@pytest.mark.parametrize("package", ["defectgan", *(f"defectgan.{job}" for job in sorted(DOORS))])
def test_a_front_door_leads_to_all_that_it_names_and_to_nothing_else(package: str) -> None:
    """And type checkers see the same names."""
    door = importlib.import_module(package)
    assert len(set(door.__all__)) == len(door.__all__)
    for name in door.__all__:
        assert getattr(door, name) is not None
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        door.nothing  # noqa: B018
    tree = ast.parse(Path(str(door.__file__)).read_text(encoding="utf-8"))
    (typed,) = (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == GUARD)
    imported = {
        a.asname: n.module for n in typed.body if isinstance(n, ast.ImportFrom) for a in n.names
    }
    for name, module in imported.items():
        assert name in door.__all__
        assert getattr(door, str(name)) in vars(importlib.import_module(str(module))).values()


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
    files = sorted((ROOT / "defectgan" / "metrics").glob("*.py"))
    used = {name.split(".")[0] for file in files for name in imports_of(file)}
    assert used <= {
        *("collections", "dataclasses", "importlib", "itertools", "math", "statistics", "typing"),
        *("numpy", "torch", "torch_fidelity", "defectgan"),
    }
    ours = {room for file in files for room in rooms_of(file)}
    assert ours <= {"metrics", "errors"}


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
