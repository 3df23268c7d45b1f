"""`datatrial stop`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from datatrial.cli._app import DEFAULT_STORE, STORE, app, explained, out


@app.command()
def stop(
    study: Annotated[
        Path | None, typer.Argument(help="Its YAML file; by default every run on the store.", show_default=False)
    ] = None,
    store: STORE = DEFAULT_STORE,
) -> None:
    """Ask runs to finish the steps they are at and begin no more; ask again, and they end at once.

    What is finished is kept: the same `datatrial run` goes on, also from a copy of the store elsewhere.
    """
    from datatrial.engine.live import ask_to_stop, live_runs
    from datatrial.engine.remote import store_at
    from datatrial.engine.time_left import clock
    from datatrial.study import Study

    with explained():
        name, kept = Study.load(study).name if study else None, store_at(store)
        runs = [run for run in live_runs(kept.board) if name in (None, run.about.study)]
        for run in runs:
            if ask_to_stop(kept.board, run):
                out.print(Text(f"{run}: it was asked before, and now ends at once"), soft_wrap=True)
                continue
            at_hand = ", ".join(step.label for step in run.running) or "what it is at"
            how_long = "" if run.at_hand is None else f" (about {clock(run.at_hand)})"
            out.print(Text(f"{run}: it finishes {at_hand}{how_long}, and begins no more"), soft_wrap=True)
        if not runs:
            out.print(Text(f"no run{f' of {name}' if name else ''} is going on in the store {kept}"), soft_wrap=True)
