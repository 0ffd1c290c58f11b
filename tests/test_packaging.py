"""What is built from a checkout holds all that the library reads, whoever unpacks it."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hatchling import build

from defectgan.settings.load import preset_folder
from tests.conftest import ROOT


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


PRESETS = names_in(ROOT / "configs")
READ = "import defectgan.config as c; print(c.preset_folder()); c.load_config('quick', {})"


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
