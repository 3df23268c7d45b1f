"""The log of a step, kept short however long the step runs and whatever its libraries print."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

MOST = 8 * 2**20  # bytes; a log that grows beyond them loses its middle
FIRST, LAST = 2**20, 3 * 2**20  # bytes of the beginning and of the end that stay
LOOK_SECONDS = 0.05
_ROUNDS = 100  # of copying the end: what comes meanwhile is copied in the next; some print as fast as this copies
_NOTE = "\n... {:15} bytes were left out here: logs are kept short ...\n"
_NOTED = re.compile(re.escape(_NOTE).replace(r"\{:15\}", r" *(\d{1,15})").encode())


@contextmanager
def kept_short(log: Path) -> Iterator[None]:
    """Around what appends to a log: a thread looks at its size all the while."""
    ended = threading.Event()
    looking = threading.Thread(target=_look, args=(log, ended), daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


def _look(log: Path, ended: threading.Event) -> None:
    while not ended.wait(LOOK_SECONDS):
        shorten(log)
    shorten(log)


def shorten(log: Path) -> None:
    """Leave the middle out of a log that has grown too long, and say so in its place.

    It stays the same file: any number of processes may have it open to append to it, and be killed at any time, this
    one too. (With a pipe in between, their last words would be lost, which are those that matter.) What is lost is what
    somebody prints in the moment between the last look and the cut, or all the while as fast as this copies.
    """
    with suppress(OSError):
        if log.stat().st_size > MOST:
            _shorten(log)


def _shorten(log: Path) -> None:
    with log.open("r+b", buffering=0) as file:
        beginning = file.read(FIRST + len(_NOTE.format(0)))
        noted = _NOTED.search(beginning)
        first = noted.start() if noted else max(beginning.rfind(b"\n", 0, FIRST), 0) or FIRST
        already = int(noted[1]) - len(noted[0]) if noted else 0
        room = len(_NOTE.format(0))
        read, end = 0, first + room
        for _ in range(_ROUNDS):
            if (size := _size(file)) == read:
                break
            if anew := size - read > LAST or end > MOST - LAST:  # at first, and where much came since: its end stays
                read, end = size - LAST, first + room
            file.seek(read)
            last = file.read(LAST)
            line = last.find(b"\n") + 1 if anew else 0
            file.seek(end)
            end += file.write(last[line:])
            read += len(last)
        left_out = already + _size(file) - (end - room)
        file.seek(first)
        file.write(_NOTE.format(left_out).encode())
        file.truncate(end)


def _size(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_size
