"""Files whose few bytes can stand for any number of others: what comes out is counted, and may not be absurd."""

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datatrial.errors import DataError
from datatrial.regular_files import opened

EXPANDS = 50  # times; text packs to a third or a tenth, answers from a template to a thirtieth, bombs to 1/1,000
ALWAYS_FINE = 2**28  # bytes that even a small file may hold


class Held:
    """Counts what a packed file turns out to hold, up to more than texts can be packed."""

    def __init__(self, path: Path):
        self._path = path
        self._left = max(ALWAYS_FINE, EXPANDS * path.stat().st_size)

    def more(self, size: int) -> None:
        """So many bytes more.

        Raises: DataError when they are too many.
        """
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
