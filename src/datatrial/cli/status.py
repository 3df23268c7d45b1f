"""`datatrial status`."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from datatrial.cli._app import DEFAULT_STORE, OVERRIDES, STORE, STUDY, app, explained, out, planned, state

if TYPE_CHECKING:
    from datatrial.steps import Plan

STATES = ("done", "running", "failed", "new")
MOST_ARMS = 30  # with a row of their own; of more, those that are equally far share one


@app.command()
def status(study: STUDY, overrides: OVERRIDES = None, store: STORE = DEFAULT_STORE) -> None:
    """Say how far a study is: which steps are done, running, failed or still to do."""
    with explained():
        study_plan, kept = planned(study, overrides, store)
        states = {step.digest: state(kept, step) for step in study_plan.steps}
        table = Table("arm", "done", "running", "failed", "to do", box=None, header_style="bold")
        for arms, counts in _rows(_counts(study_plan, states)):
            table.add_row(Text(arms), *map(str, counts))
        out.print(table)
        for step in study_plan.steps:
            if states[step.digest] == "failed":
                out.print(Text(f"failed: {step.label}: {kept.failure(step)}\n  its log: {kept.log_place(step)}"))


def _counts(plan: "Plan", states: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """How many steps of each arm are in each of `STATES`."""
    found: dict[str, Counter[str]] = {arm: Counter() for arm in plan.study.arms}
    for digest, arms in plan.arms_of.items():
        for arm in arms:
            found[arm][states[digest]] += 1
    return {arm: tuple(counts[state] for state in STATES) for arm, counts in found.items()}


def _rows(counts: Mapping[str, tuple[int, ...]]) -> list[tuple[str, tuple[int, ...]]]:
    if len(counts) <= MOST_ARMS:
        return list(counts.items())
    alike: dict[tuple[int, ...], list[str]] = {}
    for arm, of_arm in counts.items():
        alike.setdefault(of_arm, []).append(arm)
    more = {of_arm: f" and {len(arms) - 1:,} more" if arms[1:] else "" for of_arm, arms in alike.items()}
    return [(f"{arms[0]}{more[of_arm]}", of_arm) for of_arm, arms in alike.items()]
