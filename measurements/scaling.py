"""What the scheduler costs, and how near it comes to the best there can be, on a study of a thousand arms.

    python measurements/scaling.py [--arms 1000] [--seeds 5] [--devices 64] [--scale 600]

The real schedule, over a real store and with the progress display, and an executor of one thread per device whose steps
sleep. A fifth of the arms are SFT runs, on which the others go on with DPO, and each is scored on four benchmarks. A
step sleeps for as long as such a step of a 7B model may take (drawn around a mean of its kind, see `SECONDS`), divided
by `--scale`: at full length, the scheduler's share is smaller by that factor.

- Overhead: the processor time of the thread that schedules, over the time for which devices were busy; and, stricter,
  over the length of the run, in which that one thread serves all devices.
- Bound: no schedule can be shorter than the longest chain of steps, or than all work spread evenly. Both are taken of
  what the sleeps really took, so that a late wake-up by the system is no fault of the schedule.
"""

import argparse
import queue
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console

import datatrial
from datatrial.engine import schedule
from datatrial.engine.live import About
from datatrial.engine.presence import registered
from datatrial.engine.progress import ProgressDisplay
from datatrial.engine.schedule import Event, all_of
from datatrial.engine.step import Step, upstream_first
from datatrial.engine.store import Store, Work
from datatrial.engine.time_left import TimeLeft
from datatrial.records import Runtime

SECONDS = {  # of a step of each kind, in the mean
    "model": 5.0,
    "data": 60.0,
    "sft": 1800.0,
    "dpo": 2700.0,
    "mmlu": 420.0,
    "hellaswag": 240.0,
    "truthfulqa": 60.0,
    "safety": 180.0,
}
BENCHMARKS = ("mmlu", "hellaswag", "truthfulqa", "safety")
SFT_SHARE = 5  # of so many arms, one is SFT alone
SPREAD = 0.4  # of log seconds: data sets differ in size


@dataclass(frozen=True)
class Sleep:
    """Takes its time; the name makes it one of many."""

    kind: str
    name: str
    seconds: float

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        time.sleep(self.seconds)


class Threads:
    """An executor of one thread per device. It keeps no results: writing them is the devices' work."""

    def __init__(self, devices: int):
        self.slots = devices
        self.given: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self.told: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.took: dict[str, float] = {}  # seconds of each step, as they were
        for _ in range(devices):
            threading.Thread(target=self._device, daemon=True).start()

    def submit(self, work: Work) -> None:
        self.given.put(work)

    def _device(self) -> None:
        while True:
            work = self.given.get()
            self.told.put(Event("started", work.digest))
            began = time.monotonic()
            work.task.run({}, Path(), Runtime())
            self.took[work.digest] = time.monotonic() - began
            self.told.put(Event("done", work.digest))

    def wait(self) -> Iterable[Event]:
        with suppress(queue.Empty):
            events = [self.told.get(timeout=schedule.LOOK_SECONDS)]
            while not self.told.empty():
                events.append(self.told.get())
            return events
        return ()

    def withdraw(self) -> Iterable[str]:
        return ()


def study(arms: int, seeds: int, scale: float) -> list[Step]:
    """The scorings of a study of that shape, and below them all that they need."""
    rng = random.Random(0)

    def step(kind: str, name: str, inputs: Mapping[str, Step]) -> Step:
        seconds = SECONDS[kind] * rng.lognormvariate(-(SPREAD**2) / 2, SPREAD) / scale
        return Step(Sleep(kind, name, seconds), inputs, label=f"{kind} {name}")

    model = step("model", "base", {})
    goals = [step(benchmark, "base", {"policy": model}) for benchmark in BENCHMARKS]
    trained: dict[tuple[int, int], Step] = {}  # SFT runs by arm and seed
    for arm in range(arms):
        data = step("data", str(arm), {})
        for seed in range(seeds):
            name, alone = f"{arm}, seed {seed}", arm % SFT_SHARE == 0
            before = model if alone else trained[arm - arm % SFT_SHARE, seed]
            policy = step("sft" if alone else "dpo", name, {"policy": before, "data": data})
            trained[arm, seed] = policy
            goals += [step(benchmark, name, {"policy": policy}) for benchmark in BENCHMARKS]
    return goals


def longest_chain(steps: Iterable[Step], took: Mapping[str, float]) -> float:
    """Seconds from the first to the last step of the chain that takes longest; `steps` come after their inputs."""
    ends: dict[str, float] = {}
    for step in steps:
        ends[step.digest] = took[step.digest] + max((ends[dep.digest] for dep in step.inputs.values()), default=0.0)
    return max(ends.values())


def measure(goals: list[Step], devices: int) -> dict[str, float]:
    steps, executor = list(upstream_first(*goals)), Threads(devices)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.open()
        console = Console(file=(Path(folder) / "shown").open("w"), width=120)
        clock, processor = time.monotonic(), time.thread_time()
        # All that a run does besides: it reckons the time left, shows it, and tells other processes of itself.
        time_left = TimeLeft(steps, store, devices, {step.digest: step.task.seconds for step in steps})
        display = ProgressDisplay(time_left, store, console)
        with registered(store.board, About("scaling"), steps, time_left) as presence:
            told = all_of(time_left, presence, display)
            outcome = schedule.run(goals, store, executor, told, presence.look_around)
        makespan, scheduler = time.monotonic() - clock, time.thread_time() - processor
    assert outcome.done == {step.digest for step in steps}
    busy, chain = sum(executor.took.values()), longest_chain(steps, executor.took)
    return {
        "steps": len(steps),
        "makespan": makespan,
        "scheduler ÷ busy": scheduler / busy,
        "scheduler ÷ run": scheduler / makespan,
        "longest chain ÷ bound": chain / max(chain, busy / devices),
        "makespan ÷ bound": makespan / max(chain, busy / devices),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("arms", 1000), ("seeds", 5), ("devices", 64), ("scale", 600)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    found = measure(study(options.arms, options.seeds, options.scale), options.devices)
    command = " ".join(["python measurements/scaling.py", *sys.argv[1:]])
    print(f"{date.today()}; `{command}`; datatrial {datatrial.__version__}\n")
    print(
        f"{options.arms:,} arms × {options.seeds} seeds on {options.devices} devices: {found['steps']:,.0f} steps that "
        f"sleep for 1/{options.scale} of what they stand for.\n"
    )
    strict = 100 * found["scheduler ÷ run"]
    print("| | % |\n|---|---|")
    print(f"| scheduler's processor time ÷ busy time of the devices | {100 * found['scheduler ÷ busy']:.3f} |")
    print(f"| scheduler's processor time ÷ length of the run | {strict:.2f} |")
    print(f"| the same at full length ({options.scale} times as long) | {strict / options.scale:.4f} |")
    print(f"| length of the run ÷ bound | {100 * found['makespan ÷ bound']:.1f} |")
    print(f"| longest chain ÷ bound (below 100: the bound is the work) | {100 * found['longest chain ÷ bound']:.1f} |")


if __name__ == "__main__":
    main()
