"""`datatrial plan`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datatrial.cli._app import DEFAULT_STORE, OVERRIDES, STORE, STUDY, app, explained, out, planned, state

if TYPE_CHECKING:
    from datatrial.engine.step import Step
    from datatrial.engine.store import Store
    from datatrial.estimates.estimate import Estimates

PLANNED_FOR = Annotated[
    str | None, typer.Option(help="h200, a100-80, rtx-4090 or cpu; by default what this machine has.")
]


@app.command()
def plan(
    study: STUDY,
    overrides: OVERRIDES = None,
    store: STORE = DEFAULT_STORE,
    device: PLANNED_FOR = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say what a study will take, and what it could tell: work, time, memory, disk, and the smallest difference found.

    Nothing is computed or downloaded for it: docs/plan.md tells what the estimates rest on.
    """
    from datatrial.cli import _plan_tables
    from datatrial.estimates.devices import device_of
    from datatrial.estimates.estimate import Estimates

    with explained():
        study_plan, kept = planned(study, overrides, store)
        estimates = Estimates(study_plan, kept, device_of(device))
        states = {step.digest: state(kept, step) for step in study_plan.steps}
        if as_json:
            print(json.dumps(_as_json(estimates, kept, states), indent=2))
            return
        for shown in _plan_tables.shown(estimates, states):
            out.print(shown, soft_wrap=isinstance(shown, str), highlight=False)


def _as_json(estimates: "Estimates", store: "Store", states: dict[str, Any]) -> dict[str, Any]:
    from datatrial.estimates.detectable import detectable

    plan, device = estimates.plan, estimates.device
    new = [step for step in plan.steps if states[step.digest] != "done"]
    return {
        "study": plan.study.name,
        "store": str(store),
        "steps": [_row(estimates, store, step, states[step.digest]) for step in plan.steps],
        "device": None if device is None else asdict(device),
        "totals": {"to_do": asdict(estimates.total(new)), "all": asdict(estimates.total(plan.steps))},
        "data": {name: asdict(estimates.data(step)) for name, step in plan.data.items()},
        "downloads": [asdict(download) for download in estimates.downloads],
        "detectable": [asdict(endpoint) for endpoint in detectable(estimates)],
        "notes": estimates.notes,
    }


def _row(estimates: "Estimates", store: "Store", step: "Step", state: str) -> dict[str, Any]:
    record = store.record(step) if state == "done" else {}
    return {
        "label": step.label,
        "kind": step.task.kind,
        "digest": step.digest,
        "state": state,
        "arms": estimates.plan.arms_of[step.digest],
        "inputs": {name: dep.digest for name, dep in step.inputs.items()},
        "externals": {name: str(external) for name, external in step.externals.items()},
        "estimate": asdict(estimates.steps[step.digest]),
        "measured": {name: record[name] for name in ("seconds", "peak_memory_mib", "device") if name in record},
    }
