"""Where processes that share a store leave each other word: small texts, and locks where there are any."""

import time
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from datatrial.files import write_at_once

BEATS = 3.0  # of a run that is going on, in which it is seen to


class Board:
    """The board of a store in a folder. Places are paths below that folder."""

    beat_seconds = 1.0  # between two words of a run that is going on
    look_seconds = 0.0  # between two looks at what it is asked

    def __init__(self, root: Path):
        self.root = root

    def put(self, place: str, text: str) -> None:
        """Leave a text, which readers find whole."""
        file = self.root / place
        file.parent.mkdir(parents=True, exist_ok=True)
        write_at_once(file, text)

    def read(self, place: str) -> str | None:
        """A text; None if there is none."""
        with suppress(FileNotFoundError):
            return (self.root / place).read_text(encoding="utf-8")
        return None

    def all(self, folder: str, ending: str) -> dict[str, str]:
        """The texts in a folder whose names end so, by what stands before that."""
        found = {path.name.removesuffix(ending): path for path in (self.root / folder).glob(f"[!.]*{ending}")}
        texts = {name: self.read(f"{folder}/{path.name}") for name, path in found.items()}
        return {name: text for name, text in texts.items() if text is not None}

    def remove(self, place: str) -> None:
        (self.root / place).unlink(missing_ok=True)

    def locked(self, place: str) -> AbstractContextManager[Any]:
        """Hold a lock, which the system lets go of when this process ends, however that is."""
        file = self.root / place
        file.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(file)

    def is_held(self, place: str) -> bool | None:
        """Whether a process holds that lock; None where that cannot be told."""
        file = self.root / place
        if not file.exists():
            return False
        try:
            with FileLock(file, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # another user's, or a store that this one may only read
            return None


class RemoteBoard(Board):
    """The board of a store at a URL, where nothing can be locked."""

    beat_seconds = look_seconds = 5.0

    def __init__(self, system: Any, base: str):
        self.system, self.base = system, base

    def put(self, place: str, text: str) -> None:
        self.system.pipe_file(f"{self.base}/{place}", text.encode())

    def read(self, place: str) -> str | None:
        with suppress(FileNotFoundError):
            return str(self.system.cat_file(f"{self.base}/{place}").decode())
        return None

    def all(self, folder: str, ending: str) -> dict[str, str]:
        try:
            paths = [path for path in self.system.find(f"{self.base}/{folder}") if path.endswith(ending)]
        except FileNotFoundError:
            return {}
        texts = {path.rpartition("/")[2]: self.read(f"{folder}/{path.rpartition('/')[2]}") for path in paths}
        return {name.removesuffix(ending): text for name, text in texts.items() if text is not None}

    def remove(self, place: str) -> None:
        with suppress(FileNotFoundError):
            self.system.rm_file(f"{self.base}/{place}")

    def locked(self, place: str) -> AbstractContextManager[Any]:
        return nullcontext()

    def is_held(self, place: str) -> bool | None:
        return None


def changing(board: Board, folder: str, ending: str, texts: dict[str, str]) -> set[str]:
    """The names of those texts that are written anew while one looks, for `BEATS` at most."""
    moving, still = set[str](), dict(texts)
    until = time.monotonic() + BEATS * board.beat_seconds
    while still and time.monotonic() < until:
        time.sleep(board.beat_seconds / 5)
        now = board.all(folder, ending)
        moving |= {name for name, text in still.items() if now.get(name, text) != text}
        still = {name: text for name, text in still.items() if name in now and name not in moving}
    return moving
