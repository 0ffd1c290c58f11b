"""What docs/adding-a-method.md names is there, and its example is StarGAN as it is."""

import inspect
import re

import pytest

from defectgan.batch import Batch
from defectgan.methods.base import Method, MethodShape, Player
from defectgan.methods.draws import Draws
from defectgan.methods.registry import METHODS
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"`((?:defectgan|configs|tests)/[\w./-]*)`", PAGE)))
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_it_names_the_files_of_its_example() -> None:
    assert {f"defectgan/{room}/stargan.py" for room in ("methods", "networks")} < set(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_each_file_that_it_names_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_what_it_calls_a_method_is_one() -> None:
    for name in re.findall(r"`(\w+)\(\)`", PAGE):
        assert hasattr(Method, name) or hasattr(MethodShape, name), name
    for abstract in Method.__abstractmethods__:
        assert f"`{abstract}()`" in PAGE
    for of, kind in (("batch", Batch), ("draws", Draws)):
        named = re.findall(rf"`{of}\.(\w+)", PAGE)
        assert named and all(hasattr(kind, name) for name in named)
    assert {"repeats", "ahead"} <= set(Player._fields)


def test_its_lines_of_code_are_those_of_the_example() -> None:
    files = ("networks/stargan.py", "methods/stargan.py", "methods/registry.py")
    source = "".join((ROOT / "defectgan" / file).read_text() for file in files)
    lines = [line.strip() for line in "".join(PYTHON).splitlines() if "#" not in line]
    assert len(lines) > 5 and not [line for line in lines if line not in source]
    assert f'"stargan": "{METHODS["stargan"]}",' in lines


def test_a_method_is_one_file_of_the_length_that_is_said() -> None:
    (said,) = re.findall(r"stargan\.py\), (\d+) lines", PAGE)
    lines = (ROOT / "defectgan" / "methods" / "stargan.py").read_text().count("\n")
    assert abs(lines - int(said)) <= 10


def test_tests_that_take_every_method_are_those_that_it_says() -> None:
    from tests import test_config_ranges, test_every_method

    for module in (test_every_method, test_config_ranges):
        assert "METHODS" in inspect.getsource(module)
        assert f"tests/{module.__name__.split('.')[-1]}.py" in PAGE
