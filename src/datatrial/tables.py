"""Data sets as they pass through curation, and as they lie on disk: `rows.parquet` with `card.json` beside it."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from datatrial.errors import DataError
from datatrial.records import FORMS, DataCard, Drop, Form, read_json

_MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
SCHEMAS: dict[Form, dict[str, pl.DataType | type[pl.DataType]]] = {
    "demonstrations": {"messages": _MESSAGES},
    "comparisons": {"messages": _MESSAGES, "chosen": pl.String, "rejected": pl.String},
    "documents": {"text": pl.String},
    "questions": {"question": pl.String, "choices": pl.List(pl.String), "answer": pl.Int64},
    "statements": {"text": pl.String, "harmful": pl.Boolean, "toxicity": pl.Float64, "groups": pl.List(pl.String)},
}
"""The columns each form must have; further columns are metadata and travel along."""
assert SCHEMAS.keys() == FORMS.keys()

SAMPLE_OF_DROPPED = 5


@dataclass(frozen=True)
class Table:
    """Rows of one form with what is known of them."""

    rows: pl.DataFrame
    card: DataCard

    @classmethod
    def of(cls, rows: pl.DataFrame, form: Form, **about: Any) -> "Table":
        """A table whose required columns have been cast to the form's schema.

        Raises: DataError when a required column is missing.
        """
        missing = [c for c in SCHEMAS[form] if c not in rows.columns]
        if missing:
            raise DataError(f"{form} need the columns {', '.join(SCHEMAS[form])}; missing: {', '.join(missing)}")
        rows = rows.cast(SCHEMAS[form])
        return cls(rows, DataCard(form=form, rows=rows.height, **about))

    def keep(self, mask: "pl.Series | pl.Expr", reason: str) -> "Table":
        """The rows where the mask is true; the others are counted under the reason, and a few are kept to look at."""
        marked = self.rows.with_columns(mask.alias("__keep"))
        kept = marked.filter(pl.col("__keep")).drop("__keep")
        dropped = marked.filter(~pl.col("__keep").fill_null(False)).drop("__keep")
        if dropped.is_empty():
            return self
        sample = [
            json.dumps(row, ensure_ascii=False, default=str) for row in dropped.head(SAMPLE_OF_DROPPED).to_dicts()
        ]
        drop = Drop(reason, dropped.height, sample)
        return Table(kept, replace(self.card, rows=kept.height, drops=[*self.card.drops, drop]))

    def write(self, out: Path) -> None:
        self.rows.write_parquet(out / "rows.parquet")
        (out / "card.json").write_text(json.dumps(asdict(self.card), indent=2, ensure_ascii=False))

    @classmethod
    def read(cls, result: Path) -> "Table":
        card = read_json(result / "card.json")
        drops = [Drop(**drop) for drop in card.pop("drops")]
        return cls(pl.read_parquet(result / "rows.parquet"), DataCard(**card, drops=drops))
