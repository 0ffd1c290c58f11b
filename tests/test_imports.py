"""The house has one direction:

commands -> training, generation, inspection, evaluation, export -> model -> methods
-> data, networks, losses, metrics -> basics.

Jobs do not know each other, but for evaluation, which trains, paints and inspects through the front
doors of those rooms: what their package itself names. Nor do data, networks, losses and metrics.
"""

import ast
import graphlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

LIBRARY = sorted((ROOT / "defectgan").rglob("*.py"))
BASICS = {
    *("batch", "devices", "errors", "files", "heads", "images", "lazy", "listener", "locks"),
    *("manifest", "memory", "names", "ours", "pages", "processes", "runs"),
    *("settings", "views", "words"),
}
MATERIAL = {"data", "networks", "losses", "metrics"}
DOORS = {"training", "generation", "inspection"}
JOBS = DOORS | {"evaluation", "export"}
GUARD = "TYPE_CHECKING"


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
    if room in BASICS | MATERIAL:
        return below
    if room == "methods":
        return below | MATERIAL - {"data"}
    below |= MATERIAL | {"methods"}
    if room == "model":
        return below
    if room in JOBS:
        return below | {"model"} | (DOORS if room == "evaluation" else set())
    assert room == "__init__", f"no floor is known for {room}"
    return below | {"model"} | JOBS


def imported_by(tree: ast.Module) -> set[str]:
    """The modules that importing a file imports: not those of functions, nor for type checkers."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_no_imports_go_round_in_a_circle() -> None:
    trees = {module_of(p): ast.parse(p.read_text(encoding="utf-8")) for p in LIBRARY}
    graph = {name: (imported_by(tree) & trees.keys()) - {name} for name, tree in trees.items()}
    # A package whose own version is asked for is there already, for the most part.
    for used in graph.values():
        used.discard("defectgan")
    order = tuple(graphlib.TopologicalSorter(graph).static_order())  # raises where there is one
    assert len(order) == len(LIBRARY)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


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


@pytest.mark.parametrize("name", ["networks", "losses", "metrics"])
def test_no_settings_are_read_below_the_methods(name: str) -> None:
    """Sizes and weights come as arguments."""
    files = [path for path in LIBRARY if room(path) == name]
    assert files and not any("settings" in rooms_of(path) for path in files)


LOSSES = sorted((ROOT / "defectgan" / "losses").glob("*.py"))


@pytest.mark.parametrize("path", [*LOSSES, ROOT / "defectgan" / "batch.py"], ids=lambda p: p.stem)
def test_losses_and_a_batch_import_torch_alone(path: Path) -> None:
    names = {name for name in imports_of(path) if not name.startswith("defectgan.losses")}
    assert {name.split(".")[0] for name in names} <= {"torch", "typing", "collections", "math"}


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
    modules = [module_of(path) for path in LIBRARY]
    subprocess.run([sys.executable, "-c", STILL, *modules], check=True)
