"""How right the time left is that a run says: on real studies, and on many that are made up.

    DATATRIAL_HUB_ROOT=/path/to/mirror python measurements/eta.py [STUDY …] > measurements/results/eta.md

Each study is run in a fresh store. At each event the time left is noted as it is said, and later set beside what was
really left. Then the same steps are gone through once more by the real schedule, on a clock that is set: each takes
the processor time that it took, on other numbers of workers, as on a machine that does nothing else.

The studies that are made up have arms of SFT and DPO on four benchmarks. What a step really takes differs from what it
should by a factor of the device, by one of its kind, by one of its own, and, the first time in each worker, by the
start of libraries.
"""

import heapq
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import psutil

import datatrial
from datatrial.engine import schedule, time_left
from datatrial.engine.schedule import Event, all_of
from datatrial.engine.step import Step
from datatrial.engine.store import Store, Work
from datatrial.engine.time_left import TimeLeft, clock
from datatrial.estimates.devices import device_of
from datatrial.estimates.expected import expected as expected_of
from datatrial.records import Resources, Runtime
from datatrial.trial import Trial, prepare

STUDIES = ("studies/quickstart.yaml", "studies/paper_small.yaml", "studies/real_sample.yaml")
NOWHERE = Path("/nonexistent")
PARTS = (0.1, 0.25, 0.5, 0.75)  # of the run's length
SLOTS = (1, 2, 4, 8)
MADE_UP = 100  # studies
DEVICE, OFF, OWN = 0.35, 0.35, 0.15  # spread of the factors of a device, of a kind, of a step, in log seconds
START = 15.0  # seconds, the first time in a worker
MEANS = {"model": 900.0, "sft": 1200.0, "dpo": 2000.0, "mmlu": 300.0, "hellaswag": 200.0, "arc": 60.0, "safety": 90.0}
BENCHMARKS = ("mmlu", "hellaswag", "arc", "safety")

Said = list[tuple[float, float | None]]  # when it was said how much is left, in seconds since the beginning


@dataclass
class Took:
    """What a step took, in seconds of its worker's processor time, and when it said how far it was."""

    began: float = 0.0
    seconds: float = 0.0
    told: list[tuple[float, Event]] = field(default_factory=list)


class Clock:
    """Stands in for `time` where it is asked for the time; who measures sets it."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Virtual:
    """An executor whose steps take what they are said to, on a clock that it sets."""

    def __init__(self, slots: int, took: Mapping[str, Took], watch: Clock, start: float = 0.0):
        self.slots, self.took, self.watch, self.start = slots, took, watch, start
        self.fresh = slots  # workers that have had no step yet
        self.queue: list[tuple[float, int, Event]] = []
        self.begun: list[Event] = []
        self.count = 0

    def submit(self, work: Work) -> None:
        self.begun.append(Event("started", work.digest))
        one, head = self.took[work.digest], self.start if self.fresh else 0.0
        self.fresh = max(self.fresh - 1, 0)
        for after, event in [*one.told, (one.seconds, Event("done", work.digest))]:
            self.count += 1
            heapq.heappush(self.queue, (self.watch.now + head + after, self.count, event))

    def wait(self) -> Iterable[Event]:
        if self.begun:
            begun, self.begun = self.begun, []
            return begun
        self.watch.now, _, event = heapq.heappop(self.queue)
        return [event]

    def withdraw(self) -> Iterable[str]:
        return ()


def really(trial: Trial) -> tuple[Said, float, dict[str, Took]]:
    """Run a study: what was said, how long it took, and what each step took."""
    said: Said = []
    took: dict[str, Took] = defaultdict(Took)
    worker: dict[str, int] = {}
    began = time.monotonic()
    with trial.place.executor(trial.store) as executor:

        def processor_time(digest: str) -> float:
            for number, one in enumerate(executor.workers):
                if one.work is not None and one.work.digest == digest:
                    worker[digest] = number
            process = executor.workers[worker[digest]].process
            times = psutil.Process(process.pid).cpu_times()
            return times.user + times.system + times.children_user + times.children_system

        def listen(event: Event, step: Step) -> None:
            said.append((time.monotonic() - began, trial.time_left.seconds()))
            if event.change in ("started", "progress", "done"):
                one, now = took[event.digest], processor_time(event.digest)
                if event.change == "started":
                    one.began = now
                elif event.change == "progress":
                    one.told.append((now - one.began, event))
                else:
                    one.seconds = now - one.began

        told = all_of(trial.time_left, listen)
        summary = trial.plan.summary({})
        for goals in (trial.plan.goals, [summary]):
            assert not schedule.run(goals, trial.store, executor, told).unfinished
    return said, time.monotonic() - began, took


class Filling(Store):
    """The store as it was while the steps ran: it has what is done on the clock that is set."""

    def __init__(self, root: Path):
        super().__init__(root)
        self.done = set[str]()

    def has(self, step: Step) -> bool:
        return step.digest in self.done

    def path(self, step: Step) -> Path:
        return super().path(step) if self.has(step) else NOWHERE

    def note_success(self, step: Step) -> None:
        pass


def again(
    steps: Sequence[Step],
    took: Mapping[str, Took],
    slots: int,
    expected: Callable[[Store], Mapping[str, float | None]],
    start: float = 0.0,
    root: Path = NOWHERE,
) -> tuple[Said, float]:
    """The same on a clock that is set: what was said, and how long it took."""
    watch, said, store = Clock(), list[tuple[float, float | None]](), Filling(root)
    time_left.time = watch
    try:
        left = TimeLeft(steps, store, slots, expected(store), anew=lambda: expected(store))

        def listen(event: Event, step: Step) -> None:
            if event.change == "done":
                store.done.add(step.digest)
            said.append((watch.now, left.seconds()))

        schedule.run(steps, store, Virtual(slots, took, watch, start), all_of(left, listen))
    finally:
        time_left.time = time
    return said, watch.now


def warm(trial: Trial, store: Store) -> Mapping[str, float | None]:
    """What the steps of a trial should take by what a store has."""
    return expected_of(trial.plan, store, device_of("cpu")).warm


def ratios(said: Said, whole: float) -> list[float | None]:
    """Seconds said over those really left, after each of `PARTS` of the run; then for what share of it within 30%."""
    found: list[float | None] = []
    for part in PARTS:
        when, left = [said[0], *(one for one in said if one[0] <= whole * part)][-1]
        found.append(None if left is None else left / (whole - when))
    right = between = 0.0
    for (when, left), (until, _) in pairwise(said):
        if PARTS[0] * whole <= when <= 0.95 * whole:
            between += until - when
            right += (until - when) * (left is not None and abs(left / (whole - when) - 1) <= 0.3)
    return [*found, right / between]


def row(name: str, whole: float, found: Sequence[float | None]) -> str:
    cells = ["–" if value is None else f"{value:.2f}" for value in found[:-1]]
    return f"| {name} | {clock(whole)} | {' | '.join(cells)} | {found[-1]:.0%} |"


def made_up(rng: Random) -> tuple[list[Step], dict[str, float], dict[str, Took]]:
    """The steps of a study, what each should take, and what it takes."""
    device = rng.lognormvariate(0, DEVICE)
    off = {kind: device * rng.lognormvariate(0, OFF) for kind in MEANS}
    sizes = {kind: rng.lognormvariate(0, 0.8) for kind in MEANS}
    steps, expected, took = list[Step](), dict[str, float](), dict[str, Took]()

    def step(kind: str, name: str, inputs: Mapping[str, Step]) -> Step:
        made = Step(Named(kind, name), inputs, label=name, resources=Resources(gpus=None))
        should = 5 + MEANS[kind] * sizes[kind] * rng.lognormvariate(0, 0.3)
        seconds = should * off[kind] * rng.lognormvariate(0, OWN)
        marks = [(seconds * n / 25, Event("progress", made.digest, "steps", n, 25)) for n in range(26)]
        expected[made.digest], took[made.digest] = should, Took(0.0, seconds, marks)
        steps.append(made)
        return made

    base = step("model", "base", {})
    for arm in range(rng.randint(2, 10)):
        for seed in range(rng.randint(1, 5)):
            stages = [step("sft", f"sft {arm} {seed}", {"base": base})]
            if arm % 2:
                stages.append(step("dpo", f"dpo {arm} {seed}", {"policy": stages[0]}))
            for benchmark in BENCHMARKS:
                step(benchmark, f"{benchmark} {arm} {seed}", {"policy": stages[-1]})
    return steps, expected, took


@dataclass(frozen=True)
class Named:
    """A task that is never run."""

    kind: str
    name: str

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        raise NotImplementedError


def main() -> None:
    print(f"{date.today()}; `python measurements/eta.py`; datatrial {datatrial.__version__}\n")
    print(
        "Seconds said to be left over those really left (1.00 is right, 0.70–1.30 within 30%), after that much of the"
    )
    print("run's length; then the share of the time between 10% and 95% in which it was right within 30%.\n")
    print(f"| study | length | {' | '.join(f'{part:.0%}' for part in PARTS)} | right |\n|---|---|{'---|' * 5}")
    for study in sys.argv[1:] or STUDIES:
        with tempfile.TemporaryDirectory() as folder:
            trial = prepare(study, folder, device="cpu")
            said, whole, took = really(trial)
            load = psutil.getloadavg()[2]
            print(row(f"{study}, as it ran: {trial.slots} workers, load {load:.1f}", whole, ratios(said, whole)))
            for slots in SLOTS:
                told, length = again(trial.steps, took, slots, partial(warm, trial), root=trial.store.root)
                print(
                    row(f"{study}, its processor seconds on {slots} workers", length, ratios(told, length)), flush=True
                )
    made = [made_up(Random(number)) for number in range(MADE_UP)]
    print(f"\n{MADE_UP} studies that are made up: of how many it was right within 30%.\n")
    print(f"| workers | {' | '.join(f'{part:.0%}' for part in PARTS)} |\n|---|{'---|' * 4}")
    for slots in SLOTS:
        found = [ratios(*again(steps, took, slots, lambda _, e=expected: e, START)) for steps, expected, took in made]
        right = [sum(abs((one[n] or 0.0) - 1) <= 0.3 for one in found) / len(found) for n in range(len(PARTS))]
        print(f"| {slots} | {' | '.join(f'{share:.0%}' for share in right)} |", flush=True)


if __name__ == "__main__":
    main()
