"""`datatrial check`."""

from datatrial.cli._app import DEFAULT_STORE, OVERRIDES, STORE, STUDY, app, explained, out, planned
from datatrial.report.wording import plural


@app.command()
def check(study: STUDY, overrides: OVERRIDES = None, store: STORE = DEFAULT_STORE) -> None:
    """Validate a study and report every problem at once."""
    with explained():
        plan, _ = planned(study, overrides, store)
        arms, steps = len(plan.study.arms), len(plan.steps)
        out.print(f"[green]{study} is fine[/]: {plural(arms, 'arm')}, {plural(steps, 'step')}", highlight=False)
