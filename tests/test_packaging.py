"""What is built from a checkout holds all that the library reads, whoever unpacks it."""

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import hatchling
import pytest
import torch
import typer
import yaml
from hatchling import build

from defectgan import __version__
from defectgan.settings.load import preset_folder
from tests.conftest import ROOT


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


PRESETS = names_in(ROOT / "configs")
READ = """
from defectgan.methods.config import load_config
from defectgan.settings.load import preset_folder
print(preset_folder())
load_config("quick", {})
"""


def built(how: Callable[[str], str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(ROOT)
    return folder / how(str(folder))


def preset_folder_of(packages: Path) -> Path:
    """Where the library in a folder finds its presets, called from another one."""
    result = subprocess.run(
        [sys.executable, "-c", READ],
        env={**os.environ, "PYTHONPATH": str(packages)},
        cwd=packages.parent,
        capture_output=True,
        check=True,
        text=True,
    )
    return Path(result.stdout.strip())


def test_in_a_checkout_the_presets_lie_beside_the_package_and_nothing_is_a_link() -> None:
    assert preset_folder() == ROOT / "configs" and "quick.yaml" in PRESETS
    assert not [path for path in (ROOT / "defectgan").rglob("*") if path.is_symlink()]


def test_a_wheel_holds_the_presets_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = built(build.build_wheel, tmp_path, monkeypatch)
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    assert preset_folder_of(tmp_path / "installed") == tmp_path / "installed/defectgan/configs"
    assert names_in(tmp_path / "installed/defectgan/configs") == PRESETS


def test_an_editable_wheel_holds_nothing_that_would_hide_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = built(build.build_editable, tmp_path, monkeypatch)
    assert not [n for n in zipfile.ZipFile(wheel).namelist() if n.startswith("defectgan/")]


def test_an_unpacked_source_distribution_finds_its_presets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(built(build.build_sdist, tmp_path, monkeypatch)) as archive:
        archive.extractall(tmp_path / "sources", filter="data")
    (root,) = (tmp_path / "sources").iterdir()
    assert preset_folder_of(root) == root / "configs"
    assert names_in(root / "configs") == PRESETS


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python without this product, with the packages that it needs."""
    place = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    needed = {str(Path(str(m.__file__)).parents[1]) for m in (torch, typer, hatchling)}
    # Their own .pth files, one of which may name this checkout, are not read from here.
    (packages / "needed.pth").write_text("\n".join(sorted(needed)))
    return place / "bin"


SAY = "import defectgan, sys; print(defectgan.__file__); assert 'torch' not in sys.modules"


@pytest.mark.slow
@pytest.mark.parametrize("how", [build.build_wheel, build.build_sdist])
def test_what_is_built_is_installed_and_runs_in_a_clean_environment(
    how: Callable[[str], str], environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = built(how, tmp_path, monkeypatch)
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}

    def run(*words: str | Path) -> str:
        done = subprocess.run(
            [environment / words[0], *words[1:]],
            cwd=tmp_path,
            env=clean,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    options = ("--no-index", "--no-deps", "--no-build-isolation", "--force-reinstall", "-q")
    run("pip", "install", *options, package)
    assert Path(run("python", "-c", SAY).strip()).is_relative_to(environment.parent)
    assert run("defectgan", "--version").strip() == f"defectgan {__version__}"
    data = ROOT / "sample_data"
    plan = json.loads(run("defectgan", "train", "--data", data, "--dry-run", "--json"))
    assert plan["preset"] == "quick" and plan["layout"]
    weights = ROOT / "sample_data/pcb64.safetensors"
    made = ("--n", "1", "--candidates", "1", "--out", "made", "--device", "cpu", "--json")
    done = run("defectgan", "generate", "--normal", data / "normal", "--model", weights, *made)
    assert json.loads(done)["images"] == 1 and (tmp_path / "made/manifest.jsonl").is_file()


def test_the_citation_and_the_changes_name_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__ and citation["license"] == "MIT"
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.+)$", changes, flags=re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    assert heads[1] == f"[{__version__}] - {citation['date-released']}"
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {*re.findall(r"^### (.+)$", changes, flags=re.MULTILINE)} <= kinds
