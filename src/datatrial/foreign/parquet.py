"""Parquet files read a few thousand rows at a time, however large their row groups are, in bounded memory."""

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from rich.filesize import decimal

from datatrial import regular_files
from datatrial.errors import DataError, first_line
from datatrial.foreign.packed import Held
from datatrial.regular_files import LONGEST_LINE

BATCH = 8192  # rows held at a time, at most
_HELD = 2**28  # bytes held at a time where rows are long, as far as the file says how long they are
_VALUE = 16  # bytes that a value counts for at least: of nothing, too, there can be too much
_MOST_VALUES = 2**26  # held at a time; in Python they take 2 GB
_DECODED = 2**31  # bytes that decoding a batch may take: some bytes of Parquet can stand for any number of others
_BUFFER = 2**20  # bytes read from disk at a time and column
_ALLOWED = resource.getrlimit(resource.RLIMIT_DATA)


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A file, with what goes wrong while it is read told of it.

    Raises: DataError when it cannot be read, is no Parquet file, cut off or corrupt, or takes more than some memory.
    """
    try:
        with regular_files.opened(path), _bounded():
            file = pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
        with file:
            yield file
    except MemoryError as error:  # pyarrow's own, too
        raise DataError(
            f"{path}: to read a few of its rows takes more than {_DECODED >> 30} GiB of memory, which texts do not: "
            "fetch or write it again"
        ) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
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


def batches(file: pq.ParquetFile, path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of an opened file, of all columns or some, at most `BATCH` at a time.

    Raises: DataError when it stands for more than it can hold of texts; what else is raised, `opened` makes one of.
    """
    counted = Held(path)
    decoded = file.iter_batches(_rows_at_a_time(file.metadata), columns=list(columns) if columns else None)
    while True:
        with _bounded():
            if (batch := next(decoded, None)) is None:
                return
            batch.validate(full=True)  # pyarrow takes for text whatever bytes there are
        parts = [part for column in batch.columns for part in _parts(column)]
        if any(map(_is_too_long, parts)):
            raise DataError(f"{path}: a text in it is longer than {decimal(LONGEST_LINE)}, which no row of texts is")
        values = sum(map(len, parts))
        if values > _MOST_VALUES:
            raise DataError(f"{path}: {batch.num_rows} of its rows hold {values:,} values, which no texts do")
        counted.more(max(batch.nbytes, _VALUE * values))
        yield batch


def _rows_at_a_time(about: pq.FileMetaData) -> int:
    size: int = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
    rows: int = about.num_rows
    return min(BATCH, max(1, _HELD * rows // max(1, size)))


def _parts(array: pa.Array) -> Iterator[pa.Array]:
    """An array, and those that its lists and structs are made of."""
    yield array
    if pa.types.is_nested(array.type):
        parts = array.flatten()
        for part in parts if isinstance(parts, list) else [parts]:
            yield from _parts(part)


def _is_too_long(array: pa.Array) -> bool:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    if not any(is_kind(array.type) for is_kind in kinds):
        return False
    longest: int = pc.max(pc.binary_length(array)).as_py() or 0
    return longest > LONGEST_LINE
