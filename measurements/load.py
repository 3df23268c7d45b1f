"""Large studies: how long `check`, `plan`, `status` and a rerun of 1,000 arms take, and what 10 million scores need.

    python measurements/load.py arms   [--arms 1000] [--seeds 5] [--data-sets 1000] [--rounds 3] [--folder DIR]
    python measurements/load.py scores [--arms 20] [--seeds 5] [--items 20000] [--folder DIR]

Nothing is trained or scored: the results of every step before the statistics are made up, and lie in the store as the
steps themselves would have left them. Statistics and report are computed from them. Each prints a record in Markdown.

- arms: wall time of whole commands, imports included; the first `run` computes statistics and report, the others find
  everything done. Then the page in a browser, where Playwright and Chromium are there.
- scores: `run` of a study with few arms and many items, and the peak memory of the process that did the work.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from _load_results import fill
from _load_study import METRICS, Shape, write_study

import datatrial
from datatrial import planner
from datatrial.engine.environment import environment
from datatrial.engine.step import Step
from datatrial.engine.store import Store

CHROMIUM = Path("/usr/bin/chromium")


def command(*arguments: object) -> float:
    """Wall seconds of one command in a process of its own."""
    began = time.monotonic()
    told = subprocess.run(
        [sys.executable, "-m", "datatrial.cli", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if told.returncode:
        raise SystemExit(f"datatrial {' '.join(map(str, arguments))}: {told.stdout[-2000:]}{told.stderr[-2000:]}")
    return time.monotonic() - began


def row(what: str, seconds: list[float]) -> str:
    return f"| {what} | {median(seconds):.1f} | {min(seconds):.1f} – {max(seconds):.1f} | {len(seconds)} |"


def arms(shape: Shape, rounds: int, folder: Path) -> None:
    study, store = _filled(folder, shape)
    options = ("--store", store.root)
    summary = planner.plan(study, store.root).summary({})
    assert summary is not None
    first = command("run", study, *options)
    print(f"{shape.arms:,} arms × {shape.seeds} seeds, {shape.data_sets:,} data sets, {shape.contrasts:,} declared ")
    print(f"contrasts, {len(METRICS)} benchmarks: {len(planner.plan(study, store.root).steps):,} steps.\n")
    print("| command | median, s | range, s | rounds |\n|---|---|---|---|")
    empty = ("--store", folder / "empty")
    for name, asked in (("check", empty), ("plan", empty), ("status", empty), ("plan", options), ("status", options)):
        what = f"`{name}`{', everything done' if asked is options else ''}"
        print(row(what, [command(name, study, *asked) for _ in range(rounds)]), flush=True)
    print(row("`run`: statistics and report", [first]))
    print(row("`run` again", [command("run", study, *options) for _ in range(rounds)]))
    report = store.path(summary) / "report.html"
    print(f"\nThe page has {report.stat().st_size / 2**20:.1f} MiB{_opened(report)}. ", end="")
    _print_memory(store, summary)


def scores(shape: Shape, folder: Path) -> None:
    study, store = _filled(folder, shape)
    summary = planner.plan(study, store.root).summary({})
    assert summary is not None
    command("run", study, "--store", store.root)
    runs = 1 + shape.arms * shape.seeds
    print(f"{1 + shape.arms} arms, {runs} models × {shape.items:,} items × {sum(METRICS.values())} metrics of ", end="")
    print(f"{len(METRICS)} benchmarks: {runs * shape.items * sum(METRICS.values()):,} rows of scores.\n")
    _print_memory(store, summary)
    print(f"The page has {(store.path(summary) / 'report.html').stat().st_size / 2**20:.1f} MiB.")


def _filled(folder: Path, shape: Shape) -> tuple[Path, Store]:
    """The study's file, and a store that lacks nothing but its statistics and report."""
    study, store = folder / "study.yaml", Store(folder / "store")
    if not study.exists():
        write_study(folder, shape)
    fill(planner.plan(study, store.root).steps, store)
    return study, store


def _print_memory(store: Store, report: Step) -> None:
    for step in (report.inputs["contrasts"], report):
        record = store.record(step)
        print(f"{step.label}: {record['seconds']:.0f} s, {record['peak_memory_mib']['host']:,} MiB at most. ", end="")
    print()


def _opened(report: Path) -> str:
    """How long a browser takes to show the page."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return ""
    if not CHROMIUM.exists():
        return ""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page, began = browser.new_page(), time.monotonic()
        page.goto(report.as_uri())
        page.locator("#provenance-title").scroll_into_view_if_needed()
        seconds = time.monotonic() - began
        browser.close()
    return f", and Chromium shows it in {seconds:.1f} s"


def _heading() -> None:
    asked = " ".join(["python measurements/load.py", *sys.argv[1:]])
    about = environment()
    names = ("polars", "numpy", "pydantic", "ruamel.yaml", "rich", "matplotlib")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"{date.today()}; `{asked}`; datatrial {datatrial.__version__}, Python {about['python']}, {packages}; ")
    print(f"{psutil.cpu_count()} cores of {about['machine']}, load {os.getloadavg()[0]:.1f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    defaults: Mapping[str, Mapping[str, int]] = {
        "arms": {"arms": 1000, "seeds": 5, "data-sets": 1000, "items": 200, "contrasts": 1000, "rounds": 3},
        "scores": {"arms": 20, "seeds": 5, "data-sets": 20, "items": 20_000, "contrasts": 20},
    }
    for kind, options in defaults.items():
        of_kind = kinds.add_parser(kind)
        for name, default in options.items():
            of_kind.add_argument(f"--{name}", type=int, default=default)
        of_kind.add_argument("--folder", type=Path, help="Where the study and its store are kept; else they are not.")
    asked = vars(parser.parse_args())
    kind, kept, rounds = asked.pop("kind"), asked.pop("folder"), asked.pop("rounds", 1)
    _heading()
    measure: Callable[[Shape, Path], Any] = scores if kind == "scores" else lambda s, f: arms(s, rounds, f)
    with tempfile.TemporaryDirectory() as passing:
        measure(Shape(**asked), kept or Path(passing))


if __name__ == "__main__":
    main()
