"""What ends in a clear error before it fills the memory; at their real size, such files are in tests/torture."""

import gzip
import json
import os
from pathlib import Path

import pytest

from datatrial.errors import DataError
from datatrial.foreign import packed
from datatrial.foreign.plain_json import TOO_DEEP
from datatrial.regular_files import TOO_LONG
from datatrial.sources import _files, _json
from datatrial.sources._files import rows_of


@pytest.fixture
def short_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (_files, _json):
        monkeypatch.setattr(module, "LONGEST_LINE", 100)
    monkeypatch.setattr(_json, "_CHUNK", 16)


def file(tmp_path: Path, name: str, content: str) -> Path:
    data = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return tmp_path / name


def failure(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(rows_of(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


FINE = json.dumps({"text": "x" * 80})
LONG = json.dumps({"text": "x" * 100})


@pytest.mark.usefixtures("short_rows")
@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", f"{FINE}\n{FINE}\n{LONG}\n", 3),
        ("a.jsonl.gz", f"{FINE}\n{FINE}\n{LONG}\n", 3),
        ("a.jsonl", f"{FINE}\n" + "\0" * 10_000, 2),
        ("a.json", f"[\n{FINE},\n{FINE},\n{LONG}]", 4),
        ("a.json", "[" + '{"text": "never closed ' + "x" * 10_000, 1),
        ("a.csv", f"text\n{'x' * 90}\n{'x' * 200}\n", 3),
        ("a.csv", f'text\n{"x" * 90}\n"never closed\n' + "more\n" * 40, 3),
        ("a.csv.gz", "text,n\n" + '"a\n","b\n",' * 40, 2),
        ("a.csv", "x" * 200, 1),
    ],
)
def test_a_row_without_an_end_is_named_with_its_line(tmp_path: Path, name: str, content: str, line: int) -> None:
    message = failure(file(tmp_path, name, content))
    assert f"line {line}: " in message
    assert TOO_LONG in message


@pytest.mark.usefixtures("short_rows")
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_rows_up_to_the_limit_are_read_however_many(tmp_path: Path, name: str) -> None:
    rows = [{"text": "x" * (n % 80)} for n in range(500)]
    content = {
        "a.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "a.json": json.dumps(rows, indent=1) + " " * 5000,
        "a.csv": "text\n" + "".join(f'"{row["text"]}"\n' for row in rows),
    }
    assert [row for _, row in rows_of(file(tmp_path, name, content[name]))] == rows


def test_what_is_wrong_in_a_list_is_told_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_json, "_CHUNK", 64)
    path = file(tmp_path, "a.json", '[\n{"a": 1},\n{"a": oops},\n' + '{"a": 1},\n' * 1000 + '{"a": 1}]')
    assert failure(path).endswith("line 3: not a JSON list of rows (Expecting value)")


def test_a_gzip_bomb_ends_in_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path, "a.jsonl.gz", f"{FINE}\n" * 200_000)
    assert sum(1 for _ in rows_of(path)) == 200_000  # below what is always fine, whatever the file's size
    monkeypatch.setattr(packed, "ALWAYS_FINE", 2**20)
    assert "holds more than 50 times its size" in failure(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz", "a.csv.gz", "a.parquet"])
def test_a_pipe_or_a_device_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    (tmp_path / f"zero-{name}").symlink_to("/dev/zero")
    for path in (tmp_path / name, tmp_path / f"zero-{name}"):
        assert "it is a pipe or a device" in failure(path)


DEEP = '{"a": ' * 60 + "1" + "}" * 60


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("value", [DEEP, "[" * 100_000, '{"a": ' + "[" * 60 + "]" * 60 + "}"])
def test_values_nested_too_deep_are_named(tmp_path: Path, name: str, value: str) -> None:
    content = f'[{{"a": 1}},\n{value}]' if name == "a.json" else f'{{"a": 1}}\n{value}'
    message = failure(file(tmp_path, name, content))
    assert "line 2: " in message
    assert TOO_DEEP in message


def test_many_brackets_side_by_side_are_fine(tmp_path: Path) -> None:
    row = {"a": [[] for _ in range(200)], "b": "[[[{{{" * 50}
    assert [found for _, found in rows_of(file(tmp_path, "a.jsonl", json.dumps(row)))] == [row]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_too_many_columns_are_named(tmp_path: Path, name: str) -> None:
    names = [f"c{n}" for n in range(1001)]
    row = json.dumps(dict.fromkeys(names, 1))
    content = {"a.jsonl": row, "a.json": f"[{row}]", "a.csv": ",".join(names) + "\n"}
    assert "line 1: has 1001 columns; at most 1000" in failure(file(tmp_path, name, content[name]))


@pytest.mark.parametrize(
    "data",
    [
        b'{"text": "\xed\xa0\xbd"}',  # half a character, in bytes
        '{"text": "a"}\n'.encode("utf-16"),
        '{"text": "a"}\n'.encode("utf-32"),
        b"\0" * 1000,
        b'{"text": ' + b"9" * 5000 + b"}",
        b'{"text": "a\0b"}',
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_what_is_no_text_in_utf_8_is_no_json(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(b"[" + data + b"]" if name == "a.json" else data)
    assert "line 1: not" in failure(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize(
    ("row", "said"),
    [('{"text": ' + "9" * 5000 + "}", "a number in it has thousands of digits"), ('{"text" 1}', "Expecting")],
)
def test_what_is_no_json_is_said_in_our_words(tmp_path: Path, name: str, row: str, said: str) -> None:
    found = failure(file(tmp_path, name, f"[{row}]" if name == "a.json" else row))
    assert "line 1: not" in found
    assert said in found
    assert "set_int_max" not in found
    assert found.count("line") == (1 if name == "a.json" else 2)  # "every line of JSONL is one row"


@pytest.mark.parametrize("data", [b"text\n\xed\xa0\xbd\n", "text\na\n".encode("utf-16"), "text\na\n".encode("utf-32")])
def test_what_is_no_text_in_utf_8_is_no_csv(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    assert "line 1: not CSV in UTF-8" in failure(tmp_path / "a.csv")
