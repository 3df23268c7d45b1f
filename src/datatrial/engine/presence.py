"""What a run tells of itself in its store while it lasts, for `live` to read."""

import getpass
import json
import os
import platform
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from uuid import uuid4

from datatrial.engine.board import Board
from datatrial.engine.live import LIVE, NOW, REGISTERING, About, LiveRun, NotedStudy, RunningStep, read_run
from datatrial.engine.schedule import Event
from datatrial.engine.step import Step
from datatrial.engine.time_left import TimeLeft
from datatrial.errors import StoreError

OUTDATED = 86400.0  # seconds, by which clocks of two machines never differ: what a killed run left at a URL is older


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
        if event.change in ("started", "retried"):
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
        """Say that the run needs or makes the results of these steps, too; as far as a full disk lets it."""
        self.keys |= {step.key for step in steps}
        with suppress(OSError), self.board.locked(REGISTERING):
            self._tell_keys()

    def _tell_keys(self) -> None:
        self.board.put(self._place("keys"), json.dumps(sorted(self.keys)))
        when = datetime.now(UTC).isoformat(timespec="seconds")
        noted = NotedStudy(self.about, _user(), when, frozenset(self.keys))
        self.board.put(noted.place, noted.text())

    def enter(self) -> None:
        """Begin to be seen."""
        with self.board.locked(REGISTERING):
            clear_away(self.board)
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
        stack.enter_context(_sigterm_as_interrupt())
        try:
            stack.enter_context(board.locked(presence._place("lock")))
            stack.callback(presence.leave)
            presence.enter()
        except OSError as error:
            raise StoreError(
                f"cannot write to the store: {error.strerror or error}; name another with --store"
            ) from error
        yield presence


def clear_away(board: Board) -> None:
    """Remove what is left of runs that were killed."""
    for name, text in board.all(LIVE, ".json").items():
        held, run = board.is_held(f"{LIVE}/{name}.lock"), read_run(text)
        if held is False or (held is None and run and abs(time.time() - run.time) > OUTDATED):
            _remove(board, name)


def _remove(board: Board, name: str) -> None:
    for ending in ("json", "stop", "keys", "lock"):
        board.remove(f"{LIVE}/{name}.{ending}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
