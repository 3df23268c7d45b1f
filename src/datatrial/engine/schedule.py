"""Run steps as their inputs become ready. Executors differ only in where the work happens."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, Protocol

from datatrial.engine.step import Step, upstream_first
from datatrial.engine.store import Store, Work

LOOK_SECONDS = 1.0  # for which an executor waits before whoever runs the steps may look around
Change = Literal["damaged", "cached", "started", "held", "progress", "retried", "done", "failed", "skipped"]


@dataclass(frozen=True)
class Event:
    """Something that happened to a step; `message` says why it failed or cannot begin, what is wrong with the result
    it had, or what its progress counts.
    """

    change: Change
    digest: str
    message: str = ""
    done: float = 0
    total: float = 0


class Executor(Protocol):
    """Where work happens."""

    @property
    def slots(self) -> int:
        """How much work it takes at once; it may begin some of it later."""
        ...

    def submit(self, work: Work) -> None: ...
    def wait(self) -> Iterable[Event]:
        """What happened to the submitted work: started, held, progress, retried, done or failed.

        After about `LOOK_SECONDS` in which nothing happens, it returns nothing.
        """
        ...

    def withdraw(self) -> Iterable[str]:
        """Take back the submitted work that has not begun: its digests."""
        ...


@dataclass
class Outcome:
    """How a run ended: each step is in exactly one of these, by digest."""

    cached: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # with the reason
    skipped: dict[str, str] = field(default_factory=dict)  # an input failed: which
    left: set[str] = field(default_factory=set)  # not begun, as the run was stopped

    @property
    def unfinished(self) -> dict[str, str]:
        return {**self.failed, **self.skipped}


Listener = Callable[[Event, Step], None]


def all_of(*listeners: Listener) -> Listener:
    """Tells each of these, one after the other."""

    def tell(event: Event, step: Step) -> None:
        for listen in listeners:
            listen(event, step)

    return tell


def _never_asked_to_stop() -> bool:
    return False


def run(
    goals: Sequence[Step],
    store: Store,
    executor: Executor,
    listen: Listener,
    look_around: Callable[[], bool] = _never_asked_to_stop,
    sound: Set[str] = frozenset(),
) -> Outcome:
    """Build every step below the goals that the store lacks; a failed step stops only what depends on it.

    A result that is not what was written counts as lacking.

    look_around: called about every `LOOK_SECONDS`; once it returns true, no more steps begin.
    sound: digests of steps whose results were seen to be what was written, or were written, just before.
    """
    steps = {step.digest: step for step in upstream_first(*goals)}
    unseen = {digest: step for digest, step in steps.items() if digest not in sound}
    outcome = Outcome(cached=(sound & steps.keys()) | _sound(unseen, store, listen))
    waiting = Waiting([step for digest, step in steps.items() if digest not in outcome.cached])
    try:
        _go_through(waiting, steps, outcome, store, executor, listen, look_around)
    finally:
        store.integrity.keep()
    outcome.left |= waiting.missing.keys() | {digest for _, _, digest in waiting.ready}
    return outcome


def _sound(steps: Mapping[str, Step], store: Store, listen: Listener) -> set[str]:
    """The digests of the steps whose results are there, and what was written."""
    there = {digest: step for digest, step in steps.items() if store.has(step)}
    for step, damage in store.check(list(there.values())):
        del there[step.digest]
        listen(Event("damaged", step.digest, damage), step)
    for digest, step in there.items():
        listen(Event("cached", digest), step)
    return set(there)


def _go_through(
    waiting: "Waiting",
    steps: Mapping[str, Step],
    outcome: Outcome,
    store: Store,
    executor: Executor,
    listen: Listener,
    look_around: Callable[[], bool],
) -> None:
    in_flight, stopping = 0, look_around()
    while in_flight or (waiting.ready and not stopping):
        while waiting.ready and in_flight < executor.slots and not stopping:
            executor.submit(store.work(steps[waiting.most_urgent()]))
            in_flight += 1
        for event in executor.wait():
            step = steps[event.digest]
            listen(event, step)
            if event.change == "started":
                store.note_start(step)
            elif event.change == "done":
                in_flight -= 1
                outcome.done.add(event.digest)
                store.note_success(step)
                waiting.done(event.digest)
            elif event.change == "failed":
                in_flight -= 1
                outcome.failed[event.digest] = event.message
                store.note_failure(step, event.message)
                reason = f"needs {step.label or step.name}, which failed"
                for below in waiting.failed(event.digest):
                    outcome.skipped[below] = reason
                    listen(Event("skipped", below, reason), steps[below])
        if look_around() and not stopping:
            stopping, withdrawn = True, set(executor.withdraw())
            in_flight -= len(withdrawn)
            outcome.left |= withdrawn


class Waiting:
    """Steps that have not begun: which of them have their inputs, and which of those is the most urgent."""

    def __init__(self, upstream_first: Sequence[Step]):
        self.missing: dict[str, set[str]] = {}
        self.users: dict[str, list[str]] = defaultdict(list)
        below: dict[str, set[str]] = {}
        for step in upstream_first:
            self.missing[step.digest] = self._lacking(step, below)
            for dep in self.missing[step.digest]:
                self.users[dep].append(step.digest)
        self.urgency, self.order = self._urgency(), count()
        self.ready: list[tuple[int, int, str]] = []  # a heap
        for digest in [digest for digest, needs in self.missing.items() if not needs]:
            self._is_ready(digest)

    def most_urgent(self) -> str:
        """Takes the step that the longest chain waits for; of equals, the one that was ready first."""
        return heapq.heappop(self.ready)[2]

    def done(self, digest: str) -> None:
        for user in self.users[digest]:
            if user in self.missing:
                self.missing[user].discard(digest)
                if not self.missing[user]:
                    self._is_ready(user)

    def failed(self, digest: str) -> list[str]:
        """Gives up what depends on the step, and returns it."""
        below, found = [digest], []
        while below:
            for user in self.users[below.pop()]:
                if self.missing.pop(user, None) is not None:
                    found.append(user)
                    below.append(user)
        return found

    def _lacking(self, step: Step, below: dict[str, set[str]]) -> set[str]:
        """The steps it has to wait for: its inputs, and what those stand on that are there; `below` remembers that.

        An adapter that is there is of no use while the model that it was trained on is made again.
        """
        found = {dep.digest for dep in step.inputs.values()} & self.missing.keys()
        for dep in step.inputs.values():
            if dep.digest not in self.missing:
                if dep.digest not in below:
                    below[dep.digest] = self._lacking(dep, below)
                found |= below[dep.digest]
        return found

    def _is_ready(self, digest: str) -> None:
        del self.missing[digest]
        heapq.heappush(self.ready, (-self.urgency[digest], next(self.order), digest))

    def _urgency(self) -> dict[str, int]:
        """For each step, the length of the longest chain that waits for it: the longest chain bounds the run."""
        chain: dict[str, int] = {}
        for digest in reversed(self.missing):
            chain[digest] = 1 + max((chain[user] for user in self.users[digest]), default=0)
        return chain
