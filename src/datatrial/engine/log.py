"""The log of a step, kept short however long the step runs and whatever its libraries print."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOST = 8 * 2**20  # bytes; a log that grows beyond them loses its middle
FIRST, LAST = 2**20, 3 * 2**20  # bytes of the beginning and of the end that stay
LOOK_SECONDS = 0.2
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
    one too. (With a pipe in between, their last words would be lost, which are those that matter.) What they write in
    the milliseconds that it takes is left out, too.
    """
    with suppress(OSError), log.open("r+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= MOST:
            return
        beginning = file.read(FIRST + len(_NOTE.format(0)))
        noted = _NOTED.search(beginning)
        first = noted.start() if noted else max(beginning.rfind(b"\n", 0, FIRST), 0) or FIRST
        already = int(noted[1]) - len(noted[0]) if noted else 0
        file.seek(size - LAST)
        last = file.read(LAST)  # not up to its end: others may write as fast as this reads
        last = last[last.find(b"\n") + 1 : last.rfind(b"\n") + 1] or last  # whole lines: one may be half written
        file.seek(first + len(_NOTE.format(0)))
        file.write(last)
        end = file.tell()
        left_out = already + os.fstat(file.fileno()).st_size - first - len(last)
        file.seek(first)
        file.write(_NOTE.format(left_out).encode())
        file.truncate(end)
