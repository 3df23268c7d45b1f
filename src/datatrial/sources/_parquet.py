"""Parquet files as frames: OpenOrca's, and whatever else is read row by row.

polars decodes a whole row group at once, and many a file on the hub is a single one (OpenOrca's: a million rows, 4 GiB
where reading it page by page takes some 300 MiB). pyarrow reads page by page, and polars takes it from there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError
from polars.io.plugins import register_io_source

from datatrial.errors import DataError, first_line
from datatrial.foreign import parquet
from datatrial.sources._bounds import MOST_COLUMNS, TOO_MANY


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns.

    Raises: DataError when it is no Parquet file, or cut off.
    """
    with parquet.opened(path) as file:
        names: list[str] = file.schema_arrow.names
        return names


def batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """The rows of a file, of all columns or some, in frames of at most `parquet.BATCH` rows.

    Raises: DataError when it cannot be read, is no Parquet file, cut off or corrupt, or stands for more than it can
    hold of texts.
    """
    with parquet.opened(path) as file:
        if len(file.schema) > MOST_COLUMNS:
            raise DataError(f"{path}: {TOO_MANY.format(len(file.schema))}")
        for batch in parquet.batches(file, path, columns):
            try:
                frame = pl.from_arrow(batch)
            except (PolarsError, PanicException) as error:
                raise DataError(f"{path}: it has columns that cannot be read ({first_line(error)})") from error
            assert isinstance(frame, pl.DataFrame)
            yield frame


def lazy(
    schema: Mapping[str, Any], make: Callable[[Sequence[str], pl.Expr | None], Iterator[pl.DataFrame]]
) -> pl.LazyFrame:
    """A lazy frame of rows that `make` yields batch by batch: the columns asked for, of rows that meet a condition.

    Errors of `make` reach whoever collects the frame as they are.
    """

    def frames(
        columns: list[str] | None, condition: pl.Expr | None, most: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = columns or list(schema)
        if most is None:
            yield from make(wanted, condition)
            return
        for frame in make(wanted, None):  # the first so many rows, before any condition
            part = frame.head(most)
            most -= part.height
            yield part if condition is None else part.filter(condition)
            if not most:
                return

    return register_io_source(frames, schema=dict(schema))
