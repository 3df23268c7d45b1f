"""The conditions of a filter on the rows of a table, and the rows that meet them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from datatrial.curation._columns import column, columns_of, numbers
from datatrial.curation._measures import measures
from datatrial.errors import DataError
from datatrial.records import Runtime
from datatrial.tables import Table
from datatrial.text.languages import languages
from datatrial.text.rows import text_expr

if TYPE_CHECKING:
    from datatrial.curation.filter import Bounds, FieldCondition, Value


@dataclass(frozen=True)
class Condition:
    """What each row must meet."""

    values: Mapping[str, pl.Expr]  # what is computed of a row, by name
    met: pl.Expr  # of those values; null counts as no
    reason: str  # under which the rows are counted that do not meet it


def meeting(table: Table, conditions: Iterable[Condition], runtime: Runtime | None = None) -> Table:
    """The rows that meet all conditions; each other one is counted under the first that it does not meet.

    All values are computed in one pass over the rows, in which a `runtime` is told how many rows are done.
    """
    conditions = list(conditions)
    if not conditions:
        return table
    wanted = {name: value for condition in conditions for name, value in condition.values.items()}
    if runtime:
        wanted = {name: _told(value, table.height, runtime) for name, value in wanted.items()}
    values = table.values(pl.struct([value.alias(name) for name, value in wanted.items()])).struct.unnest()
    for condition in conditions:
        met = values.select(condition.met.fill_null(False)).to_series()
        table, values = table.keep(met, condition.reason), values.filter(met)
    return table


def of_column(table: Table, name: str, wanted: "FieldCondition") -> Iterator[Condition]:
    """The conditions on a column, by the settings `where.name`; a row without a value meets none.

    Raises: DataError when there is no such column, or when it cannot hold such values.
    """
    bounded = wanted.at_least is not None or wanted.at_most is not None
    values = {name: (numbers if bounded else column)(table, name, f"where.{name}")}
    value = pl.col(name)
    yield Condition(values, value.is_not_null(), f"no {name}")
    if wanted.at_least is not None:
        yield Condition(values, value >= wanted.at_least, f"{name} under {wanted.at_least:g}")
    if wanted.at_most is not None:
        yield Condition(values, value <= wanted.at_most, f"{name} over {wanted.at_most:g}")
    if wanted.among:
        yield Condition(values, _is_in(table, name, wanted.among), f"{name} not in {_listed(wanted.among)}")
    if wanted.not_in:
        yield Condition(values, ~_is_in(table, name, wanted.not_in), f"{name} in {_listed(wanted.not_in)}")
    if wanted.equals is not None:
        yield Condition(values, _is_in(table, name, (wanted.equals,)), f"{name} other than {_shown(wanted.equals)}")


def of_measure(table: Table, name: str, bounds: "Bounds | None", inputs: Mapping[str, Path]) -> Iterator[Condition]:
    """The conditions on a measure: every conversation (or answer) of a row lies within the bounds.

    Raises: DataError when the rows cannot be measured so.
    """
    if not bounds:
        return
    parts = measures(table.card.form, name, inputs)
    values = {f"{name} {number}": part for number, part in enumerate(parts)}
    what = f"{name.removeprefix('answer_')}{' in the answer' if name.startswith('answer_') else ''}"
    if bounds.at_least is not None:
        low = pl.min_horizontal(list(values))
        yield Condition(values, low >= bounds.at_least, f"fewer than {bounds.at_least:,g} {what}")
    if bounds.at_most is not None:
        high = pl.max_horizontal(list(values))
        yield Condition(values, high <= bounds.at_most, f"more than {bounds.at_most:,g} {what}")


def of_language(table: Table, codes: Sequence[str]) -> Iterator[Condition]:
    """The condition that the whole row is in one of the languages."""
    if codes:
        text = text_expr(table.card.form, "row")
        found = text.map_batches(languages, return_dtype=pl.String, is_elementwise=True)
        yield Condition({"language": found}, pl.col("language").is_in(codes), f"language other than {_listed(codes)}")


def _told(value: pl.Expr, rows: int, runtime: Runtime) -> pl.Expr:
    """The same value; the progress is told whenever some rows of it are done."""
    done = 0

    def tell(batch: pl.Series) -> pl.Series:
        nonlocal done
        done += batch.len()
        runtime.progress(done, rows, "rows")
        return batch

    return value.map_batches(tell, is_elementwise=True)


def _is_in(table: Table, name: str, values: "Sequence[Value]") -> pl.Expr:
    """Whether the column has one of the values.

    Raises: DataError when the column cannot hold one of them.
    """
    dtype = columns_of(table)[name]
    kinds: tuple[type, ...] = (str,)
    if dtype == pl.Boolean():
        kinds = (bool,)
    elif dtype.is_numeric():
        kinds = (int, float)
    for value in values:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise DataError(f"where.{name}: the column holds {dtype.base_type()}, which is never {_shown(value)}")
    return pl.any_horizontal(pl.col(name) == value for value in values)


def _listed(values: Sequence[Any], most: int = 6) -> str:
    return ", ".join(map(_shown, values[:most])) + (f" and {len(values) - most} more" if len(values) > most else "")


def _shown(value: Any) -> str:
    """A value as the study writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
