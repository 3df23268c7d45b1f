"""Runs that are going on: each tells of itself in its store, for `status`, `stop` and `gc`.

`live/<run>.json` says how far a run is, `live/<run>.keys` which results it needs or makes, `live/<run>.stop` that it
was asked to stop. Whether it still lives, its lock tells, which the system lets go of however the run ends. Where there
are no locks, as at a URL, its file must change while one looks: the clocks of two machines need not agree for that.

`studies/<study>.json` tells what study was run and which results are its, also when the run has ended.
"""

import getpass
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TypeVar
from uuid import uuid4

from pydantic import TypeAdapter

from datatrial.engine.board import Board, changing
from datatrial.engine.schedule import Event
from datatrial.engine.step import Step
from datatrial.engine.time_left import TimeLeft, clock
from datatrial.errors import StoreError

LIVE, STUDIES = "live", "studies"  # folders of a store
REGISTERING = "locks/registering.lock"  # held by what registers, and by what removes results
SOON, NOW = "soon", "now"  # what a run may be asked to stop
T = TypeVar("T")
OUTDATED = 3600.0  # seconds, by which clocks of two machines never differ


@dataclass(frozen=True)
class About:
    """What a run was asked to do."""

    study: str  # its name
    file: str = ""  # of the study; empty where it was made in Python
    overrides: tuple[str, ...] = ()
    what: str = "run"  # or "audit", "import"

    def __str__(self) -> str:
        """As one would say it to a command."""
        return " ".join([self.file or f"{self.study} (from Python)", *self.overrides])


@dataclass(frozen=True)
class RunningStep:
    """A step that a run is at."""

    digest: str
    label: str
    seconds: float  # since it began
    done: float = 0
    total: float = 0  # 0 where it does not say
    counted: str = ""  # what is


@dataclass(frozen=True)
class LiveRun:
    """A run as it told of itself last."""

    name: str
    about: About
    who: str
    machine: str
    process: int
    time: float  # when it told so, by its machine's clock, since 1970
    seconds: float  # since it began
    waiting: int  # steps that have not begun
    done: int
    failed: int  # or given up, as an input failed
    running: tuple[RunningStep, ...]
    left: float | None  # seconds until all is done
    at_hand: float | None  # seconds until the running steps are
    stopping: bool  # whether it begins no more

    def __str__(self) -> str:
        return f"{self.about.what} of {self.about} by {self.who} on {self.machine}, process {self.process}"

    @property
    def ending(self) -> str:
        """When it ends, in words; empty where nothing can be said."""
        seconds = self.at_hand if self.stopping else self.left
        left = "" if seconds is None else f"about {clock(seconds)} left"
        return ", ".join(["stopping: it begins no more", *filter(None, [left])]) if self.stopping else left


@dataclass(frozen=True)
class NotedStudy:
    """A study that was run on a store, with the results that its last run needed or made."""

    about: About
    who: str
    when: str  # ISO 8601, UTC
    keys: frozenset[str]

    @property
    def place(self) -> str:
        return f"{STUDIES}/{hashlib.sha256(repr(self.about).encode()).hexdigest()[:16]}.json"

    def text(self) -> str:
        return json.dumps({**asdict(self), "keys": sorted(self.keys)})


class Presence:
    """What a run tells of itself while it lasts. It is told of each event, and asked regularly to look around."""

    def __init__(self, board: Board, about: About, steps: Iterable[Step], time_left: TimeLeft):
        self.board, self.about, self.time_left = board, about, time_left
        self.name = f"{platform.node()}-{os.getpid()}-{uuid4().hex[:8]}"
        self.waiting = {step.digest: step.key for step in steps}
        self.keys = set(self.waiting.values())
        self.begun, self.told, self.looked = time.monotonic(), 0.0, 0.0
        self.done, self.failed = 0, 0
        self.running: dict[str, tuple[str, float, Event]] = {}  # its label, when it began, what it said last
        self.stopping = False

    def __call__(self, event: Event, step: Step) -> None:
        if event.change in ("cached", "started", "done", "failed", "skipped"):
            self.waiting.pop(event.digest, None)
            self.running.pop(event.digest, None)
            self.done += event.change == "done"
            self.failed += event.change in ("failed", "skipped")
        if event.change == "started":
            self.running[event.digest] = (step.label or step.name, time.monotonic(), event)
        elif event.change == "progress" and event.digest in self.running:
            self.running[event.digest] = (*self.running[event.digest][:2], event)

    def look_around(self) -> bool:
        """See what the run was asked, and tell how it stands, unless that was done just before.

        Returns whether it is to begin no more. Raises: KeyboardInterrupt when it is to end at once.
        """
        now = time.monotonic()
        with suppress(Exception):  # whatever is wrong with the store, it is no reason to lose what is at hand
            if now - self.looked >= self.board.look_seconds:
                self.looked = now
                asked = self.board.read(self._place("stop"))
                self.stopping = self.stopping or asked is not None
                if asked == NOW:
                    raise KeyboardInterrupt
            if now - self.told >= self.board.beat_seconds:
                self.told = now
                self.tell()
        return self.stopping

    def tell(self) -> None:
        """Say how the run stands."""
        now = time.monotonic()
        standing = LiveRun(
            name=self.name,
            about=self.about,
            who=_user(),
            machine=platform.node(),
            process=os.getpid(),
            time=time.time(),
            seconds=now - self.begun,
            waiting=len(self.waiting),
            done=self.done,
            failed=self.failed,
            running=tuple(
                RunningStep(digest, label, now - since, said.done, said.total, said.message)
                for digest, (label, since, said) in self.running.items()
            ),
            left=self.time_left.seconds(),
            at_hand=self.time_left.at_hand,
            stopping=self.stopping,
        )
        self.board.put(self._place("json"), json.dumps(asdict(standing)))

    def needs(self, steps: Iterable[Step]) -> None:
        """Say that the run needs or makes the results of these steps, too."""
        self.keys |= {step.key for step in steps}
        with self.board.locked(REGISTERING):
            self._tell_keys()

    def _tell_keys(self) -> None:
        self.board.put(self._place("keys"), json.dumps(sorted(self.keys)))
        when = datetime.now(UTC).isoformat(timespec="seconds")
        noted = NotedStudy(self.about, _user(), when, frozenset(self.keys))
        self.board.put(noted.place, noted.text())

    def enter(self) -> None:
        """Begin to be seen."""
        with self.board.locked(REGISTERING):
            _clear_away(self.board)
            self._tell_keys()
            self.tell()

    def leave(self) -> None:
        """Be seen no more."""
        with suppress(Exception):
            _remove(self.board, self.name)

    def _place(self, ending: str) -> str:
        return f"{LIVE}/{self.name}.{ending}"


@contextmanager
def registered(board: Board, about: About, steps: Iterable[Step], time_left: TimeLeft) -> Iterator[Presence]:
    """Around a run: from here on nobody removes what its steps need or make.

    What the store has is to be looked at within: it may have had more before. Raises: StoreError when nothing can be
    written there.
    """
    presence = Presence(board, about, steps, time_left)
    with ExitStack() as stack:
        try:
            stack.enter_context(board.locked(presence._place("lock")))
            stack.callback(presence.leave)
            presence.enter()
        except OSError as error:
            raise StoreError(
                f"cannot write to the store: {error.strerror or error}; name another with --store"
            ) from error
        yield presence


def live_runs(board: Board) -> list[LiveRun]:
    """The runs that are going on, the longest first. Where nothing can be locked, it takes some seconds to tell."""
    texts = board.all(LIVE, ".json")
    runs = {name: run for name, text in texts.items() if (run := _read(text))}
    held = {name: board.is_held(f"{LIVE}/{name}.lock") for name in runs}
    unsure = {name: texts[name] for name, run in runs.items() if held[name] is None and not _outdated(run)}
    alive = {name for name in runs if held[name]} | changing(board, LIVE, ".json", unsure)
    return sorted((runs[name] for name in alive), key=lambda run: -run.seconds)


def live_keys(board: Board) -> set[str]:
    """The results that runs need or make which are going on, or may be.

    Raises: StoreError where what one of them told cannot be read.
    """
    told = board.all(LIVE, ".keys")
    alive = {name: text for name, text in told.items() if board.is_held(f"{LIVE}/{name}.lock") is not False}
    return {key for name, text in alive.items() for key in _parsed(f"{LIVE}/{name}.keys", text, frozenset[str])}


def keys_of(board: Board, run: LiveRun) -> frozenset[str]:
    """The results that a run needs or makes.

    Raises: StoreError where that cannot be read.
    """
    place = f"{LIVE}/{run.name}.keys"
    return _parsed(place, board.read(place) or "[]", frozenset[str])


def ask_to_stop(board: Board, run: LiveRun) -> bool:
    """Ask a run to begin no more steps; when it was asked before, to end at once. Returns whether at once."""
    place = f"{LIVE}/{run.name}.stop"
    asked = board.read(place) is not None
    board.put(place, NOW if asked else SOON)
    return asked


def noted_studies(board: Board) -> list[NotedStudy]:
    """The studies that were run on a store, the one run last first.

    Raises: StoreError where a note of one cannot be read.
    """
    texts = board.all(STUDIES, ".json")
    noted = [_parsed(f"{STUDIES}/{name}.json", text, NotedStudy) for name, text in texts.items()]
    return sorted(noted, key=lambda study: study.when, reverse=True)


def _parsed(place: str, text: str, kind: type[T]) -> T:
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValueError:
        raise StoreError(f"{place} in the store cannot be read: delete it, and name the studies to be kept") from None


def _read(text: str) -> LiveRun | None:
    with suppress(ValueError):  # of another version
        return TypeAdapter(LiveRun).validate_json(text)
    return None


def _outdated(run: LiveRun) -> bool:
    return abs(time.time() - run.time) > OUTDATED


def _clear_away(board: Board) -> None:
    """Remove what is left of runs that were killed."""
    for name, text in board.all(LIVE, ".json").items():
        held, run = board.is_held(f"{LIVE}/{name}.lock"), _read(text)
        if held is False or (held is None and run and _outdated(run)):
            _remove(board, name)


def _remove(board: Board, name: str) -> None:
    for ending in ("json", "stop", "keys", "lock"):
        board.remove(f"{LIVE}/{name}.{ending}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"
