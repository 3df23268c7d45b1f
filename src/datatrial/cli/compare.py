"""`datatrial compare`."""

from typing import Annotated

import typer
from rich.text import Text

from datatrial.cli._app import DEFAULT_STORE, STORE, app, explained, out
from datatrial.cli._tables import print_table

ARM = Annotated[str, typer.Argument(help="A study's file and one of its arms, as STUDY.yaml:ARM.", show_default=False)]


@app.command()
def compare(
    arm: ARM,
    against: ARM,
    store: STORE = DEFAULT_STORE,
    store_b: Annotated[
        str | None, typer.Option(help="The store of the second arm; by default that of the first.")
    ] = None,
) -> None:
    """Compare two arms of different studies or stores, item by item where they were asked the same."""
    from datatrial.comparing import Side, compare

    with explained():
        found = compare(Side.read(arm, store), Side.read(against, store_b or store))
    if found.table:
        print_table(found.table)
    for note in found.notes:
        out.print(Text(note), soft_wrap=True)
    for benchmark, reasons in found.refused.items():
        out.print(Text(f"\nnot compared on {benchmark}:", style="bold"))
        for reason in reasons:
            out.print(Text(f"  {reason}"), soft_wrap=True)
    out.print(Text("\nwhat differs in the recipes (first and second):", style="bold"))
    for line in found.recipes or ["nothing that is recorded"]:
        out.print(Text(f"  {line}"), soft_wrap=True)
    raise typer.Exit(0 if found.table else 1)
