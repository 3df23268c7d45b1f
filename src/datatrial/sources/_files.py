"""Reading rows from JSONL, JSON, CSV and Parquet files, one after another, each with the number of its line."""

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from datatrial.errors import DataError, quoted
from datatrial.foreign.packed import content
from datatrial.regular_files import LONGEST_LINE, TOO_LONG
from datatrial.sources._bounds import MOST_COLUMNS, TOO_MANY, BadRowError, Row
from datatrial.sources._json import json_rows

Numbered = Iterator[tuple[int, Row]]


def rows_of(path: Path) -> Numbered:
    """The rows of a file (.jsonl, .json, .csv, each also with .gz, or .parquet) with their 1-based line numbers.

    A row of a Parquet file has a 1-based row number instead. All are streamed.
    Raises: DataError naming the file, the line and the fix, also when the file holds no rows.
    """
    read = _READERS[file_type(path)]
    rows = 0
    try:
        for rows, (number, row) in enumerate(read(path), start=1):  # noqa: B007 (counts for after the loop)
            if len(row) > MOST_COLUMNS:
                raise BadRowError(number, TOO_MANY.format(len(row)))
            yield number, row
    except BadRowError as error:
        raise DataError(f"{place(path, error.number)}: {error}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); fetch or write it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if not rows:
        raise DataError(f"{path}: holds no rows; give a file with at least one")


def file_type(path: Path) -> str:
    """One of the types of file that are understood, such as ".jsonl", from a file's name.

    Raises: DataError for any other name.
    """
    name = path.name.lower()
    kind = Path(name.removesuffix(".gz")).suffix
    if kind not in _READERS or (kind == ".parquet" and name.endswith(".gz")):
        raise DataError(f"{path}: not a kind of file that can be read; use .jsonl, .json, .csv (or .gz) or .parquet")
    return kind


def place(path: Path, number: int) -> str:
    """Where a row is, as people look for it."""
    return f"{path}, {'row' if file_type(path) == '.parquet' else 'line'} {number}"


def repository_file(folder: Path, name: str, repository: str) -> Path:
    """A file of a hub repository, or of the directory that stands in for it.

    Raises: DataError naming the file and where it was sought.
    """
    path = folder / name
    if not path.is_file():
        raise DataError(f"{repository} has no file {name} (sought in {folder}): a partial mirror? add the file there")
    return path


def _json_rows(path: Path) -> Numbered:
    with content(path) as file:
        yield from json_rows(file)


def _csv_rows(path: Path) -> Numbered:
    csv.field_size_limit(LONGEST_LINE)  # its own limit of 131,072 characters is shorter than many a conversation
    number = 1
    with content(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        lines = _Lines(text)
        reader = csv.reader(lines, strict=True)
        try:
            header = _header(next(reader, []))
            while True:
                number, lines.held = reader.line_num + 1, 0
                if (cells := next(reader, None)) is None:
                    return
                if len(cells) not in (0, len(header)):
                    what = f"{len(cells)} cells, but the header has {len(header)} columns"
                    raise BadRowError(number, f"{what}; put cells that hold a comma or a line break in double quotes")
                if cells:
                    yield number, dict(zip(header, cells, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadRowError(number, f"not CSV in UTF-8 ({error})") from None


class _Lines:
    """The lines of a text; those that are read for one row may not be long."""

    def __init__(self, text: io.TextIOWrapper):
        self._text, self.held = text, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(LONGEST_LINE + 1)
        self.held += len(line)
        if self.held > LONGEST_LINE:
            raise csv.Error(TOO_LONG)
        if not line:
            raise StopIteration
        return line


def _header(names: list[str]) -> list[str]:
    if len(names) > MOST_COLUMNS:
        raise BadRowError(1, TOO_MANY.format(len(names)))
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise BadRowError(1, f"a column name occurs twice: {quoted(twice[0])}")
    return names


def _parquet_rows(path: Path) -> Numbered:
    from datatrial.sources._parquet import batches

    yield from enumerate((row for frame in batches(path) for row in frame.iter_rows(named=True)), start=1)


_READERS: dict[str, Callable[[Path], Numbered]] = {
    ".jsonl": _json_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}
