"""The report's tables for spreadsheets, programs, pages and papers."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from datatrial.effects import Unevenness
from datatrial.export._finished import Finished
from datatrial.export.latex import latex
from datatrial.report.tables import (
    TextTable,
    benchmark_table,
    claims_table,
    contrasts_table,
    csv_table,
    harmless,
    safety_table,
)
from datatrial.report.wording import number, probability

if TYPE_CHECKING:
    import polars as pl


def write(finished: Finished, out: Path) -> None:
    """Each table as CSV and Parquet, with every digit, and in words as Markdown and LaTeX, under `tables/`."""
    folder = out / "tables"
    folder.mkdir()
    for name, (frame, texts) in _tables(finished).items():
        if frame.is_empty():
            continue
        empty = without_nan(frame)
        empty.write_parquet(folder / f"{name}.parquet")
        harmless(empty).write_csv(folder / f"{name}.csv")
        (folder / f"{name}.md").write_text("\n".join(t.markdown() for t in texts), encoding="utf-8")
        labels = [f"tab:{name}" + (f"-{_label(t.title)}" if len(texts) > 1 else "") for t in texts]
        shown = [latex(table, label) for table, label in zip(texts, labels, strict=True)]
        (folder / f"{name}.tex").write_text("\n".join(shown), encoding="utf-8")


def _tables(finished: Finished) -> "dict[str, tuple[pl.DataFrame, list[TextTable]]]":
    import polars as pl

    analysis = finished.findings.analysis
    safety = [safety_table(analysis, benchmark) for benchmark in analysis.safety_benchmarks]
    texts = {
        "benchmarks": [benchmark_table(analysis)],
        "safety": safety,
        "contrasts": [contrasts_table(analysis)],
        "claims": [claims_table(analysis)],
    }
    found = {name: (csv_table(analysis, name), tables) for name, tables in texts.items()}
    uneven = pl.DataFrame([asdict(row) for row in analysis.unevenness], infer_schema_length=None)
    return {**found, "unevenness": (uneven, [unevenness_table(analysis.unevenness)])}


def unevenness_table(uneven: Sequence[Unevenness]) -> TextTable:
    """Whether the change of safety between two arms differs from group to group, in points."""
    rows = [
        (
            f"{row.arm} − {row.against}",
            row.benchmark,
            str(row.groups),
            number(row.spread, 100),
            number(row.noise, 100),
            row.lowest,
            row.highest,
            probability(row.p_adjusted).removeprefix("= "),
        )
        for row in uneven
    ]
    columns = ("contrast", "benchmark", "groups", "spread", "noise", "lowest change", "highest change", "adjusted p")
    note = (
        "Points. Spread is the standard deviation over groups of the change of safety; noise is what it would be if "
        "all groups changed alike. p is for that, adjusted over these rows (Benjamini–Hochberg)."
    )
    return TextTable("Unevenness over groups", columns, tuple(rows), note)


def without_nan(frame: "pl.DataFrame") -> "pl.DataFrame":
    """The frame with nothing where a number could not be computed."""
    import polars.selectors as cs

    return frame.with_columns(cs.float().fill_nan(None))


def _label(title: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", title.partition(": ")[2] or title).strip("-").lower()
