"""Runs that are going on: each tells of itself in its store, for `status`, `stop` and `gc`.

`live/<run>.json` says how far a run is, `live/<run>.keys` which results it needs or makes, `live/<run>.stop` that it
was asked to stop. Whether it still lives, its lock tells, which the system lets go of however the run ends. Where there
are no locks, as at a URL, its file must change while one looks: the clocks of two machines need not agree for that.

`studies/<study>.json` tells what study was run and which results are its, also when the run has ended.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TypeVar

from pydantic import TypeAdapter

from datatrial.engine.board import Board, changing
from datatrial.engine.time_left import clock
from datatrial.errors import StoreError

LIVE, STUDIES = "live", "studies"  # folders of a store
REGISTERING = "locks/registering.lock"  # held by what registers, and by what removes results
SOON, NOW = "soon", "now"  # what a run may be asked to stop
T = TypeVar("T")


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
        return ", ".join(filter(None, ["stopping: it begins no more" if self.stopping else "", left]))


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


def live_runs(board: Board) -> list[LiveRun]:
    """The runs that are going on, the longest first. Where nothing can be locked, it takes some seconds to tell."""
    texts = board.all(LIVE, ".json")
    runs = {name: run for name, text in texts.items() if (run := read_run(text))}
    held = {name: board.is_held(f"{LIVE}/{name}.lock") for name in runs}
    unsure = {name: texts[name] for name in runs if held[name] is None}
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


def read_run(text: str) -> LiveRun | None:
    """What a run told of itself; None where another version did."""
    with suppress(ValueError):
        return TypeAdapter(LiveRun).validate_json(text)
    return None
