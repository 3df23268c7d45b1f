"""A store that fsspec reaches, such as s3://bucket/folder, with a folder of each machine as its cache.

A result is there once its `record.json` is, which is written last. Its other files are in a folder beside that, named
by the record's digest: two machines that make one result write no file of each other's. What a step reads is fetched
before it runs, and what it makes is put there afterwards; what a result's `model.json` refers to in the store comes
with it.
"""

import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from datatrial.engine.board import Board, RemoteBoard
from datatrial.engine.integrity import compare
from datatrial.engine.step import Step
from datatrial.engine.store import Record, Store, Work
from datatrial.errors import StoreError
from datatrial.files import settle, write_at_once
from datatrial.foreign.names import leads_out
from datatrial.records import Progress, Runtime, read_json, silent
from datatrial.redaction import redacted

LOG_SECONDS = 10.0  # between two copies of the log of a step that runs
UNSENT = "unsent"  # folder of names of results that were made here and are not in the store yet


def store_at(place: str | Path) -> Store:
    """The store in a folder, or the one at a URL.

    Raises: StoreError when another version of datatrial wrote it in a format that this one does not know.
    """
    store = RemoteStore(str(place)) if "://" in str(place) else Store(Path(place))
    store.check_format()
    return store


class RemoteStore(Store):
    """A store at a URL. What is in it is listed once, when that is first asked for."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        caches = Path(os.environ.get("DATATRIAL_CACHE") or "~/.cache/datatrial").expanduser()
        super().__init__(caches / "stores" / hashlib.sha256(self.url.encode()).hexdigest()[:16])

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return RemoteStore, (self.url,)  # on another machine, another cache

    def __str__(self) -> str:
        return redacted(self.url)

    @cached_property
    def _files(self) -> tuple[Any, str]:
        """The file system, and the store's place in it."""
        from fsspec.core import url_to_fs

        local = self.url.startswith(("file://", "local://"))
        try:
            # Others write to the store while this process runs, so no listing is remembered.
            system, base = url_to_fs(self.url, use_listings_cache=False, **({"auto_mkdir": True} if local else {}))
        except (ImportError, ValueError, OSError) as error:
            raise StoreError(f"cannot use the store {self.url}: {error}") from error
        return system, base.rstrip("/")

    @cached_property
    def _listed(self) -> set[str]:
        """The store's files that say what is in it: records, and notes of failures."""
        system, base = self._files
        try:
            found = [path.removeprefix(base).lstrip("/") for path in system.find(base)]
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise StoreError(f"cannot read the store {self.url}: {error}") from error
        return {path for path in found if path.endswith(("/record.json", ".failed")) and not leads_out(path)}

    def open(self) -> None:
        super().open()
        system, base = self._files
        probe = f"{base}/locks/writable-{uuid4().hex}"
        try:
            system.pipe_file(probe, b"")
            system.rm_file(probe)
            if not system.exists(f"{base}/store.json"):
                system.pipe_file(f"{base}/store.json", (self.root / "store.json").read_bytes())
        except OSError as error:
            raise StoreError(f"cannot write to the store {self.url}: {error}; name another with --store") from error

    @property
    def is_there(self) -> bool:
        system, base = self._files
        return bool(system.exists(base))

    def check_format(self) -> None:
        system, base = self._files
        try:
            self._check_format(system.cat_file(f"{base}/store.json"))
        except FileNotFoundError:
            return  # of before there were formats, or no store yet
        except OSError as error:
            raise StoreError(f"cannot read the store {self.url}: {error}") from error

    def check(self, steps: Iterable[Step]) -> Iterator[tuple[Step, str]]:
        yield from ()  # a result is compared with its checksums when it is fetched

    @property
    def board(self) -> Board:
        return RemoteBoard(*self._files)

    def mark(self) -> str:
        return ""  # a URL means the same store everywhere

    def shows(self, mark: str) -> bool:
        return True

    def unmark(self, mark: str) -> None:
        pass

    def has(self, step: Step | Work) -> bool:
        return f"{step.key}/record.json" in self._listed

    def record(self, step: Step | Work) -> Record:
        return self._records([step.key])[0]

    def records(self, kind: str) -> Iterator[tuple[str, Record]]:
        found = sorted(path.rpartition("/")[0] for path in self._listed if path.startswith(f"{kind}/"))
        yield from zip((key.partition("/")[2] for key in found), self._records(found), strict=True)

    def _records(self, keys: list[str]) -> list[Record]:
        """Records alone, without their results; those that were asked for before are in the cache."""
        system, base = self._files
        copies = {key: self.root / "records" / f"{key}.json" for key in keys}
        if absent := [key for key, copy in copies.items() if not copy.exists()]:
            texts = system.cat([f"{base}/{key}/record.json" for key in absent])
            for key in absent:
                copies[key].parent.mkdir(parents=True, exist_ok=True)
                write_at_once(copies[key], texts[f"{base}/{key}/record.json"].decode())
        return [read_json(copy) for copy in copies.values()]

    def forget(self, step: Step) -> None:
        system, base = self._files
        with suppress(FileNotFoundError):
            system.rm_file(f"{base}/{step.key}/record.json")  # first: without it there is no result
            system.rm(f"{base}/{step.key}", recursive=True)
        self._listed.discard(f"{step.key}/record.json")
        (self.root / "records" / f"{step.key}.json").unlink(missing_ok=True)
        super().forget(step)

    def at(self, key: str, progress: Progress = silent) -> Path:
        folder = self.root / key
        if not self._is_current(key) and self._is_stored(key):
            self._fetch(key, progress)
        for other in self.refers_to(key):
            self.at(other, progress)
        return folder

    def _is_stored(self, key: str) -> bool:
        if "_listed" in vars(self):
            return f"{key}/record.json" in self._listed
        system, base = self._files
        return bool(system.exists(f"{base}/{key}/record.json"))

    def _is_current(self, key: str) -> bool:
        """Whether the cache has the result. One that only names a place may have been made anew for another."""
        folder = self.root / key
        if not (folder / "record.json").exists() or self.integrity.damage(key, folder):
            return False
        names_a_place = (folder / "model.json").exists() and read_json(folder / "record.json")["externals"]
        if not names_a_place or not self._is_stored(key):
            return True
        system, base = self._files
        return bool(system.cat_file(f"{base}/{key}/record.json") == (folder / "record.json").read_bytes())

    def _fetch(self, key: str, progress: Progress) -> None:
        """Bring a result into the cache.

        Raises: StoreError when it is not what its record says; the store has it no more, so that a run makes it again.
        Also when it names a file outside of itself.
        """
        folder = self.root / key
        part = folder.with_name(f".part-{folder.name}")
        with self._locked(f"locks/fetch-{key.replace('/', '-')}.lock", progress):
            if self._is_current(key):
                return
            # Twice, for it may have been cut off on the way.
            if wrong := self._download(key, part, progress) and self._download(key, part, progress):
                self._set_aside_there(key, (part / "record.json").read_bytes())
                raise StoreError(
                    f"{self.url}/{key}: {wrong}; its record is now in damaged/: run again to have it made anew"
                )
            settle(part)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
            self.integrity.note(key, folder)
            self.integrity.keep()

    def _download(self, key: str, part: Path, progress: Progress) -> str:
        """Bring a result into a folder; what is wrong with it, if anything is."""
        system, base = self._files
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        record = system.cat_file(f"{base}/{key}/record.json")
        (part / "record.json").write_bytes(record)
        files = f"{base}/{key}/{_place_of(record)}"
        found = system.find(files)
        for number, path in enumerate(found):
            progress(number, len(found), "files fetched")
            name = path.removeprefix(f"{files}/")
            if leads_out(name):
                raise StoreError(f"{self.url}/{key} names a file outside of itself ({name!r}): delete it")
            file = part / name
            file.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(path, str(file))
        return compare(part, key.rpartition("/")[2])

    def _set_aside_there(self, key: str, record: bytes) -> None:
        """Take the record of a damaged result away, without which it is none, unless it was made again meanwhile."""
        system, base = self._files
        (self.root / "records" / f"{key}.json").unlink(missing_ok=True)
        with suppress(FileNotFoundError):  # another machine was faster
            if system.cat_file(f"{base}/{key}/record.json") == record:
                system.pipe_file(f"{base}/damaged/{key.replace('/', '-')}-{uuid4().hex[:8]}.json", record)
                system.rm_file(f"{base}/{key}/record.json")

    def _build_once(self, work: Work, runtime: Runtime) -> None:
        """Run the step here, then put its result into the store, unless another machine has done so."""
        unsent, folder = self.root / UNSENT / work.name, self.root / work.key
        if self._is_stored(work.key):
            shutil.rmtree(self._scratch(work), ignore_errors=True)  # another machine was faster
            return
        if not unsent.exists() or self.integrity.damage(work.key, folder):
            shutil.rmtree(folder, ignore_errors=True)  # of a result that the store has no more, or cannot have
        unsent.parent.mkdir(exist_ok=True)
        unsent.touch()
        super()._build_once(work, runtime)
        self._send(work.key)
        unsent.unlink(missing_ok=True)
        self.integrity.note(work.key, folder)
        self.integrity.keep()

    def _send(self, key: str) -> None:
        """Put a result there, its record last, unless another machine was faster.

        Of two that are equally fast the later record stays; the files of both are whole.
        """
        system, base = self._files
        folder, record = self.root / key, self.root / key / "record.json"
        if system.exists(f"{base}/{key}/record.json"):
            return
        files = f"{base}/{key}/{_place_of(record.read_bytes())}"
        for file in sorted(path for path in folder.rglob("*") if path.is_file() and path != record):
            system.put_file(str(file), f"{files}/{file.relative_to(folder).as_posix()}")
        if not system.exists(f"{base}/{key}/record.json"):
            system.put_file(str(record), f"{base}/{key}/record.json")

    def note_success(self, step: Step) -> None:
        self._listed.add(f"{step.key}/record.json")
        self.note_start(step)

    def note_start(self, step: Step) -> None:
        if self._failed(step) in self._listed:
            system, base = self._files
            with suppress(OSError):  # there is none any more, or it cannot be reached: no reason to fail
                system.rm_file(f"{base}/{self._failed(step)}")
            self._listed.discard(self._failed(step))

    def note_failure(self, step: Step, reason: str) -> None:
        system, base = self._files
        with suppress(OSError):
            system.pipe_file(f"{base}/{self._failed(step)}", reason.encode())
            self._listed.add(self._failed(step))

    def failure(self, step: Step) -> str | None:
        if self.has(step) or self._failed(step) not in self._listed:
            return None
        system, base = self._files
        return str(system.cat_file(f"{base}/{self._failed(step)}").decode(errors="replace"))

    def _failed(self, step: Step) -> str:
        return f"logs/{step.name}.failed"

    def log_place(self, step: Step | Work) -> str:
        return f"{self}/logs/{self.log(step).name}"

    def read_log(self, step: Step | Work) -> str:
        system, base = self._files
        try:
            return str(system.cat_file(f"{base}/logs/{self.log(step).name}").decode(errors="replace"))
        except FileNotFoundError:
            return ""

    @contextmanager
    def logged(self, work: Work) -> Iterator[None]:
        super().open()  # the cache of this machine
        written, log = self.read_log(work), self.log(work)
        if not log.exists() or len(log.read_text(errors="replace")) < len(written):
            log.write_text(written)  # on another machine, by an earlier attempt
        ended = threading.Event()
        copying = threading.Thread(target=self._keep_log_until, args=(work, ended), daemon=True)
        copying.start()
        try:
            yield
        finally:
            ended.set()
            copying.join()

    def _keep_log_until(self, work: Work, ended: threading.Event) -> None:
        log, kept = self.log(work), 0
        while not ended.wait(LOG_SECONDS):
            written = log.stat().st_mtime_ns if log.exists() else 0
            if written != kept:  # a step may say nothing for hours
                self.keep_log(work)
                kept = written
        self.keep_log(work)

    def keep_log(self, work: Work) -> None:
        system, base = self._files
        log = self.log(work)
        if log.exists() and log.stat().st_size:
            with suppress(OSError):  # that a log could not be copied is no reason to fail
                text = redacted(log.read_bytes().decode(errors="surrogateescape"))
                system.pipe_file(f"{base}/logs/{log.name}", text.encode(errors="surrogateescape"))


def _place_of(record: bytes) -> str:
    """The folder of the files that a record is of."""
    return hashlib.sha256(record).hexdigest()[:16]
