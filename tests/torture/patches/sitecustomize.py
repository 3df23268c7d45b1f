"""Python runs this first in every process of a run that has this folder on its path: what DATATRIAL_TORTURE names."""

import os
import random
import time
from dataclasses import replace
from pathlib import Path
from threading import Timer


def clock_jumps() -> None:
    """The clock is set, years ahead or back, all the time."""
    real, dice = time.time, random.Random(os.getpid())
    time.time = lambda: real() + dice.choice([0, 0, 3600, -3600, 1e8, -1e8])
    time.time_ns = lambda: int(time.time() * 1e9)


def renames_are_slow() -> None:
    """A result that was renamed is seen under its new name a while later only, as by another machine of a network."""
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if not (self / "record.json").exists():
            return real(self, target)
        Timer(0.3, real, (self, target)).start()
        return target

    Path.rename = rename  # type: ignore[method-assign]


def builds_are_noted() -> None:
    """Each time a step is really done, a line is added to a file."""
    from datatrial.engine.store import Store

    real, notes = Store._build_alone, os.environ["DATATRIAL_TORTURE_NOTES"]

    def build(self: Store, work: object, *rest: object) -> None:
        with Path(notes).open("a") as file:
            file.write(f"{work.key}\n")  # type: ignore[attr-defined]
        real(self, work, *rest)  # type: ignore[arg-type]

    Store._build_alone = build  # type: ignore[method-assign, assignment]


def last_comes_first() -> None:
    """Of what could begin, that begins which would be the last to."""
    from datatrial.engine import schedule

    def most_urgent(self: schedule.Waiting) -> str:
        self.ready.sort()
        return self.ready.pop()[2]

    schedule.Waiting.most_urgent = most_urgent  # type: ignore[method-assign]


def an_eighth_at_a_time() -> None:
    """Of the tokens that go through a model."""
    from datatrial.likelihood import budget
    from datatrial.training import _at_once

    _at_once.MOST_ON_CPU //= 8
    real = budget.cpu_budget

    def smaller(widths: budget.Widths) -> budget.Budget:
        whole = real(widths)
        return replace(whole, row=whole.row // 8, tokens=whole.tokens // 8, keep=whole.keep // 8)

    budget.cpu_budget = smaller


for _what in filter(None, os.environ.get("DATATRIAL_TORTURE", "").split(",")):
    globals()[_what]()
