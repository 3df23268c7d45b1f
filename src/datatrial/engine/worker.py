"""A worker process: it builds one step after another, and keeps between them what is dear to load.

Started by `engine.local`, which calls `main` in a new process; the two talk over a socket.
"""

import errno
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from datatrial.errors import DatatrialError
from datatrial.records import Runtime

PROGRESS_SECONDS = 0.2  # at most one progress message in this time


@dataclass(frozen=True)
class Greeting:
    """What a worker is told first."""

    store: Path
    device: str
    path: list[str]  # the parent's sys.path, so that its tasks can be unpickled here
    parent: int


@dataclass(frozen=True)
class Reply:
    """What a worker says of the step it has."""

    change: str  # "progress", "done" or "failed"
    message: str = ""
    done: float = 0
    total: float = 0


def main(fd: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    conn: Connection[Reply, object] = Connection(fd)
    greeting = conn.recv()
    assert isinstance(greeting, Greeting)
    sys.path[:] = greeting.path
    threading.Thread(target=_leave_with_parent, args=(greeting.parent,), daemon=True).start()
    from datatrial.engine.store import Store, Work

    store = Store(greeting.store)
    while True:
        try:
            work = conn.recv()
        except EOFError:
            return
        assert isinstance(work, Work)
        runtime = Runtime(greeting.device, _Progress(conn), store.root / "cache")
        with _output_to(store.log(work)):
            try:
                store.build(work, runtime)
                reply = Reply("done")
            except Exception as error:
                traceback.print_exc()
                reply = Reply("failed", explain(error))
        conn.send(reply)


class _Progress:
    """Sends progress to the parent, not too often."""

    def __init__(self, conn: "Connection[Reply, object]"):
        self.conn = conn
        self.last = 0.0

    def __call__(self, done: float, total: float, what: str) -> None:
        now = time.monotonic()
        if now - self.last >= PROGRESS_SECONDS or done >= total:
            self.last = now
            self.conn.send(Reply("progress", what, done, total))


def explain(error: BaseException) -> str:
    """An error in one line for people; the traceback is in the step's log."""
    if isinstance(error, DatatrialError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({error.filename or 'the store'}): free some space, then run again to go on"
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"no access to {error.filename or 'the store'}: {error.strerror}"
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}"


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Send everything that this process prints, C code included, to the end of the step's log."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = {stream: os.dup(stream) for stream in (1, 2)}
    with log.open("ab", buffering=0) as file:
        for stream in before:
            os.dup2(file.fileno(), stream)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, saved in before.items():
            os.dup2(saved, stream)
            os.close(saved)


def _leave_with_parent(parent: int) -> None:
    """End this process when its parent is gone, even one that was killed and could not say so."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
