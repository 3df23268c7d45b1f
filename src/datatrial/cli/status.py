"""`datatrial status`."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from datatrial.cli._app import DEFAULT_STORE, OVERRIDES, STORE, STUDY, State, app, explained, out, planned, state

if TYPE_CHECKING:
    from datatrial.engine.live import LiveRun
    from datatrial.steps import Plan

BAR = 20  # characters
COLUMNS: dict[State, str] = {
    "done": "done",
    "running": "running",
    "interrupted": "interrupted",
    "failed": "failed",
    "new": "to do",
}

MOST_ARMS = 30  # with a row of their own; of more, those that are equally far share one


@app.command()
def status(study: STUDY, overrides: OVERRIDES = None, store: STORE = DEFAULT_STORE) -> None:
    """Say how far a study is: what runs now and for how long yet, which steps are done, failed or still to do."""
    from datatrial.engine.live import keys_of, live_runs

    with explained():
        study_plan, kept = planned(study, overrides, store)
        if not kept.is_there:
            out.print(Text(f"there is no store at {kept} yet: `datatrial run` makes it"), soft_wrap=True)
        steps = {step.digest: step for step in study_plan.steps}
        ours = {step.key for step in study_plan.steps}
        runs = [run for run in live_runs(kept.board) if keys_of(kept.board, run) & ours]
        for run in runs:
            _print_run(run)
        at_work = {step.digest for run in runs for step in run.running}
        states = {digest: state(kept, step, at_work) for digest, step in steps.items()}
        table = Table("arm", *COLUMNS.values(), box=None, header_style="bold")
        for arms, counts in _rows(_counts(study_plan, states)):
            table.add_row(Text(arms), *map(str, counts))
        out.print(table)
        for digest, step in steps.items():
            if states[digest] == "failed":
                out.print(Text(f"failed: {step.label}: {kept.failure(step)}\n  its log: {kept.log_place(step)}"))
            elif states[digest] == "interrupted":
                out.print(Text(f"interrupted: {step.label}: the next run goes on from where it was"))


def _print_run(run: "LiveRun") -> None:
    from datatrial.engine.time_left import clock

    counts = [f"{run.done} done", f"{len(run.running)} running", f"{run.waiting} waiting"]
    counts += [f"{run.failed} failed"] if run.failed else []
    counts += [run.ending] if run.ending else []
    out.print(Text(f"{run} ({clock(run.seconds)} so far)", style="bold"), soft_wrap=True)
    out.print(Text(f"  {' · '.join(counts)}"), soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for no_wrap in (True, False, True, False, True):
        table.add_column(no_wrap=no_wrap)
    for step in run.running:
        share = step.done / step.total if step.total else 0.0
        full = round(BAR * share)
        bar = f"{'█' * full}{'░' * (BAR - full)} {share:4.0%}" if step.total else ""
        count = f"{step.done:,.0f}/{step.total:,.0f} {step.counted}" if step.total else step.counted
        table.add_row("", Text(step.label), bar, Text(count), f"for {clock(step.seconds)}")
    out.print(table, "")


def _counts(plan: "Plan", states: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """How many steps of each arm are in each state."""
    found: dict[str, Counter[str]] = {arm: Counter() for arm in plan.study.arms}
    for digest, arms in plan.arms_of.items():
        for arm in arms:
            found[arm][states[digest]] += 1
    return {arm: tuple(counts[state] for state in COLUMNS) for arm, counts in found.items()}


def _rows(counts: Mapping[str, tuple[int, ...]]) -> list[tuple[str, tuple[int, ...]]]:
    if len(counts) <= MOST_ARMS:
        return list(counts.items())
    alike: dict[tuple[int, ...], list[str]] = {}
    for arm, of_arm in counts.items():
        alike.setdefault(of_arm, []).append(arm)
    more = {of_arm: f" and {len(arms) - 1:,} more" if arms[1:] else "" for of_arm, arms in alike.items()}
    return [(f"{arms[0]}{more[of_arm]}", of_arm) for of_arm, arms in alike.items()]
