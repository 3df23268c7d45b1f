"""`datatrial audit`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from datatrial.cli._app import DEFAULT_STORE, DEVICE, JOBS, STORE, STUDY, app, err, explained, out
from datatrial.cli._tables import show

if TYPE_CHECKING:
    from datatrial.records import FactTable
    from datatrial.report._data_sets import Audited
    from datatrial.results import Results

WHOLE = 32  # characters of a table's first column that are never folded
NAMES = Annotated[
    list[str] | None,
    typer.Argument(help="Data sets (all that are trained on by default), and dotted overrides.", show_default=False),
]


@app.command()
def audit(
    study: STUDY,
    names: NAMES = None,
    store: STORE = DEFAULT_STORE,
    jobs: JOBS = None,
    device: DEVICE = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look at a study's data sets, training no arm: sizes, duplicates, languages, contamination, groups, labels."""
    from datatrial.engine.progress import ProgressDisplay
    from datatrial.trial import prepare_audits

    overrides = [name for name in names or () if "=" in name]
    wanted = [name for name in names or () if "=" not in name]
    with explained():
        trial = prepare_audits(study, store, wanted, overrides=overrides, jobs=jobs, device=device)
        with ProgressDisplay(trial.time_left, trial.store, err) as display, trial.running(display) as results:
            display.stop()
            _show(results, as_json)
    raise typer.Exit(1 if results.outcome.unfinished else 0)


def _show(results: "Results", as_json: bool) -> None:
    if as_json:
        found = {name: {kind: asdict(a) for kind, a in audits.items()} for name, audits in results.audits.items()}
        print(json.dumps(found, indent=1))
    else:
        for name, audits in results.audits.items():
            _print_audits(name, audits)
    show(results)


def _print_audits(name: str, audits: "Mapping[str, Audited]") -> None:
    from datatrial.report.wording import quantity

    out.rule(Text(name, style="bold"), align="left")
    for found in audits.values():
        out.print(Text(f"\n{found.title}", style="bold"))
        facts = Table.grid(padding=(0, 2))
        for fact in found.facts:
            facts.add_row(Text(fact.name), Text(quantity(fact.value, fact.unit)))
        if found.facts:
            out.print(facts)
        for table in found.tables:
            _print_table(table)
        for note in found.notes:
            out.print(Text(note, style="dim"))


def _print_table(table: "FactTable") -> None:
    from datatrial.report.wording import cell

    shown = Table(box=SIMPLE_HEAD, title=Text(table.title), title_justify="left", pad_edge=False)
    for number, column in enumerate(table.columns):
        texts = all(isinstance(row[number], str) for row in table.rows)
        # Names stay whole where there is room for them; long texts are folded.
        whole = number == 0 and max((len(str(row[0])) for row in table.rows), default=0) <= WHOLE
        justify: Literal["left", "right"] = "left" if texts else "right"
        shown.add_column(Text(column.removesuffix(", %")), justify=justify, overflow="fold", no_wrap=whole)
    for row in table.rows:
        shown.add_row(*(Text(cell(value, column)) for value, column in zip(row, table.columns, strict=True)))
    out.print(shown)
    if table.note:
        out.print(Text(table.note, style="dim"))
