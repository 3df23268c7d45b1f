"""Live progress of a run: what is done, running and waiting, a bar for each running step, and the time left."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from datatrial.engine.schedule import Event
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.engine.time_left import TimeLeft, clock

MARKS = {
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "skipped": ("–", "yellow"),
    "retried": ("↻", "yellow"),
    "held": ("!", "yellow"),
    "damaged": ("!", "yellow"),
}


class ProgressDisplay:
    """Shows a run on the console: live bars on a terminal, one line per finished step elsewhere.

    `time_left` is told of each event before this is.
    """

    def __init__(self, time_left: TimeLeft, store: Store, console: Console):
        self.console, self.store, self.time_left = console, store, time_left
        self.to_do = set(time_left.to_do)
        self.total, self.done, self.failed = len(self.to_do), 0, 0
        self.bars: dict[str, TaskID] = {}
        self.started: dict[str, float] = {}
        self.begun, self.live = time.monotonic(), console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=28), TextColumn("{task.fields[count]}"))
        self.progress = Progress(*columns, console=console, disable=not self.live)
        self.overall = self.progress.add_task("", total=self.total, count="")

    def __enter__(self) -> Self:
        if self.total:
            self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Show no more: what is printed from here on stands by itself."""
        self.progress.stop()

    def __call__(self, event: Event, step: Step) -> None:
        if event.change in ("damaged", "started") and event.digest not in self.to_do:
            self.to_do.add(event.digest)
            self.total += 1
        if event.change == "cached":
            self.total -= event.digest in self.to_do  # another run did it
            self.to_do.discard(event.digest)
        elif event.change == "started":
            self._begun(step)
        elif event.change == "progress":
            count = f"{event.done:,.0f}/{event.total:,.0f} {event.message}" if event.total else event.message
            self.progress.update(self.bars[step.digest], completed=event.done, total=event.total or None, count=count)
        elif event.change in ("damaged", "retried", "held"):
            self._print(MARKS[event.change], " ", step.label)
            self._print(f"  {event.message}")
            if event.change == "retried" and step.digest in self.bars:
                self.progress.reset(self.bars[step.digest], total=None, count="")
        else:
            self._ended(event, step)
        if self.live:
            self._count()

    def _count(self) -> None:
        waiting = self.total - self.done - self.failed - len(self.bars)
        state = f"[bold]{self.done} done · {len(self.bars)} running · {waiting} waiting[/]"
        state += f" [red]· {self.failed} failed[/]" if self.failed else ""
        count = self._left() or f"{clock(time.monotonic() - self.begun)} so far"
        self.progress.update(self.overall, description=state, completed=self.done + self.failed, count=count)

    def _left(self) -> str:
        left = self.time_left.seconds()
        return f"about {clock(left)} left" if left else ""

    def _begun(self, step: Step) -> None:
        self.started[step.digest] = time.monotonic()
        if step.digest not in self.bars:  # else it was lost with its worker, and begins anew
            self.bars[step.digest] = self.progress.add_task(f"  {escape(step.label)}", total=None, count="")

    def _ended(self, event: Event, step: Step) -> None:
        bar = self.bars.pop(step.digest, None)
        if bar is not None:
            self.progress.remove_task(bar)
        self.to_do.discard(step.digest)
        self.done += event.change == "done"
        self.failed += event.change in ("failed", "skipped")
        began = self.started.get(step.digest)
        seconds = f" {clock(time.monotonic() - began)}" if began is not None and event.change == "done" else ""
        count, left = f" {self.done + self.failed}/{self.total} ", "" if self.live else self._left()
        # One line at once: on a terminal, live bars are drawn anew after each print.
        self._print(MARKS[event.change], (count, "dim"), step.label, (seconds, "dim"), (left and f" · {left}", "dim"))
        if event.message:
            self._print(f"  {event.message}")
            if event.change == "failed":
                self._print(f"  its log: {self.store.log_place(step)}")

    def _print(self, *parts: str | tuple[str, str]) -> None:
        self.progress.console.print(Text.assemble(*parts), soft_wrap=True)
