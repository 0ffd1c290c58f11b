from pathlib import Path

import pytest

from defectgan.data.index import index_data, read_split
from defectgan.errors import DataError
from defectgan.files import append_json_lines, read_json, read_json_lines
from defectgan.settings.data import DataConfig


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b'{"a": 1', "delimiter"), (b"\xff", "utf-8"), (b"[1]", "found [1]"), (b"", "value")],
)
def test_a_damaged_line_within_is_named_with_what_to_do(
    line: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    with pytest.raises(DataError) as caught:
        read_json_lines(path)
    text = str(caught.value)
    assert text.startswith(f"line 2 of {path} is damaged: ") and reason in text
    assert text.endswith("mend or remove it")


def test_a_last_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_json_lines(path, [{"a": 1}, {"a": "\u88c2\u2028"}])
    with path.open("ab") as file:
        file.write(b'{"a": 3')
    assert read_json_lines(path) == [{"a": 1}, {"a": "\u88c2\u2028"}]
    assert read_json_lines(tmp_path / "none.jsonl") == []
    append_json_lines(path, [{"a": 4}])  # not behind what is left of the third
    assert read_json_lines(path) == [{"a": 1}, {"a": "\u88c2\u2028"}, {"a": 4}]
    path.write_bytes(b'{"a"')
    append_json_lines(path, [{"a": 5}])
    assert read_json_lines(path) == [{"a": 5}]


@pytest.mark.parametrize("name", ["split.json", "job.json"])
def test_a_damaged_json_file_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b'{"a": ')
    read = read_split if name == "split.json" else read_json
    with pytest.raises(DataError, match=rf"^{tmp_path / name} is damaged: .*mend or remove it$"):
        read(tmp_path / name)


def test_a_damaged_line_of_a_table_is_named_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text('{"file": "a.png", "labels": ""}\n\n{"file"\n')
    with pytest.raises(DataError, match=r"; line 3 of .*labels\.jsonl is damaged"):
        index_data(tmp_path, DataConfig())


def test_a_row_of_a_table_whose_file_is_no_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text('{"file": 5, "labels": "crack"}\n')
    with pytest.raises(DataError, match=r"labels\.jsonl has the file 5: expected a path as text"):
        index_data(tmp_path, DataConfig())
