"""Tables for spreadsheets, programs, pages and papers."""

import csv
import math
from pathlib import Path

import polars as pl
import pytest

from datatrial.effects import Unevenness
from datatrial.export.tables import harmless, unevenness_table, without_nan
from datatrial.results import Results


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_a_text_that_a_spreadsheet_would_compute_is_made_harmless_and_numbers_stay(start: str, tmp_path: Path) -> None:
    name = f"{start}cmd|' /C calc'!A0"
    frame = pl.DataFrame({"group": [name, "Hill folk", ""], "estimate": [-0.5, 1.0, None], "items": [-1, 2, 3]})
    harmless(frame).write_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == [f"'{name}", "Hill folk", ""]
    assert [row["estimate"] for row in rows] == ["-0.5", "1.0", ""]
    assert [row["items"] for row in rows] == ["-1", "2", "3"]


def test_a_number_that_could_not_be_computed_is_empty() -> None:
    assert without_nan(pl.DataFrame({"p": [math.nan, 0.5]}))["p"].to_list() == [None, 0.5]


def test_unevenness_is_told_in_points() -> None:
    one = Unevenness("careful", "base", "safety", 8, 3, 0.0123, 0.004, "Tinkers", "Hill folk", 0.01, 0.0207)
    [row] = unevenness_table([one]).rows
    assert row == ("careful − base", "safety", "8", "1.2", "0.4", "Tinkers", "Hill folk", "0.021")


@pytest.mark.slow
def test_every_table_is_there_in_every_form_and_says_the_same(exported: Path, results: Results) -> None:
    names = {"benchmarks", "safety", "contrasts", "claims", "unevenness"}
    found = {path.name for path in (exported / "tables").iterdir()}
    assert found == {f"{name}.{kind}" for name in names for kind in ("csv", "parquet", "md", "tex")}
    for name in names:
        parquet = pl.read_parquet(exported / "tables" / f"{name}.parquet")
        assert pl.read_csv(exported / "tables" / f"{name}.csv", infer_schema_length=None).height == parquet.height
    computed = pl.read_parquet(exported / "tables" / "contrasts.parquet")
    assert computed["estimate"].to_list() == results.contrasts.filter(~pl.col("declared"))["estimate"].to_list()
    claims = (exported / "tables" / "claims.tex").read_text()
    assert r"Pairs help \textbar{} a \textless{}lot\textgreater{}: undecided" in claims
    assert r"careful+pairs $-$ careful" in claims
