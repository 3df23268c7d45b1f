"""OpenOrca's rows as demonstrations, made while they are read: its files are too large to hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from datatrial.errors import DataError
from datatrial.sources._conversations import names_of
from datatrial.sources._gathering import Drops
from datatrial.sources._parquet import batches, columns_of, lazy
from datatrial.tables import MESSAGES, NUMBER

TURNS = {"system_prompt": "system", "question": "user", "response": "assistant"}
SCHEMA = {NUMBER: pl.UInt32, "messages": MESSAGES, "id": pl.String, "submix": pl.String, "answered_by": pl.String}
_READS: Mapping[str, tuple[str, ...]] = {"messages": tuple(TURNS), "id": ("id",), "submix": ("id",)}
_REASONS = {"question": "an empty question", "response": "an empty answer"}


@dataclass(frozen=True)
class OrcaFile:
    """A file of the repository, and which of its rows can be used."""

    path: Path
    answered_by: str
    usable: pl.Series  # one truth value a row

    def frames(self, first: int, wanted: Sequence[str], condition: pl.Expr | None) -> Iterator[pl.DataFrame]:
        """The usable rows that meet a condition, with the columns wanted, in batches; `first` numbers the first row."""
        asked = list(dict.fromkeys(condition.meta.root_names())) if condition is not None else []
        columns = dict.fromkeys(column for name in (*asked, *wanted) for column in _READS.get(name, ()))
        start = 0
        for batch in batches(self.path, list(columns) or ["id"]):
            numbers = pl.int_range(start, start + batch.height, dtype=pl.UInt32, eager=True).alias(NUMBER) + first
            rows = batch.with_columns(numbers).filter(self.usable.slice(start, batch.height))
            start += batch.height
            if condition is not None:  # before texts are put together: of a sample, few are needed
                rows = rows.filter(self._made(rows, asked).select(condition).to_series())
            yield self._made(rows, wanted)

    def _made(self, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        return pl.DataFrame([self._column(name, rows) for name in names])

    def _column(self, name: str, rows: pl.DataFrame) -> pl.Series:
        match name:
            case "messages":
                return _messages(rows)
            case "submix":
                return rows["id"].cast(pl.String).str.extract("^([^.]*)[.]").alias("submix")
            case "answered_by":
                return pl.repeat(self.answered_by, rows.height, dtype=pl.String, eager=True).alias("answered_by")
        return rows[name]


def surveyed(path: Path, answered_by: str, drops: Drops, changed: str) -> OrcaFile:
    """The file after it has been read once in whole; rows without question or response are added to `drops`.

    Raises: DataError when it is corrupt, or its columns are not as expected (`changed` says what to do then).
    """
    missing = [name for name in ("id", *TURNS) if name not in (found := columns_of(path))]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r} (columns of this file: {names_of(found)}); {changed}")
    usable = [pl.Series(dtype=pl.Boolean)]
    for batch in batches(path, ["id", *TURNS]):
        for name, dtype in batch.schema.items():
            if dtype not in (pl.String, pl.Null):
                raise DataError(f"{path}: the column {name!r} should be text, not {dtype.base_type()}; {changed}")
        empty = batch.select(_is_empty(name) for name in _REASONS)
        usable.append(~(empty["question"] | empty["response"]))
        for number in (~usable[-1]).arg_true():
            reason = next(why for name, why in _REASONS.items() if empty[name][number])
            drops.add(reason, batch.row(number, named=True))
    return OrcaFile(path, answered_by, pl.concat(usable))


def demonstrations(files: Sequence[OrcaFile]) -> pl.LazyFrame:
    """The usable rows of all files, one file after the other, numbered through."""

    def frames(wanted: Sequence[str], condition: pl.Expr | None) -> Iterator[pl.DataFrame]:
        first = 0
        for file in files:
            yield from file.frames(first, wanted, condition)
            first += file.usable.len()

    return lazy(SCHEMA, frames)


def _is_empty(name: str) -> pl.Expr:
    # Not strip_chars(): it looks at whole texts, where this looks at their first characters.
    return (~pl.col(name).cast(pl.String).str.contains(r"\S")).fill_null(True).alias(name)


def _messages(rows: pl.DataFrame) -> pl.Series:
    # Gathered from flat columns: concat_list of structs takes twice the time and memory.
    n = rows.height
    there = np.ones((n, len(TURNS)), dtype=bool)
    there[:, 0] = ~rows.select(_is_empty("system_prompt")).to_series().to_numpy()
    row, turn = there.nonzero()
    texts = pl.concat([rows[name].cast(pl.String) for name in TURNS], rechunk=False)
    roles = pl.Series(list(TURNS.values())).gather(turn)
    flat = pl.DataFrame({"row": row, "role": roles, "content": texts.gather(turn * n + row)})
    return flat.group_by("row", maintain_order=True).agg(pl.struct("role", "content").alias("messages"))["messages"]
