"""Results on disk: one folder per digest, `<store>/<kind>/<digest>/`, complete or absent."""

import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from datatrial.engine.board import Board
from datatrial.engine.environment import environment, memory_peak, reset_memory_peak
from datatrial.engine.integrity import RUNS, Integrity
from datatrial.engine.log import shorten
from datatrial.engine.step import External, Step, Task
from datatrial.errors import StoreError
from datatrial.files import file_digest, not_for_everybody, settle, settle_folder, write_at_once
from datatrial.records import ModelRef, Progress, Resources, Runtime, read_json, silent
from datatrial.redaction import redact_file

Record = dict[str, Any]
FORMAT = 1  # of what lies in a store; raise it when older versions would misread what newer ones write
VISIBLE_SECONDS = 60.0  # for a result to be seen, where a file system shows late what another machine wrote
WAITING_SECONDS = 30.0  # between two signs of life while another run builds the same step


@dataclass(frozen=True)
class Work:
    """A step as a worker gets it: its inputs are named by where they lie in a store, and no other step is attached."""

    task: Task
    recipe: dict[str, Any]
    digest: str
    label: str
    inputs: Mapping[str, str]
    externals: Mapping[str, External]
    resources: Resources

    @property
    def name(self) -> str:
        return f"{self.task.kind}-{self.digest}"

    @property
    def key(self) -> str:
        """Where its result lies in a store."""
        return f"{self.task.kind}/{self.digest}"


class Store:
    """Where results live. Folders beside the kinds: `logs/` of steps, `locks/`, `cache/`, which may be deleted,
    `scratch/`, which holds what steps that were interrupted go on from, `live/` and `studies/`, what runs tell of
    themselves, and `damaged/`, results that were set aside.
    """

    def __init__(self, root: Path):
        self.root = Path(root).absolute()

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.root,)  # workers need nothing of what this process found out

    @cached_property
    def integrity(self) -> Integrity:
        return Integrity(self.root / "cache" / "sound.json")

    def open(self) -> None:
        """Make sure that results can be written, and by nobody who could not be trusted with what is made of them.

        Raises: StoreError naming the folder when they cannot, or when all users of the machine can write there.
        """
        try:
            self._make()
            Store.unmark(self, Store.mark(self))  # on this machine, wherever the store is
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"cannot write to the store {self.root}: {reason}; name another with --store") from error
        if self.root.stat().st_mode & stat.S_IWOTH:
            raise StoreError(
                f"every user of this machine can write to the store {self.root}, and so choose what later steps load: "
                f"`chmod o-w {self.root}`, or name a folder of your own with --store"
            )
        self._clear_scratch()

    def _clear_scratch(self) -> None:
        """Remove what nobody goes on from any more: of steps that were killed right after they had their result."""
        for scratch in self.root.glob("scratch/*"):
            kind, _, digest = scratch.name.rpartition("-")
            lock = FileLock(self.root / self.lock_of(f"{kind}/{digest}"), timeout=0)  # held by who is at the step
            with suppress(Timeout, OSError), lock:
                if (self.root / kind / digest / "record.json").exists():
                    shutil.rmtree(scratch, ignore_errors=True)

    def _make(self) -> None:
        not_for_everybody()
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in ("logs", "locks", "cache"):
            (self.root / folder).mkdir(exist_ok=True)
        if not (self.root / "store.json").exists():
            write_at_once(self.root / "store.json", json.dumps({"format": FORMAT}))

    @property
    def is_there(self) -> bool:
        """Whether anything was ever run there."""
        return self.root.exists()

    def check_format(self) -> None:
        """Make sure that this version can read what is there; a store of before there were formats has the first.

        Raises: StoreError when it was written by a later version that writes another format.
        """
        try:
            self._check_format((self.root / "store.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return  # no store yet
        except OSError as error:
            raise StoreError(f"cannot read the store {self.root}: {error.strerror}") from error

    def _check_format(self, text: bytes) -> None:
        try:
            found = json.loads(text)["format"]
        except (ValueError, TypeError, KeyError):
            raise StoreError(f"{self}/store.json cannot be read: is this a store? If it is, delete that file") from None
        if found != FORMAT:
            raise StoreError(
                f"the store {self} has format {found}, and this version of datatrial reads {FORMAT}: use the version "
                "that wrote it, or another store"
            )

    def __str__(self) -> str:
        return str(self.root)

    @property
    def board(self) -> Board:
        """Where runs leave each other word."""
        return Board(self.root)

    def mark(self) -> str:
        """Leave a mark by which another machine can tell that it sees this very store."""
        mark = f"seen-{uuid4().hex}"
        (self.root / "locks" / mark).write_bytes(b"")
        return mark

    def shows(self, mark: str) -> bool:
        return (self.root / "locks" / mark).exists()

    def unmark(self, mark: str) -> None:
        (self.root / "locks" / mark).unlink(missing_ok=True)

    def path(self, step: Step | Work) -> Path:
        """The folder of a step's result."""
        return self.at(step.key)

    def at(self, key: str, progress: Progress = silent) -> Path:
        """The folder of the result that lies there; `progress` is told while it is fetched, if it must be."""
        return self.root / key

    def log(self, step: Step | Work) -> Path:
        """Where this machine writes what the step prints."""
        return self.root / "logs" / f"{step.name}.log"

    def log_place(self, step: Step | Work) -> str:
        """Where people find it."""
        return str(self.log(step))

    def read_log(self, step: Step | Work) -> str:
        """What the step has printed so far; empty if nothing."""
        return self.log(step).read_text(errors="replace") if self.log(step).exists() else ""

    @contextmanager
    def logged(self, work: Work) -> Iterator[None]:
        """Around what writes the step's log, so that the log gets to where others read it."""
        yield

    def keep_log(self, work: Work) -> None:
        """Have what this machine has of a step's log where others read it."""

    def finish_log(self, work: Work) -> None:
        """Do for a worker that died what it does with a step's log at the end."""
        shorten(self.log(work))
        redact_file(self.log(work))
        self.keep_log(work)

    def refers_to(self, key: str) -> set[str]:
        """The other results that a model has its weights or its adapter in."""
        if not (self.root / key / "model.json").exists():
            return set()
        model = ModelRef.read(self.root / key)
        inside = [path for name in (model.weights, model.adapter) if name and (path := Path(name)).is_absolute()]
        keys = {"/".join(path.relative_to(self.root).parts[:2]) for path in inside if path.is_relative_to(self.root)}
        return keys - {key}

    def has(self, step: Step | Work) -> bool:
        return self._is_here(step)

    def _is_here(self, step: Step | Work) -> bool:
        return os.path.exists(f"{self.root}/{step.key}/record.json")  # noqa: PTH110 - it is asked 100,000 times

    def record(self, step: Step | Work) -> Record:
        record: Record = read_json(self.path(step) / "record.json")
        return record

    def forget(self, step: Step) -> None:
        """Remove the result of a step, and what it could go on from."""
        shutil.rmtree(self.root / step.key, ignore_errors=True)
        shutil.rmtree(self._scratch(step), ignore_errors=True)

    def note_start(self, step: Step) -> None:
        """Take note that the step is tried: why it failed before is no news any more."""
        self.log(step).with_suffix(".failed").unlink(missing_ok=True)

    def note_failure(self, step: Step, reason: str) -> None:
        """Remember why the step failed last, for `failure`."""
        with suppress(OSError):  # a full disk may be why it failed
            self.log(step).with_suffix(".failed").write_text(reason)

    def note_success(self, step: Step) -> None:
        """Take note that the step has a result now, and forget that it failed."""
        self.note_start(step)
        with suppress(OSError):  # where it is not seen yet, it is read again by a later run
            self.integrity.note(step.key, self.root / step.key)

    def failure(self, step: Step) -> str | None:
        """Why the step failed when it was last tried; None if it did not."""
        note = self.log(step).with_suffix(".failed")
        return note.read_text() if note.exists() and not self.has(step) else None

    def is_interrupted(self, step: Step) -> bool:
        """Whether the step was begun, and has something to go on from."""
        walked = os.walk(self._scratch(step))  # no error where a run removes what it walks through
        return not self.has(step) and any(files for _, _, files in walked)

    def is_running(self, step: Step) -> bool:
        """Whether some process is building the step now."""
        return bool(Board(self.root).is_held(self.lock_of(step.key)))

    def lock_of(self, key: str) -> str:
        """Where the lock is that is held by who builds the result there."""
        return f"locks/{key.replace('/', '-')}.lock"

    def _scratch(self, step: Step | Work) -> Path:
        return self.root / "scratch" / step.name

    def work(self, step: Step) -> Work:
        inputs = {name: dep.key for name, dep in step.inputs.items()}
        return Work(step.task, step.recipe, step.digest, step.label, inputs, step.externals, step.resources)

    def build(self, work: Work, runtime: Runtime) -> Path:
        """Run the step into a private folder, then rename it into place: a crash leaves no half result.

        Only one process builds an entry at a time; one that comes second finds the result.
        """
        with self._locked(self.lock_of(work.key), runtime.progress):
            self._build_once(work, runtime)
        return self.root / work.key

    def _build_once(self, work: Work, runtime: Runtime) -> None:
        scratch = self._scratch(work)
        if not self._is_here(work):
            scratch.mkdir(parents=True, exist_ok=True)
            wanted = work.resources
            runtime = replace(runtime, launch=wanted.launch, checkpoint_every=wanted.checkpoint_every)
            self._build_alone(work, self.root / work.key, replace(runtime, scratch=scratch))
        shutil.rmtree(scratch, ignore_errors=True)  # also of a worker that was killed between its result and this

    @contextmanager
    def _locked(self, place: str, progress: Progress) -> Iterator[None]:
        lock, seconds = FileLock(self.root / place), 0.0
        while not lock.is_locked:
            try:
                lock.acquire(timeout=seconds)
            except Timeout:
                progress(0, 0, "waiting for another run")
                seconds = WAITING_SECONDS
        try:
            yield
        finally:
            lock.release()

    def _build_alone(self, work: Work, final: Path, runtime: Runtime) -> None:
        part = final.with_name(f".part-{work.digest}")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        started, clock = datetime.now(UTC), time.monotonic()
        reset_memory_peak()
        inputs = {name: _seen(self.at(key, runtime.progress)) for name, key in work.inputs.items()}
        located = {name: external.locate() for name, external in work.externals.items()}
        work.task.run({**inputs, **located}, part, runtime)
        record: Record = {
            "recipe": work.recipe,
            "label": work.label,
            "externals": {name: str(external) for name, external in work.externals.items()},
            "located": {name: str(path) for name, path in located.items()},
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - clock, 2),
            "peak_memory_mib": memory_peak(),
            "device": runtime.device,
            **environment(),
            "files": {str(f.relative_to(part)): file_digest(f) for f in _files(part)},
        }
        (part / "record.json").write_text(json.dumps(record, indent=2, sort_keys=True))
        settle(part)
        shutil.rmtree(final, ignore_errors=True)  # without a record it is no result
        part.rename(final)
        settle_folder(final.parent)
        _seen(final)

    def check(self, steps: Iterable[Step]) -> Iterator[tuple[Step, str]]:
        """Those of these steps whose results are damaged, with what is wrong; they are set aside."""
        for step in steps:
            if self.integrity.damage(step.key, self.root / step.key) and (found := self._set_aside(step)):
                yield step, found

    def _set_aside(self, step: Step) -> str:
        """What was wrong with its result, and where that is now; empty if another run has made it again meanwhile.

        Raises: StoreError when it cannot be moved.
        """
        folder = self.root / step.key
        aside = self.root / "damaged" / f"{step.name}-{uuid4().hex[:8]}"
        while folder.exists():  # who makes it again has moved it; who only looks, or compares, lets go of the lock soon
            try:
                with FileLock(self.root / self.lock_of(step.key), timeout=WAITING_SECONDS):
                    found = self.integrity.damage(step.key, folder)
                    if not found or not folder.exists():
                        return found
                    aside.parent.mkdir(exist_ok=True)
                    folder.rename(aside)
            except Timeout:
                continue
            except OSError as error:
                raise StoreError(f"{folder} is damaged and cannot be moved to {aside}: {error.strerror}") from error
            self.integrity.forget(step.key)
            return f"{found}; a run makes it again, and what was there is in {aside}"
        return "it was damaged, and another run makes it again"

    def records(self, kind: str) -> Iterator[tuple[str, Record]]:
        """Every complete result of a kind: its digest and its record."""
        for path in sorted(self.root.glob(f"{kind}/[!.]*/record.json")):
            with suppress(OSError, ValueError):  # damaged: a run will say so
                yield path.parent.name, read_json(path)


def _seen(folder: Path) -> Path:
    """The folder of a result that was made, here or by another machine.

    Raises: StoreError when it cannot be seen, even after a while.
    """
    until = time.monotonic() + VISIBLE_SECONDS
    while not (folder / "record.json").exists():
        if time.monotonic() > until:
            raise StoreError(
                f"{folder} was made and is not there: the file system lost it, or somebody removed it; run again"
            )
        time.sleep(0.1)
    return folder


def _files(result: Path) -> list[Path]:
    """The files of a result that are the same whenever it is made."""
    files = (path for path in sorted(result.rglob("*")) if path.is_file())
    return [path for path in files if path.relative_to(result).parts[0] != RUNS]
