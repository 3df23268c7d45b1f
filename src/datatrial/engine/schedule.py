"""Run steps as their inputs become ready. Executors differ only in where the work happens."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from datatrial.engine.step import Step, upstream_first
from datatrial.engine.store import Store, Work

Change = Literal["cached", "started", "progress", "retried", "done", "failed", "skipped"]


@dataclass(frozen=True)
class Event:
    """Something that happened to a step; `message` says why it failed, or what its progress counts."""

    change: Change
    digest: str
    message: str = ""
    done: float = 0
    total: float = 0


class Executor(Protocol):
    """Where work happens: so many slots, each doing one step at a time."""

    @property
    def slots(self) -> int: ...
    def submit(self, work: Work) -> None: ...
    def wait(self) -> Iterable[Event]:
        """Block until something happens to the submitted work: progress, retried, done or failed."""
        ...


@dataclass
class Outcome:
    """How a run ended: each step is in exactly one of these, by digest."""

    cached: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # with the reason
    skipped: dict[str, str] = field(default_factory=dict)  # an input failed: which

    @property
    def unfinished(self) -> dict[str, str]:
        return {**self.failed, **self.skipped}


Listener = Callable[[Event, Step], None]


def run(goals: Sequence[Step], store: Store, executor: Executor, listen: Listener) -> Outcome:
    """Build every step below the goals that the store lacks; a failed step stops only what depends on it."""
    steps = {step.digest: step for step in upstream_first(*goals)}
    outcome = Outcome(cached={digest for digest, step in steps.items() if store.has(step)})
    users: dict[str, list[str]] = defaultdict(list)
    missing: dict[str, set[str]] = {}
    for digest, step in steps.items():
        if digest in outcome.cached:
            listen(Event("cached", digest), step)
            continue
        missing[digest] = {dep.digest for dep in step.inputs.values()} - outcome.cached
        for dep in missing[digest]:
            users[dep].append(digest)
    urgency = _urgency(list(missing), users)
    ready = sorted((d for d, needs in missing.items() if not needs), key=urgency.__getitem__)
    running = 0
    while ready or running:
        while ready and running < executor.slots:
            step = steps[ready.pop()]
            executor.submit(store.work(step))
            running += 1
            listen(Event("started", step.digest), step)
        for event in executor.wait():
            listen(event, steps[event.digest])
            if event.change == "done":
                running -= 1
                outcome.done.add(event.digest)
                store.forget_failure(steps[event.digest])
                for user in users[event.digest]:
                    missing[user].discard(event.digest)
                    if not missing[user] and user not in outcome.unfinished:
                        ready.append(user)
                ready.sort(key=urgency.__getitem__)
            elif event.change == "failed":
                running -= 1
                outcome.failed[event.digest] = event.message
                store.note_failure(steps[event.digest], event.message)
                _skip(event.digest, steps, users, outcome, listen)
    return outcome


def _urgency(upstream_first_digests: list[str], users: dict[str, list[str]]) -> dict[str, int]:
    """For each step, the length of the longest chain that waits for it: the longest chain bounds the run."""
    chain: dict[str, int] = {}
    for digest in reversed(upstream_first_digests):
        chain[digest] = 1 + max((chain[user] for user in users[digest]), default=0)
    return chain


def _skip(failed: str, steps: dict[str, Step], users: dict[str, list[str]], outcome: Outcome, listen: Listener) -> None:
    reason = f"needs {steps[failed].label or steps[failed].name}, which failed"
    below = list(users[failed])
    while below:
        digest = below.pop()
        if digest not in outcome.skipped:
            outcome.skipped[digest] = reason
            listen(Event("skipped", digest, reason), steps[digest])
            below.extend(users[digest])
