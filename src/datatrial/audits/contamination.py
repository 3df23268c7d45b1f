"""`kind: contamination`: which items of the study's benchmarks are in the rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from datatrial.audits._base import Audit, Row
from datatrial.records import Fact, FactTable, Findings, PartOfStudy, Runtime

if TYPE_CHECKING:
    import polars as pl

    from datatrial.tables import Table
    from datatrial.text.overlap import Overlap

NAMED = 40  # items that are named at most


class Contamination(Audit):
    """Items of each benchmark that some row covers by more than half of their words (`datatrial.text.overlap`)."""

    title: ClassVar[str] = "Overlap with the benchmarks"

    def reads(self) -> Mapping[str, PartOfStudy]:
        return {"benchmark": PartOfStudy("benchmarks")}

    def look(self, table: "Table", inputs: Mapping[str, Path], runtime: Runtime) -> Findings:
        from datatrial.text.overlap import Overlap, benchmark_items

        items = benchmark_items(inputs)
        if items.is_empty():
            return Findings(notes=["The study has no benchmark whose items could be looked for."])
        overlap = Overlap.of(items)
        return _findings(items, overlap, _matches(table, overlap, runtime))


def _matches(table: "Table", overlap: "Overlap", runtime: Runtime) -> "pl.DataFrame":
    """Every row and item that overlap (`Overlap.find`), over all rows: what is rare is not found in a sample."""
    import polars as pl

    from datatrial.text.rows import text_slices

    found, done = [], 0
    for texts in text_slices(table.rows, table.card.form):
        runtime.progress(done, table.height, "rows")
        found.append(overlap.find(texts).with_columns(pl.col("row") + done))
        done += texts.len()
    return pl.concat(found)


def _findings(items: "pl.DataFrame", overlap: "Overlap", matches: "pl.DataFrame") -> Findings:
    from datatrial.text.overlap import FEWEST_WORDS, SHARE, N

    names = items["benchmark"].unique(maintain_order=True).to_list()
    rows: list[Row] = []
    for name in names:
        of, hit = items.filter(items["benchmark"] == name), matches.filter(matches["benchmark"] == name)
        found = hit["item"].n_unique()
        rows.append([name, of.height, found, found / of.height, hit["row"].n_unique()])
    rows.sort(key=lambda row: -int(row[2] or 0))
    found = matches.select("item").n_unique()
    facts = [
        Fact("items looked for", items.height),
        Fact("items found", found),
        Fact("of the items", found / items.height, "%"),
    ]
    tables = []
    if found:
        some = [row for row in rows if row[2]]
        rest = len(rows) - len(some)
        clean = f"Other benchmarks of whose items none was found: {rest}." if rest else ""
        tables.append(FactTable("By benchmark", ["benchmark", "items", "found", "found, %", "rows"], some, clean))
        tables.append(_named(items, matches))
    notes = [
        f"An item is found when one row covers more than {SHARE:.0%} of its words (or of its question's) in runs of "
        f"{N} words that both have."
    ]
    if overlap.too_short:
        notes.append(f"{overlap.too_short:,} items have under {FEWEST_WORDS} words: too few to be looked for.")
    return Findings(facts, tables, notes, sorted(matches["item"].unique()))


def _named(items: "pl.DataFrame", matches: "pl.DataFrame") -> FactTable:
    """Each item found, with the row that covers most of it."""
    from datatrial.audits._texts import beginning

    best = matches.sort("share", "row", "item", descending=[True, False, False])
    best = best.unique("item", keep="first", maintain_order=True)
    texts = dict(items.select("item", "text").iter_rows())
    rows: list[Row] = [
        [item.split("/", 2)[2], row + 1, share, beginning(texts[item])]
        for row, item, _, share in best.head(NAMED).iter_rows()
    ]
    note = f"The {NAMED} with the largest share, of {best.height:,}." if best.height > NAMED else ""
    return FactTable("The items", ["item", "row", "covered, %", "it begins"], rows, note)
