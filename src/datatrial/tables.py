"""Data sets as they pass through curation, and as they lie on disk: `rows.parquet` with `card.json` beside it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from datatrial.errors import DataError
from datatrial.records import FORMS, DataCard, Drop, Form, read_json

_TEXT, _TEXTS = pl.String(), pl.List(pl.String)
_MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
SCHEMAS: Mapping[Form, Mapping[str, pl.DataType]] = {
    "demonstrations": {"messages": _MESSAGES},
    "comparisons": {"messages": _MESSAGES, "chosen": _TEXT, "rejected": _TEXT},
    "documents": {"text": _TEXT},
    "questions": {"question": _TEXT, "choices": _TEXTS, "answer": pl.Int64()},
    "statements": {"text": _TEXT, "harmful": pl.Boolean(), "toxicity": pl.Float64(), "groups": _TEXTS},
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
        """A table whose required columns have been cast to the form's schema; `about` are further fields of the card.

        Raises: DataError when a required column is missing, of another type, or empty (null) in some row.
        """
        missing = [c for c in SCHEMAS[form] if c not in rows.columns]
        if missing:
            raise DataError(f"{form} need the columns {', '.join(SCHEMAS[form])}; missing: {', '.join(missing)}")
        rows = rows.with_columns(_cast(rows, name, dtype, form) for name, dtype in SCHEMAS[form].items())
        return cls(rows, DataCard(form=form, rows=rows.height, **about))

    def keep(self, mask: "pl.Series | pl.Expr", reason: str) -> "Table":
        """The rows where the mask is true; the others are counted under the reason, and a few are kept to look at.

        A mask that is null for a row (a condition on an empty value) drops it.
        """
        marked = self.rows.with_columns(mask.cast(pl.Boolean).fill_null(False).alias("__keep"))
        dropped = marked.filter(~pl.col("__keep")).drop("__keep")
        if dropped.is_empty():
            return self
        kept = marked.filter("__keep").drop("__keep")
        sample = [
            json.dumps(row, ensure_ascii=False, default=str) for row in dropped.head(SAMPLE_OF_DROPPED).to_dicts()
        ]
        drop = Drop(reason, dropped.height, sample)
        return Table(kept, replace(self.card, rows=kept.height, drops=[*self.card.drops, drop]))

    def write(self, out: Path) -> None:
        self.rows.write_parquet(out / "rows.parquet")
        (out / "card.json").write_text(json.dumps(asdict(self.card), indent=2, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def read(cls, result: Path) -> "Table":
        card = read_json(result / "card.json")
        drops = [Drop(**drop) for drop in card.pop("drops")]
        return cls(pl.read_parquet(result / "rows.parquet"), DataCard(**card, drops=drops))


def _cast(rows: pl.DataFrame, name: str, dtype: pl.DataType, form: Form) -> pl.Series:
    try:
        column = rows.select(pl.col(name).cast(dtype)).to_series()  # unlike Series.cast, this drops further fields
    except pl.exceptions.PolarsError as error:
        what = str(error).partition("\n")[0]
        raise DataError(f"{form}: the column {name!r} should be {dtype}, not {rows[name].dtype} ({what})") from None
    if column.null_count():
        first = int(column.is_null().arg_max() or 0) + 1
        raise DataError(
            f"{form}: the column {name!r} is empty (null) in {column.null_count()} rows, first in row {first}; "
            "fill them in or leave those rows out"
        )
    return column
