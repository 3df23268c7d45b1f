"""What the report knows of a data set: its card, one row to look at, and what the audits found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datatrial.records import DataCard, Fact, FactTable, read_json
from datatrial.tables import Table
from datatrial.text.rows import parts

ORDER = ("lengths", "duplicates", "languages", "contamination", "comparisons", "diversity", "groups")
# Columns of the audits' tables that quote rows or items, by kind; of kinds that are not ours any might.
QUOTES = {
    "contamination": ("it begins",),
    "diversity": ("first two words",),
    "duplicates": ("prompt", "the first of them begins"),
}
EXAMPLE = 700  # characters of a text that are shown


@dataclass(frozen=True)
class Audited:
    """What one kind of audit found."""

    title: str
    facts: list[Fact]
    tables: list[FactTable]
    notes: list[str]

    def fact(self, name: str) -> float | int | str | None:
        return next((fact.value for fact in self.facts if fact.name == name), None)

    def table(self, title: str) -> FactTable | None:
        return next((table for table in self.tables if table.title == title), None)

    def redacted(self, kind: str) -> "Audited":
        """The same without what quotes a text; of a kind that is not ours, its numbers alone."""
        if kind in ORDER:
            return replace(self, tables=[_without(table, QUOTES.get(kind, ())) for table in self.tables])
        numbers = [fact for fact in self.facts if not isinstance(fact.value, str)]
        return replace(self, facts=numbers, tables=[], notes=[])


@dataclass(frozen=True)
class DataSummary:
    """A data set as the report shows it."""

    name: str
    card: DataCard
    example: Mapping[str, str]  # the texts of one row by what they are
    audits: Mapping[str, Audited] = field(default_factory=dict)  # by kind; empty where nothing was trained on it

    @classmethod
    def read(cls, name: str, result: Path, audit: Path | None) -> "DataSummary":
        table = Table.read(result)
        return cls(name, table.card, _example(table), read_audit(audit) if audit else {})

    def redacted(self) -> "DataSummary":
        """The same without the texts of any row."""
        drops = [replace(drop, sample=[]) for drop in self.card.drops]
        audits = {kind: audit.redacted(kind) for kind, audit in self.audits.items()}
        return replace(self, card=replace(self.card, drops=drops), example={}, audits=audits)


def read_audit(result: Path) -> dict[str, Audited]:
    """What the audits of a data set found, by kind, in the order of reading; kinds of other packages last."""
    found = read_json(result / "audit.json")
    ordered = [kind for kind in ORDER if kind in found]
    return {kind: _audited(found[kind]) for kind in [*ordered, *(kind for kind in found if kind not in ORDER)]}


def _audited(found: Mapping[str, Any]) -> Audited:
    facts, tables = [Fact(**fact) for fact in found["facts"]], [FactTable(**table) for table in found["tables"]]
    return Audited(found["title"], facts, tables, found["notes"])


def _without(table: FactTable, columns: Sequence[str]) -> FactTable:
    kept = [at for at, column in enumerate(table.columns) if column not in columns]
    return replace(
        table, columns=[table.columns[at] for at in kept], rows=[[row[at] for at in kept] for row in table.rows]
    )


def _example(table: Table) -> dict[str, str]:
    """The first row; of a data set that lies on disk no other is read."""
    first = table.frame.lazy().head(1).collect()
    if first.is_empty():
        return {}
    found = {what.removesuffix("s"): some[0] for what, some in parts(first, table.card.form).items()}
    return {what: _cut(text) for what, text in found.items() if text is not None}


def _cut(text: str) -> str:
    return text if len(text) <= EXAMPLE else text[:EXAMPLE].rstrip() + " …"
