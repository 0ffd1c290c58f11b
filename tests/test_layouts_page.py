"""What docs/layouts.md shows works as it stands there."""

import re
import shlex
from pathlib import Path

import pytest
from defectgan_cli.main import app
from typer.testing import CliRunner

from defectgan.data.layouts import LAYOUTS
from tests import test_shipped_layouts as shipped
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "layouts.md").read_text(encoding="utf-8")
TREES = re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)
COMMANDS = re.findall(r"^defectgan .*", PAGE, flags=re.MULTILINE)


def listed(root: Path) -> None:
    for i in range(3):
        shipped.photo(root / "imgs" / f"a{i}.png")
    shipped.write(root / "labels.csv", "file,labels\nimgs/a0.png,\nimgs/a1.png,x\nimgs/a2.png,x\n")


def make(root: Path) -> None:
    """The set that a command or a tree is about, by its name."""
    if root.name == "listed":
        listed(root)
    else:
        getattr(shipped, root.name)(root)


def files_of(tree: str) -> list[Path]:
    """The files that a tree names, two blanks a level."""
    above: list[str] = []
    files = []
    for line in tree.splitlines():
        level, name = (len(line) - len(line.lstrip())) // 2, line.strip()
        above[level:] = [name.rstrip("/")]
        if not name.endswith("/") and name != "...":
            files.append(Path(*above))
    return files


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.split("/")[0])
def test_each_tree_is_one_that_the_tests_read(tree: str, tmp_path: Path) -> None:
    files = files_of(tree)
    make(tmp_path / files[0].parts[0])
    assert not [file for file in files if not (tmp_path / file).is_file()]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs_and_recognises_the_layout_that_the_page_says(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(command)[1:]
    root = tmp_path / words[2].partition("/")[0]
    make(root)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*words, "--config", "quick"])
    assert result.exit_code == 0, result.output
    section = PAGE[: PAGE.index(command)].rpartition("\n## ")[2]
    (layout,) = re.findall(r"^layout +(\w+)$", result.stdout, flags=re.MULTILINE)
    assert f"(`{layout}`)" in section.partition("\n")[0]


def test_the_page_has_every_layout() -> None:
    for layout in LAYOUTS:
        assert f"(`{layout}`)" in PAGE
