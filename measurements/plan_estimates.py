"""How far `datatrial plan` is off on a CPU: a study is planned, run step by step, and both are set side by side.

    OMP_NUM_THREADS=1 python measurements/plan_estimates.py STUDY [key=value …] [> results/plan_estimates.txt]

Everything is estimated before anything is made, as for a new study. Each step then runs in a process of its own that
has the libraries imported already, on one thread. Time is CPU time, which other work on the machine inflates little;
memory is the peak of that process. A worker of a real run goes on from step to step: it keeps some memory of earlier
ones, and has 100 MiB more of its own.
"""

import importlib
import multiprocessing
import sys
import tempfile
import time
from collections import defaultdict
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console
from rich.table import Table

from datatrial import planner
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.estimates.devices import device_of
from datatrial.estimates.estimate import Estimates, StepEstimate
from datatrial.records import Runtime, read_json

MEASURED = ("model", "training", "scoring")
SAYING = ("training.json", "summary.json")
IMPORTED = ("torch", "peft", "trl", "datasets", "datatrial.evaluation._harness", "datatrial.training._run")


def build(step: Step, store: Store, answer: Connection) -> None:
    started = time.process_time()
    store.build(store.work(step), Runtime(device="cpu", cache=store.root / "cache"))
    answer.send(time.process_time() - started)


def built(step: Step, store: Store) -> tuple[float, float, int | None]:
    """CPU seconds and peak bytes of a step, and its tokens, where it says so."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    process = fork.Process(target=build, args=(step, store, there))
    process.start()
    there.close()
    seconds = here.recv()
    process.join()
    memory = store.record(step)["peak_memory_mib"]["host"] * 2**20
    return seconds, memory, tokens(store.path(step))


def tokens(result: Path) -> int | None:
    """Tokens that were trained on, or went through the model to be scored."""
    training, summary = (read_json(file) if file.exists() else {} for file in map(result.joinpath, SAYING))
    return training.get("tokens_seen", training.get("tokens")) or summary.get("scoring", {}).get("tokens")


def cells(planned: float | None, ran: float | None, digits: int, unit: float = 1.0) -> list[str]:
    if planned is None or ran is None:
        return ["–"] * 3
    return [f"{planned / unit:,.{digits}f}", f"{ran / unit:,.{digits}f}", f"{planned / ran:.2f}"]


def row(label: str, one: StepEstimate, seconds: float, memory: float, tokens: int | None) -> list[str]:
    return [label, *cells(one.tokens, tokens, 0), *cells(one.seconds, seconds, 1), *cells(one.memory, memory, 0, 2**20)]


def main(study: Path, overrides: list[str]) -> None:
    for module in IMPORTED:
        importlib.import_module(module)
    table, ratios = Table(box=None), defaultdict(list)
    for column in ("step", *(c for what in ("tokens", "seconds", "MiB") for c in (f"{what}: plan", "run", "ratio"))):
        table.add_column(column, justify="left" if column == "step" else "right", no_wrap=True)
    device = device_of("cpu")
    assert device is not None
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.open()
        plan = planner.plan(study, store.root, overrides)
        before = dict(Estimates(plan, store, device).steps)
        for step in plan.steps:
            one = before[step.digest]
            seconds, memory, tokens = built(step, store)
            if one.sort in MEASURED:
                table.add_row(*row(step.label, one, seconds, memory, tokens))
                ratios[one.sort, "seconds"] += [one.seconds / seconds] if one.seconds else []
                ratios[one.sort, "memory"] += [one.memory / memory] if one.memory else []
    console = Console(width=160, highlight=False, markup=False)
    console.print(f"{study.name} {' '.join(overrides)}")
    console.print(f"{device.title}; load {psutil.getloadavg()[0]:.1f}\n")
    console.print(table)
    for (sort, what), found in ratios.items():
        if found:
            span = f"{min(found):.2f} – {max(found):.2f}, median {median(found):.2f}, of {len(found)} steps"
            console.print(f"{sort}, {what}: plan / run {span}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
