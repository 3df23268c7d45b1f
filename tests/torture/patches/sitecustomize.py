"""Python runs this first in every process of a run that has this folder on its path: what DATATRIAL_TORTURE names."""

import os
import random
import time
from pathlib import Path


def clock_jumps() -> None:
    """The clock is set, years ahead or back, all the time."""
    real, dice = time.time, random.Random(os.getpid())
    time.time = lambda: real() + dice.choice([0, 0, 3600, -3600, 1e8, -1e8])
    time.time_ns = lambda: int(time.time() * 1e9)


def renames_are_slow() -> None:
    """What was renamed is seen under its new name a while later only, as by another machine of a network."""
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        time.sleep(0.3)
        return real(self, target)

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


for _what in filter(None, os.environ.get("DATATRIAL_TORTURE", "").split(",")):
    globals()[_what]()
