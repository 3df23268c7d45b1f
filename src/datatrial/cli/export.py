"""`datatrial export`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from datatrial.cli._app import DEFAULT_STORE, OVERRIDES, STORE, STUDY, app, explained, fail, out
from datatrial.cli._tables import show_failed


@app.command()
def export(
    study: STUDY,
    overrides: OVERRIDES = None,
    store: STORE = DEFAULT_STORE,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where to write; NAME-export by default.", show_default=False)
    ] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Leave out texts of items, answers and data.")] = False,
) -> None:
    """Write what is finished as files for other tools: tables, findings, figures, lm-eval's samples, adapters."""
    from datatrial.export.folder import export as write
    from datatrial.trial import results_of

    if folder is not None and folder.resolve() in (Path.cwd(), Path(folder.anchor or "/").resolve()):
        fail(f"--out {str(folder)!r}: name a folder of its own")
    with explained():
        results = results_of(study, store, overrides=overrides or (), redact=redact)
        if results.report is None:
            show_failed(results)
            fail("nothing to export yet: the baseline has not been scored; `datatrial run` does that")
        into = folder or Path(f"{results.plan.study.name}-export")
        files = write(results, into)
    parts = dict.fromkeys(name.partition("/")[0] for name in files)
    out.print(Text(f"{len(files)} files in {into}: {', '.join(parts)}"), soft_wrap=True, highlight=False)
