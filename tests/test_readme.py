"""What the README and the pages of docs/ show works as it stands there."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from defectgan_cli.main import app
from typer.testing import CliRunner

from defectgan.export import export
from defectgan.images import read_picture
from defectgan.methods.config import load_config
from defectgan.model.file import load_model
from tests.conftest import ROOT, VISIBLE

README = (ROOT / "README.md").read_text(encoding="utf-8")
# In the order in which a person reads them: what one makes, those after it may use.
PAGES = (
    *("training", "generating", "judging-masks", "does-it-look-right", "does-it-help"),
    "exporting",
)
DOCS = {page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")}
# The page of layouts is about sets of its own: test_layouts_page.
OTHERS = sorted(DOCS.keys() - set(PAGES) - {"layouts"})
runner = CliRunner()

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


def commands() -> list[str]:
    """The lines that call defectgan in shell blocks, in order; comments cut off."""
    text = "\n".join((README, *(DOCS[page] for page in (*OTHERS, *PAGES))))
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("defectgan ")]


@pytest.mark.slow
def test_every_command_of_the_readme_and_the_docs_runs(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, in a folder that holds what the README assumes; with a tiny network."""
    drawn = ("normal", "brushing", "thread", "tin", "wound", "masks")
    for name in drawn:
        shutil.copytree(ROOT / "sample_data" / name, tmp_path / "pcb" / name)
    shutil.copytree(boards / "normal", tmp_path / "imgs")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(VISIBLE))
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    monkeypatch.chdir(tmp_path)
    assert len(commands()) >= 6
    for line in commands():
        words = shlex.split(line)[1:]
        if words[0] == "train" and "--resume" not in words:
            words += ["--config", "tiny.yaml", "--steps", "6"]
        if words[:2] == ["train", "--resume"]:
            words += ["--steps", "8"]
        if words[:2] == ["evaluate", "quality"]:
            words += ["--features", "domain", "--steps", "2"]
        if words[:2] == ["evaluate", "threshold"]:
            words += ["--n", "1"]
        if words[:2] == ["evaluate", "gain"]:
            words += ["--steps", "1", "--seeds", "2", "--image-size", "32"]
            if "--segmentation" not in words:  # the whole report is another test's
                words += ["--net", "small", "--ratio", "1", "--arms", "classical+synthetic"]
        if "--gan-seeds" in words:
            words += ["--gan-config", "tiny.yaml", "--gan-steps", "6"]
        result = runner.invoke(app, words)
        assert result.exit_code == 0, f"{line}\n{result.output}"


@pytest.mark.slow
def test_the_program_of_the_docs_paints_with_onnxruntime(
    run: Path, boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(load_model(run), tmp_path, ["onnx"])
    shutil.copy(boards / "normal" / "0000.png", tmp_path / "good.png")
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", DOCS["exporting"], flags=re.DOTALL)
    exec(program, {})
    assert read_picture(tmp_path / "painted.png").size == (32, 32)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{name}.md" for name in sorted(DOCS))])
def test_every_link_and_picture_is_there(page: str) -> None:
    file = ROOT / page
    for target in re.findall(r"\]\((?!http)([^)]+)\)", file.read_text(encoding="utf-8")):
        path, _, heading = target.partition("#")
        found = file.parent / path if path else file
        assert found.exists(), target
        assert not heading or heading in headings(found), target


def headings(page: Path) -> list[str]:
    """What links to the headings of a page call them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= 8192


def test_the_readme_names_every_command() -> None:
    for command in (
        "train",
        "generate",
        "inspect-masks",
        "evaluate quality",
        "evaluate gain",
        "evaluate threshold",
        "export",
    ):
        assert f"| `defectgan {command}`" in README


def test_the_presets_that_the_readme_names_exist() -> None:
    for name in re.findall(r"`configs/(\w+)\.yaml`", README):
        load_config(name, {})
