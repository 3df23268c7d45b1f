"""A redacted report: every number, and no text of an item, an answer or a row."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.audits._base import Audit
from datatrial.records import Drop, Fact, FactTable, Runtime, read_json
from datatrial.report._data_sets import Audited
from datatrial.report.page import Report
from datatrial.tables import Table
from tests.report.fiction import Fiction
from tests.report.packed import unpacked
from tests.report.test_report_page import read

MARK = "quenbolith"  # in every text that is planted, and in nothing of ours
KINDS = ("comparisons", "contamination", "diversity", "duplicates", "languages")


def marked(text: str | None) -> str | None:
    """A text long enough to be found in a benchmark, that begins with the mark."""
    return None if text is None else f"{MARK} {MARK} of the seven orchards and the nine hills says {text}"


def plant(fiction: Fiction) -> None:
    """Put the mark into every text of items, answers, rows and dropped rows, and audit the rows."""
    for run in fiction.runs:
        for name in ("items", "scores"):
            file = fiction.inputs[run.input] / f"{name}.parquet"
            if file.exists():
                _with_marks(pl.read_parquet(file)).write_parquet(file)
    for named in fiction.data:
        table = Table.read(fiction.inputs[named.input])
        card = replace(table.card, drops=[Drop("too short", 3, [json.dumps({"text": marked("a row")})])])
        table = Table(_with_marks(table.rows), card)
        table.write(fiction.inputs[named.input])
        items = pl.DataFrame({"item": ["quiz:1"], "text": [str(_texts(table.rows)[0])], "benchmark": ["quiz"]})
        items.write_parquet(fiction.inputs[named.input] / "texts.parquet")
        file = fiction.inputs[f"audit-{named.name}"] / "audit.json"
        found = {kind: _audited(kind, table, {"benchmark/0": fiction.inputs[named.input]}) for kind in KINDS}
        file.write_text(json.dumps({**read_json(file), **{kind: f for kind, f in found.items() if f}}))


def _with_marks(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the mark in its texts, however deep in lists and records they lie."""
    texts = {"question", "choices", "response", "target", "text", "messages", "chosen", "rejected"} & set(frame.columns)
    changed = {name: pl.Series(name, [_deep(v) for v in frame[name].to_list()], frame[name].dtype) for name in texts}
    return frame.with_columns(**changed)


def _deep(value: Any) -> Any:
    match value:
        case str():
            return marked(value)
        case list():
            return [_deep(v) for v in value]
        case dict():
            return {k: v if k == "role" else _deep(v) for k, v in value.items()}
    return value


def _texts(rows: pl.DataFrame) -> list[str]:
    return [turns[0]["content"] for turns in rows["messages"].to_list()]


def _audited(kind: str, table: Table, inputs: Mapping[str, Path]) -> dict[str, Any] | None:
    audit = Audit.of_kind(kind)()
    if audit.forms and table.card.form not in audit.forms:
        return None
    return {
        "title": audit.title,
        **asdict(audit.look(replace(table, card=replace(table.card, rows=4)), inputs, Runtime())),
    }


@pytest.fixture
def redacted(fiction: Fiction) -> tuple[Fiction, Path, Path]:
    """The study with marks in its texts, its full report, and its redacted one."""
    plant(fiction)
    full = fiction.write("full")
    fiction.redact = True
    return fiction, full, fiction.write("redacted")


def test_no_text_of_items_answers_or_rows_is_in_a_redacted_report(redacted: tuple[Fiction, Path, Path]) -> None:
    _, full, bare = redacted
    for report, expected in ((full, True), (bare, False)):
        html, _ = read(report)
        assert (MARK in html.lower()) == expected
        for block in unpacked(html).values():
            assert (MARK in json.dumps(block)) == expected
    for file in (bare / "tables").iterdir():
        assert MARK not in file.read_bytes().decode(errors="replace").lower()


def test_a_secret_that_stands_in_data_is_in_no_report(fiction: Fiction, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(fiction)
    html, _ = read(fiction.write("before"))
    blocks = unpacked(html)
    monkeypatch.setenv("ORCHARD_TOKEN", MARK)
    html, _ = read(fiction.write("after"))
    assert MARK not in html
    assert "*** of the seven orchards" in html
    assert {n: json.loads(json.dumps(b).replace(MARK, "***")) for n, b in blocks.items()} == unpacked(html)


def test_a_redacted_report_says_so_and_keeps_every_number(redacted: tuple[Fiction, Path, Path]) -> None:
    _, full, bare = redacted
    pages = [read(report)[1] for report in (full, bare)]
    assert ["This report is redacted" in page.words for page in pages] == [False, True]
    assert "Left out: 3 · too short" in pages[1].words
    assert all("covered" in page.words for page in pages)
    assert ["it begins" in page.words for page in pages] == [True, False]
    assert {f.name: f.read_bytes() for f in (full / "tables").iterdir()} == {
        f.name: f.read_bytes() for f in (bare / "tables").iterdir()
    }
    numbers = ("items", "alike", "runs", "sizes", "right")
    for one, other in zip(*(unpacked(read(report)[0]).values() for report in (full, bare)), strict=True):
        for name in set(numbers) & one.keys():
            kept = (
                [{k: v for k, v in run.items() if k != "responses"} for run in one[name]]
                if name == "runs"
                else one[name]
            )
            assert other[name] == kept


def test_of_an_audit_of_another_package_only_numbers_are_kept() -> None:
    table = FactTable("Rows", ["row", "n"], [["a row's text", 3]])
    audit = Audited("Theirs", [Fact("rows", 3), Fact("longest", "a row's text")], [table], ["a row's text"])
    assert audit.redacted("theirs") == Audited("Theirs", [Fact("rows", 3)], [], [])
    assert audit.redacted("groups") == audit


def test_reports_that_are_not_redacted_keep_their_identity(fiction: Fiction) -> None:
    assert "redact" not in fiction.report().identity()
    fiction.redact = True
    assert fiction.report().identity()["redact"] is True
    assert Report.model_fields["redact"].default is False
