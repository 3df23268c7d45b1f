"""Parquet files that stand for more than they can hold of texts, or for what is none."""

import resource
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datatrial.errors import DataError
from datatrial.foreign import packed, parquet
from datatrial.sources import _parquet
from datatrial.sources._files import rows_of

NO_LIMIT = resource.getrlimit(resource.RLIMIT_DATA)


def written(tmp_path: Path, **columns: Any) -> Path:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd", dictionary_pagesize_limit=2**30, store_schema=False)
    return path


def failure(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(rows_of(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert resource.getrlimit(resource.RLIMIT_DATA) == NO_LIMIT
    return str(caught.value)


def same(value: Any, times: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([value]))


def listed(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


@pytest.mark.parametrize("values", [same("x" * 2**17, 8192), listed(same("x" * 2**17, 8192))], ids=["rows", "a list"])
def test_a_dictionary_of_one_long_text_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: pa.Array
) -> None:
    monkeypatch.setattr(parquet, "_DECODED", 2**27)
    path = written(tmp_path, text=values)
    assert path.stat().st_size < 2**14  # and it stands for 1 GiB
    assert "takes more than" in failure(path)


def test_a_page_of_one_sign_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_DECODED", 2**27)
    assert "takes more than" in failure(written(tmp_path, **{f"c{n}": ["x" * 2**25] for n in range(8)}))


@pytest.mark.parametrize("value", ["x" * 2**20, ["x" * 2**20], {"of": [{"it": "x" * 2**20}]}], ids=type)
def test_a_text_longer_than_any_row_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    path = written(tmp_path, text=["a", "b"], other=[value, value])
    assert len(list(rows_of(path))) == 2
    monkeypatch.setattr(parquet, "LONGEST_LINE", 2**20 - 1)
    assert "a text in it is longer than" in failure(path)


def test_rows_without_end_are_not_all_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, text=same("x" * 1000, 200_000))
    assert sum(1 for _ in rows_of(path)) == 200_000
    monkeypatch.setattr(packed, "ALWAYS_FINE", 2**20)
    assert "holds more than 50 times its size" in failure(path)


def test_rows_of_nothing_count_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "ALWAYS_FINE", 2**20)
    assert "holds more than 50 times its size" in failure(written(tmp_path, text=pa.nulls(2**20, pa.string())))


def test_values_without_end_in_one_row_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_MOST_VALUES", 1000)
    assert "1 of its rows hold 1,002 values" in failure(written(tmp_path, text=listed(pa.nulls(1001, pa.bool_()))))


def test_of_long_rows_few_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_HELD", 2**20)
    path = written(tmp_path, text=[str(n) * 2**15 for n in range(100)])
    assert all(frame.height <= 32 for frame in _parquet.batches(path))
    assert [row["text"][-1] for _, row in rows_of(path)] == [str(n)[-1] for n in range(100)]


def test_text_that_is_none_is_named(tmp_path: Path) -> None:
    halves = pa.array([b"fine", b"\xed\xa0\xbd"], pa.binary()).view(pa.string())
    assert "Invalid UTF8 sequence" in failure(written(tmp_path, text=halves))


def test_too_many_columns_are_named(tmp_path: Path) -> None:
    assert "has 1001 columns; at most 1000" in failure(written(tmp_path, **{f"c{n}": [1] for n in range(1001)}))


def test_a_deep_schema_is_named(tmp_path: Path) -> None:
    array = pa.array([1, 2])
    for _ in range(200):
        array = pa.StructArray.from_arrays([array], ["a"])
    assert "not a whole Parquet file" in failure(written(tmp_path, text=array))
