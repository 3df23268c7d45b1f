"""How much of a file is taken at once: whatever it holds, memory stays bounded."""

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datatrial.errors import DataError
from datatrial.regular_files import opened

Row = dict[str, Any]

MOST_COLUMNS = 1000  # of one data set
# Packed, text takes a third to a tenth of its room, made of a few words over and over 1/200, and a bomb 1/1,000.
EXPANDS = 200
ALWAYS_FINE = 2**30  # bytes that even a small file may hold

TOO_MANY = f"has {{}} columns; at most {MOST_COLUMNS} are read: leave some out"


class BadRowError(Exception):
    """What is wrong with the row that begins on a line."""

    def __init__(self, number: int, what: str):
        super().__init__(what)
        self.number = number


class Held:
    """Counts what a packed file turns out to hold, up to more than texts can be packed."""

    def __init__(self, path: Path):
        self._path = path
        self._left = max(ALWAYS_FINE, EXPANDS * path.stat().st_size)

    def more(self, size: int) -> None:
        """So many bytes more. Raises: DataError when they are too many."""
        self._left -= size
        if self._left < 0:
            raise DataError(
                f"{self._path}: holds more than {EXPANDS} times its size, which texts do not: unpack it and look at "
                "what it is before you use it"
            )


@contextmanager
def content(path: Path) -> "Iterator[io.BufferedReader[Any]]":
    """The bytes of a file, or those that were packed into it when its name ends with .gz.

    Raises: OSError when it cannot be opened or is no regular file; DataError while it is read, when it is a bomb.
    """
    packed = path.name.lower().endswith(".gz")
    with io.BufferedReader(_Unpacked(path), 2**17) if packed else opened(path) as file:
        yield file


class _Unpacked(io.RawIOBase):
    """What a gzip file holds."""

    def __init__(self, path: Path):
        self._packed = opened(path)
        self._file = gzip.GzipFile(fileobj=self._packed)
        self._held = Held(path)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        read = self._file.readinto(buffer)
        self._held.more(read)
        return read

    def close(self) -> None:
        self._file.close()
        self._packed.close()
        super().close()
