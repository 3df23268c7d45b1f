"""A step that prints as fast as it can, and what its log comes to."""

import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from datatrial.engine.local import LocalExecutor
from datatrial.engine.schedule import run
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.records import Runtime


@dataclass(frozen=True)
class Prints:
    """Prints for so many seconds, beside another process that does so too."""

    seconds: float
    kind: str = "prints"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "seconds": self.seconds}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        deadline = time.monotonic() + self.seconds
        with subprocess.Popen(["yes", "another process says this"]) as other:
            while time.monotonic() < deadline:
                print("a library says this again and again\n" * 1000, flush=True)
            other.kill()


def print_much(seconds: float) -> None:
    """Prints how long the log of such a step is while it runs, and at its end."""
    with tempfile.TemporaryDirectory() as folder:
        store, step, sizes = Store(Path(folder)), Step(Prints(seconds)), [0]
        store.open()
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(0.05):
                sizes.append(store.log(step).stat().st_size if store.log(step).exists() else 0)

        looking = threading.Thread(target=look)
        looking.start()
        with LocalExecutor(store, jobs=1, device="cpu") as executor:
            outcome = run([step], store, executor, lambda event, step: None)
        ended.set()
        looking.join()
        assert outcome.done
        lines = store.read_log(step).splitlines()
    left_out = " ".join(next(line for line in lines if "left out" in line).split())
    print(f"{seconds:g} s of printing by two processes: the log has {sizes[-1] / 2**20:.1f} MiB at the end, and had ")
    print(f"{median(sizes) / 2**20:.0f} MiB in the median, {max(sizes) / 2**20:.0f} at most. It says “{left_out}”.")
