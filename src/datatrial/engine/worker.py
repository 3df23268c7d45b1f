"""A worker process: it builds one step after another, and keeps between them what is dear to load.

Started by `engine.local`, which calls `main` in a new process; the two talk over a socket. `engine.ray_node` does the
same on a node of a Ray cluster.
"""

import errno
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from datatrial.engine.log import kept_short
from datatrial.errors import DatatrialError
from datatrial.files import not_for_everybody
from datatrial.records import Others, Runtime, seldom
from datatrial.redaction import redact_file, redacted

if TYPE_CHECKING:
    from datatrial.engine.store import Store, Work

TAIL_LINES, TAIL_CHARACTERS = 15, 4000  # of a dead worker's log
SHOW_WHERE = signal.SIGUSR1  # has a worker print where each of its threads stands


@dataclass(frozen=True)
class Greeting:
    """What a worker is told first."""

    store: "Store"
    device: str
    share: float  # of its GPU's memory
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
    faulthandler.register(SHOW_WHERE)
    conn: Connection[Reply, object] = Connection(fd)
    greeting = conn.recv()
    assert isinstance(greeting, Greeting)
    sys.path[:] = greeting.path
    threading.Thread(target=_leave_with_parent, args=(greeting.parent,), daemon=True).start()
    from datatrial.engine.store import Work

    if greeting.share < 1:
        keep_to(greeting.share, greeting.device)
    store = greeting.store
    while True:
        try:
            work = conn.recv()
        except EOFError:
            return
        assert isinstance(work, Work)
        conn.send(build(store, work, greeting.device, conn.send))


def keep_to(share: float, device: str) -> None:
    """Let this process have no more than a share of its GPU's memory, which is all that steps then see of it."""
    if device == "cuda":
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(share)


def build(
    store: "Store", work: "Work", device: str, tell: Callable[[Reply], object], others: Others | None = None
) -> Reply:
    """Do a step, with all that is printed in its log; how it ended."""
    not_for_everybody()
    progress = seldom(lambda done, total, what: tell(Reply("progress", what, done, total)))
    try:
        with store.logged(work), _output_to(store.log(work)):
            store.build(work, Runtime(device, progress, store.root / "cache", others=others))
    except Exception as error:  # of the log, too: a disk that is full takes none
        return Reply("failed", explain(error))
    return Reply("done")


def explain(error: BaseException) -> str:
    """An error in one line for people; the traceback is in the step's log."""
    if isinstance(error, DatatrialError):
        return str(error)
    if _is_of_a_full_disk(error):
        where = getattr(error, "filename", None) or "the store"
        return f"the disk is full ({where}), or a quota is reached: free some space, then run again to go on"
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"no access to {error.filename or 'the store'}: {error.strerror}"
    first_line = (str(error).strip().splitlines() or [""])[0]
    return redacted(f"{type(error).__name__}: {first_line}")


def _is_of_a_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or what it comes of, says so; libraries that write by themselves raise errors of their own."""
    if error is None:
        return False
    full = (errno.ENOSPC, errno.EDQUOT)
    named = isinstance(error, OSError) and error.errno in full
    said = any(os.strerror(number) in str(error) for number in full)
    of_torch = "inline_container" in str(error) and any(how in str(error) for how in ("unexpected pos", "write failed"))
    return named or said or of_torch or _is_of_a_full_disk(error.__cause__ or error.__context__)


def last_words(*logs: str) -> str:
    """The last lines of the first of these logs in which anything stands."""
    lines = next((log.strip() for log in logs if log.strip()), "(empty)").splitlines()
    return redacted("\n".join(lines[-TAIL_LINES:])[-TAIL_CHARACTERS:])


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Send everything that this process prints, C code included, to the end of the step's log, and its error.

    Secrets are taken out at the end: what writes past Python, or dies, must leave its words there first.
    """
    _flush()
    with log.open("ab", buffering=0) as file:
        before = {stream: os.dup(stream) for stream in (1, 2)}
        for stream in before:
            os.dup2(file.fileno(), stream)
    try:
        with kept_short(log):
            yield
    except Exception:
        with suppress(OSError):
            traceback.print_exc()
        raise
    finally:
        _flush()
        for stream, saved in before.items():
            os.dup2(saved, stream)
            os.close(saved)
        redact_file(log)


def _flush() -> None:
    with suppress(OSError):  # a full disk is no reason to lose the worker
        sys.stdout.flush()
        sys.stderr.flush()


def _leave_with_parent(parent: int) -> None:
    """End this process when its parent is gone, even one that was killed and could not say so."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
