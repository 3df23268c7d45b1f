"""What a store holds that no kept study needs, and its removal."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

from filelock import FileLock, Timeout

from datatrial.engine.live import LIVE, REGISTERING, STUDIES, About, NotedStudy, live_keys, noted_studies
from datatrial.engine.presence import clear_away
from datatrial.engine.remote import RemoteStore
from datatrial.engine.store import Store
from datatrial.errors import StoreError

Sort = Literal["results", "interrupted steps", "half results", "damaged results", "cache", "logs and locks"]
TRASH = "trash"  # folder of what is being removed
BESIDE = {"logs", "locks", "cache", "scratch", "damaged", TRASH, LIVE, STUDIES}  # folders that are of no kind
_STEP = re.compile(r"(.+)-([0-9a-f]{16})")
_DIGEST = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Item:
    """Something in a store, and what it takes."""

    sort: Sort
    path: Path
    size: int  # bytes
    key: str = ""  # of the step that it is of, if any


@dataclass(frozen=True)
class Holding:
    """What a store holds for a study that was run on it, and for no other that is kept."""

    study: NotedStudy
    results: int
    size: int  # bytes


@dataclass(frozen=True)
class Survey:
    """What of a store can go, and what stays."""

    free: Sequence[Item]
    kept: Sequence[Item]  # results
    others: Sequence[Holding]  # of studies that are not named
    live: bool  # whether a run is going on


class Garbage:
    """What can go from the store in a folder.

    named: keys of results that stay; those that runs need which are going on do, too.
    others: whether results go, too, of studies that were run here and are not named.

    Raises: StoreError for a store at a URL.
    """

    def __init__(self, store: Store, named: Set[str], others: bool):
        if isinstance(store, RemoteStore):
            raise StoreError(
                f"{store}: nothing can be locked at a URL, so that a run which begins now could lose what it needs; "
                "while none is going on, remove folders there by hand"
            )
        self.store, self.root, self.board = store, store.root, store.board
        self.named, self.others = named, others
        self.sizes: dict[Path, int] = {}  # as far as they were looked up

    def survey(self) -> Survey:
        """Look through the store; nothing is removed."""
        results, live = list(self._results()), live_keys(self.board)
        noted = [*noted_studies(self.board), *self._of_before(results)]
        kept = self._with_referred(self.named | live)
        holdings = [self._holding(study, kept) for study in noted]
        if not self.others:
            kept = self._with_referred(kept | {key for study in noted for key in study.keys})
        stay = {key for key in results if key in kept or self._is_being_built(key)}
        items = [Item("results", self.root / key, self._size(self.root / key), key) for key in results]
        return Survey(
            [*(item for item in items if item.key not in stay), *self._left_behind(kept | stay, stay, bool(live))],
            [item for item in items if item.key in stay],
            [holding for holding in holdings if holding.results],
            bool(live),
        )

    def remove(self) -> Survey:
        """Remove what can go. It is moved aside while no run can begin; what takes long comes before and after that.

        Raises: StoreError naming what could not be removed.
        """
        self.survey()  # for the sizes
        aside = self.root / TRASH / uuid4().hex
        try:
            with self.board.locked(REGISTERING):
                clear_away(self.board)
                aside.mkdir(parents=True)
                found = self.survey()
                gone = [item for number, item in enumerate(found.free) if self._moved(item, aside / str(number))]
                self._forget({item.key for item in gone if item.sort == "results"})
                moved = list(aside.parent.iterdir())  # also by a gc that was killed
            for folder in moved:
                with suppress(FileNotFoundError):  # another gc removes it, too
                    shutil.rmtree(folder)
        except OSError as error:
            raise StoreError(f"cannot remove {error.filename}: {error.strerror or error}") from error
        return replace(found, free=gone)

    def _results(self) -> Iterator[str]:
        for record in sorted(self.root.glob("*/*/record.json")):
            kind, digest = record.parts[-3:-1]
            if kind not in BESIDE and _DIGEST.fullmatch(digest):
                yield f"{kind}/{digest}"

    def _of_before(self, results: Sequence[str]) -> Iterator[NotedStudy]:
        """What was made by versions that took no note of studies: what they were of, nobody knows."""
        with suppress(FileNotFoundError):
            since = (self.root / "store.json").stat().st_mtime
            made = {key: (self.root / key / "record.json").stat().st_mtime for key in results}
            if old := frozenset(key for key, when in made.items() if when < since):
                last = datetime.fromtimestamp(max(made[key] for key in old), UTC).isoformat(timespec="seconds")
                yield NotedStudy(About("studies of before there were notes of them"), "somebody", last, old)

    def _with_referred(self, kept: Set[str]) -> set[str]:
        """These results, and those that a model among them has its weights or its adapter in."""
        found, new = set(kept), set(kept)
        while new:
            new = {key for result in new for key in self.store.refers_to(result)} - found
            found |= new
        return found

    def _holding(self, study: NotedStudy, kept: Set[str]) -> Holding:
        own = [self.root / key for key in study.keys - kept if (self.root / key / "record.json").exists()]
        return Holding(study, len(own), sum(map(self._size, own)))

    def _left_behind(self, kept: Set[str], stay: Set[str], live: bool) -> Iterator[Item]:
        """All but results: `kept` are keys of steps that may still be done, `stay` those that have a result."""
        for path in self.root.glob("scratch/*"):
            key = _key(path.name)
            if key and (key in stay or key not in kept) and not self._is_being_built(key):
                yield Item("interrupted steps", path, self._size(path), key)
        for path in self.root.glob("*/*"):
            kind, digest = path.parent.name, path.name.removeprefix(".part-")
            if kind in BESIDE or not _DIGEST.fullmatch(digest) or not path.is_dir():
                continue
            half = path.name != digest or not (path / "record.json").exists()
            if half and not self._is_being_built(f"{kind}/{digest}"):
                yield Item("half results", path, self._size(path), f"{kind}/{digest}")
        for path in self.root.glob("damaged/*"):
            yield Item("damaged results", path, self._size(path))
        for path in [] if live else self.root.glob("cache/*/"):
            yield Item("cache", path, self._size(path))
        for path in [*self.root.glob("logs/*"), *([] if live else self.root.glob("locks/*.lock"))]:
            key = _key(path.stem)
            if key and key not in kept and not self._is_being_built(key):
                yield Item("logs and locks", path, self._size(path), key)

    def _is_being_built(self, key: str) -> bool:
        return self.board.is_held(self.store.lock_of(key)) is not False

    def _moved(self, item: Item, place: Path) -> bool:
        """Move it aside, unless somebody works on it by now."""
        lock = self.root / self.store.lock_of(item.key)
        try:
            if item.key and lock.exists():
                with FileLock(lock, timeout=0):
                    item.path.rename(place)
            else:
                item.path.rename(place)
        except (Timeout, FileNotFoundError):
            return False
        return True

    def _size(self, path: Path) -> int:
        """Bytes of a file, or of all files in a folder."""
        if path not in self.sizes:
            walked = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
            self.sizes[path] = sum(_bytes_of(file) for file in walked or [path] if not file.is_dir())
        return self.sizes[path]

    def _forget(self, gone: Set[str]) -> None:
        """Remove the notes of studies that have lost results."""
        for study in noted_studies(self.board):
            if study.keys & gone:
                self.board.remove(study.place)


def _bytes_of(file: Path) -> int:
    with suppress(FileNotFoundError):  # a run removes it in this moment
        return file.lstat().st_size
    return 0


def _key(name: str) -> str:
    """Where the result lies of a step that something is named after; empty where it is named otherwise."""
    found = _STEP.fullmatch(name)
    return f"{found[1]}/{found[2]}" if found else ""
