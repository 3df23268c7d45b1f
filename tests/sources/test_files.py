import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from datatrial.errors import DataError
from datatrial.sources._files import rows_of

ROWS = [{"text": "one\nline", "n": 1}, {"text": "zwölf", "n": 2}]


def file(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def failure(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(rows_of(path))
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_jsonl_is_read_with_its_line_numbers_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = file(tmp_path, "a.jsonl", f"{json.dumps(ROWS[0])}\n\n{json.dumps(ROWS[1])}")
    assert list(rows_of(path)) == [(1, ROWS[0]), (3, ROWS[1])]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "A.JSONL.GZ", "a.json.gz"])
def test_gzip_is_read(tmp_path: Path, name: str) -> None:
    lines = "".join(json.dumps(row) + "\r\n" for row in ROWS)
    path = file(tmp_path, name, gzip.compress(lines.encode("utf-8-sig")))
    assert list(rows_of(path)) == [(1, ROWS[0]), (2, ROWS[1])]


def test_the_rows_of_a_json_list_have_the_line_they_begin_on(tmp_path: Path) -> None:
    path = file(tmp_path, "a.json", "\ufeff\n[ " + ",\n".join(json.dumps(row, indent=1) for row in ROWS) + "\n ]\n")
    assert list(rows_of(path)) == [(2, ROWS[0]), (6, ROWS[1])]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_list_reads_as_json_reads_it(tmp_path: Path, indent: int | None) -> None:
    rows = [{"a": [1, {"b": "]},["}], "c": n / 3, "d": None} for n in range(50)]
    path = file(tmp_path, "a.json", json.dumps(rows, indent=indent))
    assert [row for _, row in rows_of(path)] == rows


def test_a_json_file_that_is_jsonl_in_truth_is_read_and_the_other_way_round(tmp_path: Path) -> None:
    lines = file(tmp_path, "lines.json", "".join(json.dumps(row) + "\n" for row in ROWS))
    listed = file(tmp_path, "list.jsonl", json.dumps(ROWS))
    assert [row for _, row in rows_of(lines)] == [row for _, row in rows_of(listed)] == ROWS


def test_csv_cells_may_hold_line_breaks_and_the_row_has_its_first_line(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", '\ufefftext,n\r\n"one\nline",1\r\n\r\n"a ""b"", c",2\r\n')
    assert list(rows_of(path)) == [(2, {"text": "one\nline", "n": "1"}), (5, {"text": 'a "b", c', "n": "2"})]


def test_a_csv_cell_may_be_longer_than_the_csv_modules_limit(tmp_path: Path) -> None:
    assert [len(row["text"]) for _, row in rows_of(file(tmp_path, "a.csv", "text\n" + "x" * 200_000))] == [200_000]


def test_parquet_is_read_with_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "odd [name]*.parquet"
    pl.DataFrame(ROWS * 3000).write_parquet(path)
    read = list(rows_of(path))
    assert [number for number, _ in read] == list(range(1, 6001))
    assert read[4999] == (5000, ROWS[1])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{'text': 1}", "not JSON"),
        ('{"text": "cut', "not JSON"),
        ('["text"]', "not a list"),
        ("3", "not a int"),
        ('{"text": "\\ud83d"}', "surrogates not allowed"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str, why: str) -> None:
    message = failure(file(tmp_path, "a.jsonl", f'{{"text": "fine"}}\n\n{line}\n'))
    assert "line 3: not JSON" in message
    assert why in message


def test_a_line_in_another_encoding_is_named(tmp_path: Path) -> None:
    assert "line 2: not JSON" in failure(file(tmp_path, "a.jsonl", b'{"a": 1}\n{"a": "\xe4"}\n'))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[{"a": 1},\n{"a": 2}', 2),
        ('[{"a": 1},\n]', 2),
        ('[{"a": 1}\n{"a": 2}]', 2),
        ("[\n\n3]", 3),
        ('[{"a": 1}]\n{"a": 2}', 2),
        ("[", 1),
    ],
)
def test_a_broken_json_list_is_named_with_the_line(tmp_path: Path, text: str, line: int) -> None:
    assert f"line {line}: not a JSON list of rows" in failure(file(tmp_path, "a.json", text))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,b\n1,2\n1,2,3\n", "line 3: 3 cells, but the header has 2 columns"),
        ('a,b\n1,2\n"1,2\n', "line 3: not CSV"),
        ("a,a\n1,2\n", "line 1: a column name occurs twice"),
    ],
)
def test_broken_csv_is_named_with_the_line(tmp_path: Path, text: str, why: str) -> None:
    assert why in failure(file(tmp_path, "a.csv", text))


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", ""), ("a.jsonl", "\n \n"), ("a.json", "[ ]"), ("a.csv", "")])
def test_an_empty_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    assert "holds no rows" in failure(file(tmp_path, name, content))


def test_files_with_columns_but_no_rows_are_empty_too(tmp_path: Path) -> None:
    assert "holds no rows" in failure(file(tmp_path, "a.csv", "text,n\n"))
    pl.DataFrame(schema={"text": pl.String}).write_parquet(tmp_path / "a.parquet")
    assert "holds no rows" in failure(tmp_path / "a.parquet")


def test_a_cut_gzip_file_is_named(tmp_path: Path) -> None:
    whole = gzip.compress("".join(json.dumps({"text": str(n**9)}) + "\n" for n in range(999)).encode())
    for content in (whole[:-20], b"no gzip", whole[:100] + b"?" * 50 + whole[150:]):
        assert "not a whole gzip file" in failure(file(tmp_path, "a.jsonl.gz", content))


def test_what_is_no_parquet_is_named_in_one_line(tmp_path: Path) -> None:
    message = failure(file(tmp_path, "a.parquet", "text"))
    assert "not a whole Parquet file" in message
    assert "\n" not in message


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path / "none.parquet"):
        assert "cannot read" in failure(path)
    (tmp_path / "folder.jsonl").mkdir()
    assert "cannot read" in failure(tmp_path / "folder.jsonl")


@pytest.mark.parametrize("name", ["a.txt", "a", "a.parquet.gz", "a.gz"])
def test_other_kinds_of_file_are_refused(tmp_path: Path, name: str) -> None:
    assert "use .jsonl, .json, .csv (or .gz) or .parquet" in failure(file(tmp_path, name, "{}"))
