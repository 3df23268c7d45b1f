"""The columns that a study's curation names."""

from typing import TYPE_CHECKING

from datatrial.component import did_you_mean
from datatrial.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from datatrial.tables import Table


def column(table: "Table", name: str, setting: str) -> "pl.Expr":
    """The column of that name, of single values (no lists, no messages); NaN is no value.

    Raises: DataError, naming the setting and the columns that there are, when there is none.
    """
    import polars as pl

    schema = columns_of(table)
    if name not in schema:
        suggestion = did_you_mean(name, list(schema))
        listed = "" if suggestion.startswith("known: ") else f" (columns: {', '.join(schema)})"
        raise DataError(f"{setting}: there is no column {name!r} in these {table.card.form}; {suggestion}{listed}")
    if schema[name].is_nested():
        raise DataError(
            f"{setting}: the column {name!r} holds a {schema[name].base_type()}; name one that holds single values"
        )
    return pl.col(name).fill_nan(None) if schema[name].is_float() else pl.col(name)


def numbers(table: "Table", name: str, setting: str) -> "pl.Expr":
    """The column of that name, of numbers; NaN is no value there either.

    Raises: DataError when there is no such column, or when it holds something else.
    """
    found = column(table, name, setting)
    dtype = columns_of(table)[name]
    if not dtype.is_numeric():
        raise DataError(f"{setting}: the column {name!r} holds {dtype}; numbers are needed to compare them")
    return found


def columns_of(table: "Table") -> "dict[str, pl.DataType]":
    """The columns and their types, without that which numbers rows on disk."""
    from datatrial.tables import NUMBER

    return {name: dtype for name, dtype in table.frame.collect_schema().items() if name != NUMBER}
