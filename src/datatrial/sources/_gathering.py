"""Rows gathered into a table while their files are read, with what had to be left out."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from datatrial.errors import DataError
from datatrial.records import Drop, Form, SourceFacts
from datatrial.sources._bounds import MOST_COLUMNS, Row
from datatrial.sources._conversations import UnusableError
from datatrial.sources._files import place, rows_of
from datatrial.tables import SAMPLE_OF_DROPPED, SCHEMAS, Table

BATCH = 4096  # rows held as Python objects before they become columns, a tenth of the size


class Drops:
    """Rows left out so far, counted by reason, with a few of each kept."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._samples: dict[str, list[str]] = {}

    def add(self, reason: str, row: Row) -> None:
        self._rows[reason] = self._rows.get(reason, 0) + 1
        sample = self._samples.setdefault(reason, [])
        if len(sample) < SAMPLE_OF_DROPPED:
            sample.append(json.dumps(row, ensure_ascii=False, default=str))

    def listed(self) -> list[Drop]:
        return [Drop(reason, rows, self._samples[reason]) for reason, rows in self._rows.items()]


class Gathering:
    """The rows of one form from one or more files; `table` hands them over."""

    def __init__(self, form: Form):
        self.form = form
        self._frames: list[pl.DataFrame] = []
        self._types: dict[str, set[type]] = {}  # of the values of each metadata column, in all batches
        self._drops = Drops()

    def read(self, path: Path, parse: Callable[[Row], Mapping[str, Any]]) -> None:
        """Add a file's rows, as `parse` makes them: the form's columns, and any others as metadata.

        Rows for which it raises UnusableError are counted under that reason.
        Raises: DataError with the line of the row for which `parse` raised it.
        """
        batch: list[Mapping[str, Any]] = []
        for number, row in rows_of(path):
            try:
                batch.append(self._flat(parse(row)))
            except UnusableError as reason:
                self._drops.add(str(reason), row)
            except DataError as error:
                raise DataError(f"{place(path, number)}: {error}") from None
            if len(batch) == BATCH:
                self._add(batch, path)
                batch.clear()
        self._add(batch, path)

    def _flat(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row with nested metadata as text: as Python objects they take twenty times as much."""
        schema = SCHEMAS[self.form]
        nested = {name: _text(v) for name, v in row.items() if isinstance(v, dict | list) and name not in schema}
        return {**row, **nested} if nested else row

    def table(self, source: SourceFacts) -> Table:
        """All rows that were read, in the files' order, with what is known of their source."""
        # Diagonal: a metadata column may be missing in some batches. No copy is made.
        dtypes = {name: _dtype(types) for name, types in self._types.items()}
        frames = [
            frame.with_columns(_as(frame[name], dtypes[name]) for name in frame.columns if name in dtypes)
            for frame in self._frames
        ]
        rows = pl.concat(frames, how="diagonal", rechunk=False)
        return Table.of(rows, self.form, drops=self._drops.listed(), source=source)

    def _add(self, batch: list[Mapping[str, Any]], path: Path) -> None:
        schema = SCHEMAS[self.form]
        columns = [_required(name, [row[name] for row in batch], dtype) for name, dtype in schema.items()]
        for name in dict.fromkeys(name for row in batch for name in row if name not in schema):
            values = [row.get(name) for row in batch]
            types = _types(values)
            self._types.setdefault(name, set()).update(types)
            if len(self._types) > MOST_COLUMNS:
                raise DataError(f"{path}: its rows have more than {MOST_COLUMNS} different columns: leave some out")
            columns.append(_metadata(name, values, types))
        self._frames.append(pl.DataFrame(columns))


def _required(name: str, values: list[Any], dtype: pl.DataType) -> pl.Series:
    if name != "messages" or not values or not all(values):
        return pl.Series(name, values, dtype=dtype)
    # From flat columns: as nested Python objects, conversations take polars 40 times as long.
    turns = [(number, turn["role"], turn["content"]) for number, turns in enumerate(values) for turn in turns]
    flat = pl.DataFrame(turns, schema={"row": pl.Int64, "role": pl.String, "content": pl.String}, orient="row")
    return flat.group_by("row", maintain_order=True).agg(pl.struct("role", "content").alias(name))[name]


def _types(values: list[Any]) -> set[type]:
    types = {type(value) for value in values if value is not None}
    if int in types and any(abs(value) >= 2**63 for value in values if isinstance(value, int)):
        types.add(str)  # no column of numbers holds it exactly
    return types


def _dtype(types: set[type]) -> type[pl.DataType]:
    """Of a column whose values have these types: what is not all truth values or all numbers is text."""
    fitting: tuple[tuple[type[pl.DataType], set[type]], ...] = (
        (pl.Boolean, {bool}),
        (pl.Int64, {int}),
        (pl.Float64, {int, float}),
    )
    return next((dtype for dtype, of in fitting if types and types <= of), pl.String)


def _metadata(name: str, values: list[Any], types: set[type]) -> pl.Series:
    """Values of one type as they are; others as text (nested values as JSON) that still says which was which."""
    if not types:
        return pl.Series(name, values, dtype=pl.Null)  # takes on the type of the other batches
    dtype = _dtype(types) if len(types) == 1 else pl.String
    return pl.Series(name, [_text(value) for value in values] if dtype == pl.String else values, dtype=dtype)


def _as(values: pl.Series, dtype: type[pl.DataType]) -> pl.Series:
    """A batch's values as the type of all batches, the same as if all rows had been one batch."""
    if values.dtype == pl.Float64 and dtype == pl.String:
        # polars writes 1e+22 in another way
        return pl.Series(values.name, [_text(value) for value in values], dtype=dtype)
    return values.cast(dtype)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
