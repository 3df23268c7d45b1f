"""How long the rest of a run takes: what its steps should take, corrected by what such steps really take."""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from datatrial.engine.pace import Paces, Seen
from datatrial.engine.schedule import Event, Waiting
from datatrial.engine.step import Step
from datatrial.engine.store import Store

SHARE = 0.05  # of a step, from which on its own pace counts more than that of its kind
RECORDS = 20  # of each kind, that are asked what such steps took in earlier runs
LATE = 0.25  # of the time that a step has said nothing: at least so long it goes on to
SELDOM = 100.0  # times of what it takes to reckon something, after which that is done anew


@dataclass
class _Running:
    """A step at work, and how far it is. What it does before it begins to count is no part of its pace."""

    step: Step
    since: float
    counting_since: float | None = None
    first: float = 0.0  # share that was done then
    share: float = 0.0
    told: float = 0.0  # when it said so last

    def tell(self, share: float, now: float) -> None:
        if self.counting_since is None or share < self.share:  # less than before: it counts something else now
            self.counting_since, self.first = now, share
        self.share, self.told = share, now

    def seen(self, expected: float) -> Seen:
        """What was counted of it, where the whole should take so many seconds."""
        if self.counting_since is None or self.share <= self.first:
            return Seen()
        return Seen(expected * (self.share - self.first), self.told - self.counting_since)

    def left(self, usual: float, now: float) -> float:
        """Seconds left of it, where the whole usually takes so many."""
        if not self.share:
            return _rest(usual, now - self.since)
        own = self.seen(1.0).pace(None, 0.0) or (self.told - self.since) / self.share
        trust = self.share / (self.share + SHARE)
        # The first of many parts may take a hundred times as long as the others.
        whole: float = own**trust * usual ** (1 - trust)
        return _rest(whole * (1 - self.share), now - self.told)


def _rest(expected: float, silent: float) -> float:
    """Seconds left of what should take so many, of which so many went by in silence: what is late is not soon done."""
    return max(expected - silent, LATE * silent)


@dataclass
class _Seldom:
    """Times some work, and says when it may be done again: after `SELDOM` times as long as it took."""

    began: float = 0.0
    ended: float = 0.0

    def due(self) -> bool:
        return time.monotonic() - self.ended >= SELDOM * (self.ended - self.began)

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.ended = time.monotonic()


class TimeLeft:
    """The time that is left of a run, which is told of each event.

    expected: seconds that a step should take, by digest, as far as that is known.
    absolute: whether they are seconds of the run's own device; if not, how fast that is must be seen first.
    anew: the same by what was made since, such as data sets; nothing where that cannot be said. Asked seldom where it
        takes long.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        store: Store,
        slots: int,
        expected: Mapping[str, float | None] | None = None,
        absolute: bool = True,
        anew: Callable[[], Mapping[str, float | None]] | None = None,
    ):
        self.slots, self.absolute, self.anew = slots, absolute, anew
        self.paces = Paces(steps, expected or {}, absolute)
        self.history: list[tuple[Step, float, bool]] = []  # what steps took, and whether in an earlier run
        self.steps = {step.digest: step for step in steps}  # each after its inputs
        self.to_do = {step.digest: step for step in steps if not store.has(step)}
        self.running: dict[str, _Running] = {}
        self._learn([step for step in steps if step.digest not in self.to_do], store)
        self.outdated = False  # what is expected: more was made
        self.expecting, self.reckoning = _Seldom(), _Seldom()
        self.last: float | None = None
        self.at_hand: float | None = None  # seconds until the running steps are done, as of then

    def _learn(self, done: Iterable[Step], store: Store) -> None:
        """See what steps took that were done in earlier runs."""
        asked: Counter[str] = Counter()
        for step in done:
            if asked[step.task.kind] < RECORDS:
                asked[step.task.kind] += 1
                with suppress(OSError, ValueError, KeyError):  # a damaged record: a run will say so
                    self._note(step, store.record(step)["seconds"], before=True)

    def _note(self, step: Step, seconds: float, before: bool = False) -> None:
        self.history.append((step, seconds, before))
        self.paces.took(step, seconds, before)

    def __call__(self, event: Event, step: Step) -> None:
        digest, now = event.digest, time.monotonic()
        if event.change in ("started", "retried") and digest in self.to_do:
            self.running[digest] = _Running(self.to_do[digest], now)
        elif event.change == "progress" and event.total and digest in self.running:
            if step.counts in ("", event.message):
                self.running[digest].tell(event.done / event.total, now)
        elif event.change == "damaged":  # so it is to be done, after all
            self.to_do = {other: one for other, one in self.steps.items() if other in self.to_do or other == digest}
        elif event.change in ("cached", "done", "failed", "skipped"):
            self.to_do.pop(digest, None)
            ran = self.running.pop(digest, None)
            if ran and event.change == "done":
                self._note(ran.step, now - ran.since)
                self.outdated = True

    def seconds(self) -> float | None:
        """Seconds left; None while nothing can be said. It is asked often, and reckons seldom where there is much."""
        if self.outdated and self.anew and self.expecting.due():
            with self.expecting:
                if told := self.anew():
                    self._expect(told)
        if self.reckoning.due():
            with self.reckoning:
                self.last = self._reckon(self.reckoning.began)
        return None if self.last is None else max(self.last - (time.monotonic() - self.reckoning.began), 0.0)

    def _expect(self, expected: Mapping[str, float | None]) -> None:
        self.paces, self.outdated = Paces(list(self.steps.values()), expected, self.absolute), False
        for step, seconds, before in self.history:
            self.paces.took(step, seconds, before)

    def _reckon(self, now: float) -> float | None:
        expected = self.paces.expected
        seen = [(one.step, one.seen(expected[digest])) for digest, one in self.running.items()]
        paces = self.paces.of_kinds(seen)
        self.at_hand = None
        usual = dict[str, float]()
        for digest, step in self.to_do.items():
            pace = paces[step.task.kind]
            if pace is None:
                return None
            usual[digest] = pace * expected[digest]
        left = {digest: one.left(usual[digest], now) for digest, one in self.running.items()}
        self.at_hand = max(left.values(), default=0.0)
        return self._until_all_are_done({**usual, **left})

    def _until_all_are_done(self, seconds: Mapping[str, float]) -> float:
        """The length of the rest, where each step takes so many seconds, begun in the order of the real schedule."""
        waiting = Waiting(list(self.to_do.values()))
        waiting.ready = [entry for entry in waiting.ready if entry[2] not in self.running]
        heapq.heapify(waiting.ready)
        ends = [(seconds[digest], digest) for digest in self.running]
        heapq.heapify(ends)
        now = 0.0
        while ends or waiting.ready:
            while waiting.ready and len(ends) < self.slots:
                digest = waiting.most_urgent()
                heapq.heappush(ends, (now + seconds[digest], digest))
            now, digest = heapq.heappop(ends)
            waiting.done(digest)
        return now


def clock(seconds: float) -> str:
    """A duration as people read it: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
