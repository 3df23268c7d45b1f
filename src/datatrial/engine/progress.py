"""Live progress of a run: what is done, running and waiting, a bar for each running step, and the time left."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from datatrial.engine.schedule import Event
from datatrial.engine.step import Step
from datatrial.engine.store import Store

MARKS = {
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "skipped": ("–", "yellow"),
    "retried": ("↻", "yellow"),
    "held": ("!", "yellow"),
    "damaged": ("!", "yellow"),
}


class Estimate:
    """How long the rest of a run takes, from its steps' progress and from what steps of each kind took so far.

    A kind of which nothing is known yet is taken for an average one. Asked at each event, it must not look at every
    step of a study that may have tens of thousands: it counts them by kind.
    """

    def __init__(self, steps: Sequence[Step], store: Store):
        self.of_all = {step.digest: step.task.kind for step in steps}
        self.kinds = {step.digest: step.task.kind for step in steps if not store.has(step)}  # of what is not done
        self.waiting = Counter(self.kinds.values())
        self.running: dict[str, str] = {}  # kinds
        self.started: dict[str, float] = {}
        self.share_done: dict[str, float] = {}
        self.seconds: dict[str, float] = defaultdict(float)  # that finished steps of a kind took
        self.finished: Counter[str] = Counter()
        for kind in self.waiting:
            for _, record in store.records(kind):
                self._took(kind, record["seconds"])

    def _took(self, kind: str, seconds: float) -> None:
        self.seconds[kind] += seconds
        self.finished[kind] += 1

    def note(self, event: Event) -> None:
        if event.change == "damaged":  # so it is to be done, after all
            self.kinds[event.digest] = self.of_all[event.digest]
            self.waiting[self.of_all[event.digest]] += 1
        elif event.change == "started":
            self.started[event.digest] = time.monotonic()
            self.share_done.pop(event.digest, None)
            kind = self.kinds.get(event.digest)  # none of a summary over fewer steps than planned
            if kind and event.digest not in self.running:  # else it was lost, and begins anew
                self.running[event.digest] = kind
                self.waiting[kind] -= 1
        elif event.change == "progress" and event.total:
            self.share_done[event.digest] = event.done / event.total
        elif event.change in ("done", "failed", "skipped") and (kind := self.kinds.pop(event.digest, None)):
            if self.running.pop(event.digest, None) is None:
                self.waiting[kind] -= 1
            elif event.change == "done":
                self._took(kind, time.monotonic() - self.started[event.digest])

    def left(self, slots: int) -> float | None:
        """Seconds left with so many slots; None while nothing is known."""
        if not (finished := self.finished.total()):
            return None
        average = sum(self.seconds.values()) / finished
        usual = {k: self.seconds[k] / self.finished[k] if self.finished[k] else average for k in self.waiting}
        total = sum(usual[kind] * count for kind, count in self.waiting.items())
        total += sum(self._left_of(digest, usual[kind]) for digest, kind in self.running.items())
        return total / max(1, min(slots, len(self.kinds)))

    def _left_of(self, digest: str, usual: float) -> float:
        spent, share = time.monotonic() - self.started[digest], self.share_done.get(digest, 0.0)
        return spent * (1 - share) / share if share > 0 else max(usual - spent, 0.0)


class ProgressDisplay:
    """Shows a run on the console: live bars on a terminal, one line per finished step elsewhere."""

    def __init__(self, steps: Sequence[Step], store: Store, slots: int, console: Console):
        self.console, self.store, self.slots = console, store, slots
        self.estimate = Estimate(steps, store)
        self.total, self.done, self.failed, self.running = len(self.estimate.kinds), 0, 0, 0
        self.bars: dict[str, TaskID] = {}
        self.begun, self.live = time.monotonic(), console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=28), TextColumn("{task.fields[count]}"))
        self.progress = Progress(*columns, console=console, disable=not self.live)
        self.overall = self.progress.add_task("", total=self.total, count="")

    def __enter__(self) -> Self:
        if self.total:
            self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.progress.stop()

    def __call__(self, event: Event, step: Step) -> None:
        if event.change == "cached":
            return
        self.estimate.note(event)
        if event.change == "started":
            self._begun(step)
        elif event.change == "progress":
            count = f"{event.done:,.0f}/{event.total:,.0f} {event.message}" if event.total else event.message
            self.progress.update(self.bars[step.digest], completed=event.done, total=event.total or None, count=count)
        elif event.change in ("damaged", "retried", "held"):
            self.total += event.change == "damaged"
            self._print(MARKS[event.change], " ", step.label)
            self._print(f"  {event.message}")
        else:
            self._ended(event, step)
        if self.live:
            self._count()

    def _count(self) -> None:
        waiting = self.total - self.done - self.failed - self.running
        state = f"[bold]{self.done} done · {self.running} running · {waiting} waiting[/]"
        state += f" [red]· {self.failed} failed[/]" if self.failed else ""
        left = self.estimate.left(self.slots)
        count = f"about {clock(left)} left" if left else f"{clock(time.monotonic() - self.begun)} so far"
        self.progress.update(self.overall, description=state, completed=self.done + self.failed, count=count)

    def _begun(self, step: Step) -> None:
        if step.digest not in self.bars:  # else it was lost with its worker, and begins anew
            self.running += 1
            self.bars[step.digest] = self.progress.add_task(f"  {escape(step.label)}", total=None, count="")

    def _ended(self, event: Event, step: Step) -> None:
        bar = self.bars.pop(step.digest, None)
        if bar is not None:
            self.running -= 1
            self.progress.remove_task(bar)
        self.done += event.change == "done"
        self.failed += event.change in ("failed", "skipped")
        took = self.estimate.started.get(step.digest)
        seconds = f" {clock(time.monotonic() - took)}" if took and event.change == "done" else ""
        count = f" {self.done + self.failed}/{self.total} "
        # One line at once: on a terminal, live bars are drawn anew after each print.
        self._print(MARKS[event.change], (count, "dim"), step.label, (seconds, "dim"))
        if event.message:
            self._print(f"  {event.message}")
            if event.change == "failed":
                self._print(f"  its log: {self.store.log_place(step)}")

    def _print(self, *parts: str | tuple[str, str]) -> None:
        self.progress.console.print(Text.assemble(*parts), soft_wrap=True)


def clock(seconds: float) -> str:
    """A duration as people read it: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
