"""`datatrial import`."""

from typing import Annotated

import typer

from datatrial.cli._app import DEFAULT_STORE, STORE, app, err, explained
from datatrial.cli._tables import show_report

ARMS = Annotated[
    list[str],
    typer.Argument(help="Folders of lm_eval as FOLDER, NAME=FOLDER or NAME=FOLDER:SEED.", show_default=False),
]


@app.command("import")
def import_(
    arms: ARMS,
    baseline: Annotated[str, typer.Option(help="The arm to compare with; by default the first.")] = "",
    leave_out: Annotated[
        list[str] | None, typer.Option(help="A benchmark not to compare on; may be given again.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="BENCHMARK=METRIC", help="What to compare by on a benchmark; may be given again."),
    ] = None,
    store: STORE = DEFAULT_STORE,
) -> None:
    """Compare results that `lm_eval --log_samples` wrote, as if a study had made them."""
    from datatrial.engine.progress import ProgressDisplay
    from datatrial.importing import prepare

    with explained():
        found = prepare(arms, store, baseline=baseline, leave_out=leave_out or (), metrics=metric or ())
        with ProgressDisplay(found.time_left, found.store, err) as display, found.running(display) as results:
            display.stop()
            show_report(results.tables(), found.notes, results.cautions, results.report)
