"""`datatrial status`."""

from rich.table import Table
from rich.text import Text

from datatrial.cli._app import DEFAULT_STORE, OVERRIDES, STORE, STUDY, app, explained, out, planned, state


@app.command()
def status(study: STUDY, overrides: OVERRIDES = None, store: STORE = DEFAULT_STORE) -> None:
    """Say how far a study is: which steps are done, running, failed or still to do."""
    with explained():
        study_plan, kept = planned(study, overrides, store)
        table = Table("arm", "done", "running", "failed", "to do", box=None, header_style="bold")
        states = {step.digest: state(kept, step) for step in study_plan.steps}
        for arm in study_plan.study.arms:
            own = [states[digest] for digest, arms in study_plan.arms_of.items() if arm in arms]
            table.add_row(arm, *(str(own.count(state)) for state in ("done", "running", "failed", "new")))
        out.print(table)
        for step in study_plan.steps:
            if states[step.digest] == "failed":
                out.print(Text(f"failed: {step.label}: {kept.failure(step)}\n  its log: {kept.log_place(step)}"))
