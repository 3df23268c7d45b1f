"""What `datatrial plan` prints: data, training, scoring, arms, what would be detected, totals."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from datatrial.engine.step import Step
from datatrial.estimates.benchmarks import title_of
from datatrial.estimates.detectable import (
    CHANGED,
    CORRELATION,
    SAFETY,
    SEED_SPREAD,
    SHARE_SPREAD,
    Detectable,
    detectable,
)
from datatrial.estimates.devices import Device, Use
from datatrial.estimates.estimate import Estimates, StepEstimate, Total
from datatrial.estimates.sharing import workers_per_gpu
from datatrial.report.wording import listed, plural
from datatrial.statistics.levels import ALPHA, POWER
from datatrial.steps import ArmRun

_SEED = re.compile(r", seed \d+(?=$| )")
_BOUNDS = {"": "", "at most": "≤ "}
_UNKNOWN = "?"
_MOST_ROWS = 30  # of a table: what has thousands of arms or data sets is read by programs
_LARGE = (("", 1), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("P", 1e15), ("E", 1e18), ("Z", 1e21))


def shown(estimates: Estimates, states: Mapping[str, str]) -> Iterator[RenderableType]:
    """The parts of the plan in the order of reading."""
    plan, device, endpoints = estimates.plan, estimates.device, detectable(estimates)
    title = f"{plan.study.name}: {plural(len(plan.study.arms), 'arm')}, {plural(len(plan.study.seeds), 'seed')}"
    yield Text(f"{title}, on {device.title if device else 'a GPU that is in no table: name one with --device'}", "bold")
    yield from _titled("data", _data(estimates))
    yield from _titled("training (each run)", _training(estimates, states))
    yield from _titled("scoring (each model)", _scoring(estimates, states))
    yield from _titled("what each arm sees", _arms(estimates))
    yield from _titled("smallest difference between two trained arms that would be found", _detectable(endpoints))
    yield from _titled("totals", _totals(estimates, states))
    yield from _footer(estimates, states, endpoints)


def _titled(title: str, table: Table) -> Iterator[RenderableType]:
    if table.row_count:
        yield Text(f"\n{title}", style="bold")
        yield table


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _begun(table: Table, rows: Sequence[Sequence[str]]) -> Table:
    """The table with as many of the rows as people read, and how many more there are."""
    for row in rows[:_MOST_ROWS]:
        table.add_row(*map(Text, row))
    if more := len(rows[_MOST_ROWS:]):
        table.add_row(Text(f"… and {more:,} more: --json has them", "dim"))
    return table


def _data(estimates: Estimates) -> Table:
    sizes = {name: estimates.data(step) for name, step in estimates.plan.data.items()}
    rows = [
        (
            name,
            _BOUNDS[size.bound] + _count(size.rows),
            _count(size.characters),
            size.source if size.rows is not None else "unknown",
        )
        for name, size in sizes.items()
    ]
    return _begun(_table("", "rows", "characters", "known from"), rows)


def _training(estimates: Estimates, states: Mapping[str, str]) -> Table:
    rows = []
    for label, steps in _grouped(estimates, ("model", "training")):
        one = estimates.steps[steps[0].digest]
        if one.optimizer_steps is None and one.sort == "model" and not one.flops:
            continue  # an existing model: nothing is trained
        counts = (_BOUNDS[one.bound] + _count(one.rows), _passes(one), _count(one.optimizer_steps))
        rows.append((label, str(len(steps)), _done(steps, states), *counts, *_costs(one)))
    columns = ("runs", "done", "rows", "passes", "steps", "tokens", "FLOPs", "time", "memory")
    return _begun(_table("", *columns), rows)


def _scoring(estimates: Estimates, states: Mapping[str, str]) -> Table:
    table = _table("", "models", "done", "items", "requests", "tokens", "FLOPs", "time", "memory")
    for label, steps in _grouped(estimates, ("scoring",)):
        one = estimates.steps[steps[0].digest]
        counts = (_BOUNDS[one.bound] + _count(one.items), _short(one.requests))
        table.add_row(Text(label), str(len(steps)), _done(steps, states), *counts, *_costs(one))
    return table


def _costs(one: StepEstimate) -> tuple[str, str, str, str]:
    memory = _bytes(one.memory) + (" !" if one.fits is False else "")
    return _short(one.tokens), _short(one.flops), _time(one.seconds), memory


def _grouped(estimates: Estimates, sorts: Sequence[str]) -> Iterator[tuple[str, list[Step]]]:
    """Steps that differ in nothing but the seed, or in nothing but the arm that is scored."""
    groups: dict[tuple[str, Any], list[Step]] = {}
    for step in estimates.plan.steps:
        one = estimates.steps[step.digest]
        if one.sort in sorts:
            label = _SEED.sub("", step.label)
            if one.sort == "scoring":
                label = title_of(step)
            groups.setdefault((label, (one.flops, one.memory, one.items)), []).append(step)
    for (label, _), steps in groups.items():
        yield label, steps


def _arms(estimates: Estimates) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    first: dict[str, ArmRun] = {}  # an arm's first seed stands for it
    for run in estimates.plan.runs:
        first.setdefault(run.arm, run)
    rows = []
    for run in first.values():
        said = []
        for entry, step in run.stages:
            one = estimates.steps[step.digest]
            counted = f"{_BOUNDS[one.bound]}{_count(one.rows)} rows"
            said.append(f"{entry.kind} {entry.target}: {counted}, {_passes(one)} passes, {_short(one.tokens)} tokens")
        rows.append((run.arm, "; ".join(said) or "nothing: it is scored as it is"))
    return _begun(table, rows)


def _detectable(found: Sequence[Detectable]) -> Table:
    table = _table("endpoint", "items", "points", "known from")
    titles = list(dict.fromkeys(one.endpoint.partition("/")[0] for one in found))
    for title in titles:
        own = [one for one in found if one.endpoint == title]
        groups = [one for one in found if one.endpoint.startswith(f"{title}/")]
        for one in own:
            name = f"{title} (mean of {len(groups)} groups)" if groups else title
            table.add_row(Text(name), _count(one.items), _points([one]), _basis(one))
        if groups:
            items = [one.items for one in groups if one.items is not None]
            span = f"{min(items):,.0f} – {max(items):,.0f}" if items else _UNKNOWN
            table.add_row(Text(f"{title}/each group"), span, _points(groups), _basis(groups[0]))
    return table


def _points(endpoints: Sequence[Detectable]) -> str:
    found = sorted({round(100 * one.difference, 1) for one in endpoints if one.difference is not None})
    return _UNKNOWN if not found else f"{found[0]}" if len(found) == 1 else f"{found[0]} – {found[-1]}"


def _basis(one: Detectable) -> str:
    names = {"seed_spread": "seeds", "changes": "items"}
    return f"results: {listed([names[m] for m in one.measured])}" if one.measured else "assumed"


def _totals(estimates: Estimates, states: Mapping[str, str]) -> Table:
    steps = estimates.plan.steps
    new = [step for step in steps if states[step.digest] != "done"]
    device = estimates.device
    processes = estimates.plan.study.launch.num_processes
    devices = max(1, device.workers // processes) if device else 1
    each = workers_per_gpu(estimates.plan, device)
    together = f"with {plural(devices * each, 'worker')}"
    table = _table("", "steps", "tokens", "FLOPs", "time in all", together, "results on disk")
    for name, some in (("to do", new), ("all", steps)):
        total = estimates.total(some)
        bound = "≤ " if total.bounded else ""
        times = (_time(total.seconds), _time(max(total.busy, total.seconds / each) / devices))
        numbers = (_short(total.tokens), _short(total.flops), *times)
        known = [_UNKNOWN if _nothing_known(total) else bound + number for number in numbers]
        table.add_row(name, str(total.steps), *known, _bytes(total.disk))
    return table


def _nothing_known(total: Total) -> bool:
    return total.steps > 0 and total.unknown == total.steps


def _footer(
    estimates: Estimates, states: Mapping[str, str], endpoints: Sequence[Detectable]
) -> Iterator[RenderableType]:
    plan, device = estimates.plan, estimates.device
    unknown = [step for step in plan.steps if estimates.steps[step.digest].seconds is None]
    new = sum(states[step.digest] != "done" for step in plan.steps)
    arms = [len(plan.arms_of[step.digest]) for step in plan.steps]
    shared, every = sum(1 < n < len(plan.study.arms) for n in arms), sum(n == len(plan.study.arms) for n in arms)
    yield f"\n{len(arms)} steps, {new} to do; {shared} are shared between some of the arms and {every} by all"
    if unknown and device:
        yield f"in no total: {plural(len(unknown), 'step')} whose time cannot be told (?)"
    yield from _downloads(estimates)
    if any(one.fits is False for one in estimates.steps.values()):
        memory = _bytes(device.memory) if device else ""
        yield f"! does not fit into the {memory} of {device.title if device else 'the device'}"
    for note in estimates.notes:
        yield Text(f"note: {note}", style="yellow" if "held_out" in note else "dim")
    if len(plan.study.seeds) == 1:
        yield Text(
            "note: with one seed, differences are between these very models: other seeds may differ", style="dim"
        )
    yield Text(_formula(device, endpoints), style="dim")


def _downloads(estimates: Estimates) -> Iterator[str]:
    if downloads := estimates.downloads:
        known = [download.size for download in downloads if download.size is not None]
        names = [download.repo for download in downloads if download.size is None]
        rest = f", and {plural(len(names), 'repository', 'repositories')} of unknown size"
        yield f"to download: about {_bytes(sum(known))}{rest if names else ''} (`datatrial fetch` does)"


def _formula(device: Device | None, endpoints: Sequence[Detectable]) -> str:
    lines = [
        "FLOPs: 2 for each parameter and token forward, as many back through frozen weights, and again where gradients "
        "are checkpointed; attention and head on top. Tokens are those of every text, FLOPs those of what is computed: "
        "no padding, and prompts once."
    ]
    if device:
        shares: dict[Use, float] = dict(device.utilization)
        lines.append(
            f"time: FLOPs / ({_short(device.peak['bfloat16'])} a second in 16 bits, {_short(device.peak['float32'])} "
            f"in 32, of which {shares['training']:.0%} in training and {shares['scoring']:.0%} in scoring are "
            "assumed), plus memory traffic and starts. Expect a factor of 2 either way."
        )
    if any(one.difference is not None for one in endpoints):
        lines.append(
            f"differences: two-sided tests at {ALPHA:.0%} with {POWER:.0%} power, paired by item. Assumed unless "
            f"results say otherwise: {CHANGED:.0%} of items change (shares by {100 * SHARE_SPREAD:g} points, sd), an "
            f"arm's seeds differ by {100 * SEED_SPREAD:g} points (sd), safety is {SAFETY:g} and correlates by "
            f"{CORRELATION:g} between arms."
        )
    return "\n".join([*lines, "docs/plan.md has the formulas and their sources; --json has all the numbers."])


def _done(steps: Sequence[Step], states: Mapping[str, str]) -> str:
    done = sum(states[step.digest] == "done" for step in steps)
    return "–" if not done else "all" if done == len(steps) else str(done)


def _passes(one: StepEstimate) -> str:
    if one.passes is None:
        return _UNKNOWN
    bound = "≥ " if one.bound == "at most" and one.passes != round(one.passes) else ""  # fewer rows, more passes
    return bound + (f"{one.passes:.1f}" if one.passes >= 1 else f"{one.passes:.2g}")


def _count(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.0f}"


def _short(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    unit, size = next(((u, s) for u, s in reversed(_LARGE) if value >= s), ("", 1))
    number = value / size
    return f"{number:.0f}{unit}" if number >= 10 or not unit else f"{number:.1f}{unit}"


def _bytes(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{_short(value)}B"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
