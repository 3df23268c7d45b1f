"""Rows of Parquet files without a Parquet reader."""

from pathlib import Path

import polars as pl
import pytest

from datatrial.estimates._parquet import parquet_rows


@pytest.mark.parametrize("rows", [0, 1, 127, 128, 70_000])
def test_the_number_of_rows_is_that_of_polars(tmp_path: Path, rows: int) -> None:
    messages = [[{"role": "user", "content": "x"}]] * rows
    frame = pl.DataFrame(
        {"text": ["a"] * rows, "flag": [True] * rows, "share": [0.5] * rows, "messages": messages},
        schema_overrides={"messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String}))},
    )
    frame.write_parquet(tmp_path / "rows.parquet", row_group_size=1000)
    assert parquet_rows(tmp_path / "rows.parquet") == rows


def test_many_columns_are_read(tmp_path: Path) -> None:
    pl.DataFrame({f"column {n}": [n] for n in range(40)}).write_parquet(tmp_path / "wide.parquet")
    assert parquet_rows(tmp_path / "wide.parquet") == 1


@pytest.mark.parametrize(
    "footer",
    [
        b"\x19\xf7" + b"\xff" * 8 + b"\x0f" + b"\x00" * 40,  # a list that claims 2^56 numbers of 8 bytes
        b"\x19\xf1" + b"\xff" * 8 + b"\x0f",
        b"\x16" + b"\xff" * 100_000,
        b"\x1c" * 100_000,
        b"\x36\x01",  # -1 rows
    ],
)
def test_a_footer_that_claims_anything_comes_to_an_end(tmp_path: Path, footer: bytes) -> None:
    (tmp_path / "claims").write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    assert parquet_rows(tmp_path / "claims") is None


def test_what_is_no_parquet_file_has_no_number(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pl.DataFrame({"a": [1, 2]}).write_parquet(whole)
    for name, data in {"empty": b"", "text": b"a,b\n" * 9, "cut": whole.read_bytes()[:-20]}.items():
        (tmp_path / name).write_bytes(data)
        assert parquet_rows(tmp_path / name) is None
    assert parquet_rows(tmp_path / "missing") is None
