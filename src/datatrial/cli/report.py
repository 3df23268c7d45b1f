"""`datatrial report`."""

import webbrowser
from typing import Annotated

import typer

from datatrial.cli._app import DEFAULT_STORE, OVERRIDES, STORE, STUDY, app, explained, fail
from datatrial.cli._tables import show, show_failed


@app.command()
def report(
    study: STUDY,
    overrides: OVERRIDES = None,
    store: STORE = DEFAULT_STORE,
    redact: Annotated[
        bool, typer.Option("--redact", help="A report without texts of items, answers or data, to be shown to anyone.")
    ] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Print the tables of what is finished and the path of its report."""
    from datatrial.trial import results_of

    with explained():
        results = results_of(study, store, overrides=overrides or (), redact=redact)
        if results.report is None:
            show_failed(results)
            fail("nothing to report yet: the baseline has not been scored; `datatrial run` does that")
    show(results)
    if open_it and results.report:
        webbrowser.open(results.report.as_uri())
