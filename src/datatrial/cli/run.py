"""`datatrial run`."""

from typing import Annotated

import typer

from datatrial.cli._app import DEFAULT_STORE, DEVICE, JOBS, OVERRIDES, STORE, STUDY, app, err, explained
from datatrial.cli._tables import show


@app.command()
def run(
    study: STUDY,
    overrides: OVERRIDES = None,
    store: STORE = DEFAULT_STORE,
    jobs: JOBS = None,
    device: DEVICE = "auto",
    executor: Annotated[str, typer.Option(help="Where steps run: local, or ray for a cluster.")] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="The Ray cluster's; without one, $RAY_ADDRESS or a Ray of this machine.", show_default=False),
    ] = None,
) -> None:
    """Run a study: do what is not done yet, then print the tables and the path of the report."""
    from datatrial.engine.progress import ProgressDisplay
    from datatrial.trial import prepare

    with explained():
        trial = prepare(
            study,
            store,
            overrides=overrides or (),
            jobs=jobs,
            device=device,
            executor=executor,
            address=address,
        )
        if trial.dashboard:
            err.print(f"Ray's dashboard: {trial.dashboard}", highlight=False)
        with ProgressDisplay(trial.time_left, trial.store, err) as display, trial.running(display) as results:
            display.stop()
            show(results)
    raise typer.Exit(1 if results.outcome.unfinished else 0)
