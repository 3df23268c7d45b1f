"""Parquet files read a few thousand rows at a time, however large their row groups are.

polars decodes a whole row group at once, and many a file on the hub is a single one (OpenOrca's: a million rows, 4 GiB
where reading it page by page takes some 300 MiB). pyarrow reads page by page, and polars takes it from there.
"""

import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from polars.exceptions import PanicException
from polars.io.plugins import register_io_source

from datatrial.errors import DataError, first_line
from datatrial.regular_files import opened
from datatrial.sources._bounds import MOST_COLUMNS, TOO_MANY, Held

BATCH = 8192  # rows held at a time, at most
_HELD = 2**28  # bytes held at a time where rows are long, as far as the file says how long they are
_VALUE = 16  # bytes that a value counts for at least: of nothing, too, there can be too much
_MOST_VALUES = 2**26  # held at a time; in Python they take 2 GB
_DECODED = 2**31  # bytes that decoding a batch may take: some bytes of Parquet can stand for any number of others
_BUFFER = 2**20  # bytes read from disk at a time and column
_ALLOWED = resource.getrlimit(resource.RLIMIT_DATA)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with opened(path), _bounded():
            file = pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
        with file:
            if len(file.schema) > MOST_COLUMNS:
                raise DataError(f"{path}: {TOO_MANY.format(len(file.schema))}")
            yield file
    except MemoryError as error:  # pyarrow's own, too
        raise DataError(
            f"{path}: to read a few of its rows takes more than {_DECODED >> 30} GiB of memory, which texts do not: "
            "fetch or write it again"
        ) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError, PanicException) as error:
        if isinstance(error, OSError) and error.errno:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
        raise DataError(f"{path}: not a whole Parquet file ({first_line(error)}); fetch or write it again") from error


@contextmanager
def _bounded() -> Iterator[None]:
    """Around what pyarrow decodes: it fails, as on a full machine, rather than take more memory than it may.

    On Linux, which counts what a process holds; elsewhere there is no such limit.
    """
    held = getattr(psutil.Process().memory_info(), "data", None)
    if held is None or _ALLOWED[0] != resource.RLIM_INFINITY:
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (held + _DECODED, _ALLOWED[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, _ALLOWED)


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns.

    Raises: DataError when it is no Parquet file, or cut off.
    """
    with _opened(path) as file:
        names: list[str] = file.schema_arrow.names
        return names


def batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """The rows of a file, of all columns or some, in frames of at most `BATCH` rows.

    Raises: DataError when it cannot be read, is no Parquet file, cut off or corrupt, or stands for more than it can
    hold of texts.
    """
    with _opened(path) as file:
        counted = Held(path)
        decoded = file.iter_batches(_rows_at_a_time(file.metadata), columns=list(columns) if columns else None)
        while True:
            with _bounded():
                if (batch := next(decoded, None)) is None:
                    return
                batch.validate(full=True)  # else polars takes for text what is none
            values = sum(map(_values, batch.columns))
            if values > _MOST_VALUES:
                raise DataError(f"{path}: {batch.num_rows} of its rows hold {values:,} values, which no texts do")
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            counted.more(max(batch.nbytes, _VALUE * values))
            yield frame


def _rows_at_a_time(about: pq.FileMetaData) -> int:
    size: int = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
    rows: int = about.num_rows
    return min(BATCH, max(1, _HELD * rows // max(1, size)))


def _values(array: pa.Array) -> int:
    """Values in an array, with those in its lists and structs."""
    if not pa.types.is_nested(array.type):
        return len(array)
    parts = array.flatten()
    return len(array) + sum(map(_values, parts if isinstance(parts, list) else [parts]))


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
