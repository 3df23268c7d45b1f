"""The command line. Exit codes: 0 done, 1 some step failed (the rest finished), 2 a bad study, 130 interrupted."""

import json
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from datatrial.errors import DatatrialError, StudyError

if TYPE_CHECKING:
    from datatrial.engine.step import Step
    from datatrial.engine.store import Store
    from datatrial.planner import Plan
    from datatrial.report.tables import TextTable
    from datatrial.results import Results

app = typer.Typer(help="Controlled trials of fine-tuning data.", no_args_is_help=True, add_completion=False)
out, err = Console(), Console(stderr=True)

STUDY = Annotated[Path, typer.Argument(help="The study's YAML file.", show_default=False)]
OVERRIDES = Annotated[
    list[str] | None, typer.Argument(help="Dotted overrides, e.g. training.sft.epochs=2.", show_default=False)
]
STORE = Annotated[
    Path, typer.Option("--store", envvar="DATATRIAL_STORE", help="Where results are kept and found again.")
]
DEFAULT_STORE = Path(".datatrial")


@contextmanager
def _explained() -> Iterator[None]:
    """End with one clear message, never a traceback, where the study or its surroundings are at fault."""
    try:
        yield
    except StudyError as error:
        err.print(f"[red]{len(error.problems)} problem{'s' * (len(error.problems) > 1)} in the study:[/]")
        for problem in error.problems:
            err.print(Text(f"  {problem}"), soft_wrap=True)
        raise typer.Exit(2) from error
    except DatatrialError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        err.print("interrupted; what was finished is kept: run the same command again to go on")
        raise typer.Exit(130) from None


def _fail(message: str) -> NoReturn:
    err.print(Text(message, style="red"), soft_wrap=True)
    raise typer.Exit(2)


def _planned(study: Path, overrides: list[str] | None, store: Path) -> "tuple[Plan, Store]":
    from datatrial import planner
    from datatrial.engine.store import Store

    return planner.plan(study, store, overrides or ()), Store(store)


@app.command()
def init(name: Annotated[str, typer.Argument(help="The study's name; the file is NAME.yaml.")] = "my-study") -> None:
    """Write a commented example study to start from."""
    import re
    from importlib.resources import files

    from datatrial.study import NAME

    path = Path(f"{name}.yaml")
    if not re.fullmatch(NAME, path.stem):
        _fail(f"{path.stem!r} is no name for a study: use letters, digits, and . _ + - after the first")
    if path.exists() or not path.parent.is_dir():
        _fail(f"{path} exists already; name another study" if path.exists() else f"there is no folder {path.parent}")
    path.write_text((files("datatrial") / "example.yaml").read_text(encoding="utf-8").replace("NAME", path.stem))
    out.print(f"wrote {path}; next: datatrial check {path}", highlight=False)


@app.command()
def check(study: STUDY, overrides: OVERRIDES = None, store: STORE = DEFAULT_STORE) -> None:
    """Validate a study and report every problem at once."""
    with _explained():
        plan, _ = _planned(study, overrides, store)
        arms, steps = len(plan.study.arms), len(plan.steps)
        out.print(f"[green]{study} is fine[/]: {arms} arms, {steps} steps", highlight=False)


@app.command()
def plan(
    study: STUDY,
    overrides: OVERRIDES = None,
    store: STORE = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List a study's steps: which are in the store already, and which arms share them."""
    with _explained():
        planned, kept = _planned(study, overrides, store)
        rows = [_plan_row(planned, kept, step) for step in planned.steps]
        if as_json:
            print(json.dumps({"study": planned.study.name, "store": str(kept.root), "steps": rows}, indent=2))
            return
        table = Table("", "step", "needed by", "digest", box=None, header_style="bold")
        for row in rows:
            shared = ", ".join(row["arms"]) if len(row["arms"]) < len(planned.study.arms) else "every arm"
            mark = "[green]cached[/]" if row["state"] == "done" else "new"
            table.add_row(mark, Text(row["label"]), Text(shared), f"[dim]{row['digest']}[/]")
        out.print(table)
        new = sum(row["state"] != "done" for row in rows)
        saved = sum(len(row["arms"]) - 1 for row in rows if len(row["arms"]) < len(planned.study.arms))
        out.print(
            f"{len(rows)} steps, {new} to do; {saved} are shared between some of the arms "
            f"and {sum(len(r['arms']) == len(planned.study.arms) for r in rows)} by all",
            highlight=False,
        )


def _plan_row(plan: "Plan", store: "Store", step: "Step") -> dict[str, Any]:
    return {
        "label": step.label,
        "kind": step.task.kind,
        "digest": step.digest,
        "state": _state(store, step),
        "arms": plan.arms_of[step.digest],
        "inputs": {name: dep.digest for name, dep in step.inputs.items()},
        "externals": {name: str(external) for name, external in step.externals.items()},
    }


def _state(store: "Store", step: "Step") -> Literal["done", "running", "failed", "new"]:
    if store.has(step):
        return "done"
    if store.is_running(step):
        return "running"
    return "failed" if store.failure(step) else "new"


@app.command()
def run(
    study: STUDY,
    overrides: OVERRIDES = None,
    store: STORE = DEFAULT_STORE,
    jobs: Annotated[int | None, typer.Option(min=1, help="Worker processes; one per GPU or core by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Run a study: do what is not done yet, then print the tables and the path of the report."""
    from datatrial.engine.progress import ProgressDisplay
    from datatrial.trial import prepare

    with _explained():
        trial = prepare(study, store, overrides=overrides or (), jobs=jobs, device=device)
        with ProgressDisplay(trial.steps, trial.store, trial.slots, err) as display:
            results = trial.run(display)
    _show(results)
    raise typer.Exit(1 if results.outcome.unfinished else 0)


@app.command()
def status(study: STUDY, overrides: OVERRIDES = None, store: STORE = DEFAULT_STORE) -> None:
    """Say how far a study is: which steps are done, running, failed or still to do."""
    with _explained():
        planned, kept = _planned(study, overrides, store)
        table = Table("arm", "done", "running", "failed", "to do", box=None, header_style="bold")
        states = {step.digest: _state(kept, step) for step in planned.steps}
        for arm in planned.study.arms:
            own = [states[digest] for digest, arms in planned.arms_of.items() if arm in arms]
            table.add_row(arm, *(str(own.count(state)) for state in ("done", "running", "failed", "new")))
        out.print(table)
        for step in planned.steps:
            if states[step.digest] == "failed":
                out.print(Text(f"failed: {step.label}: {kept.failure(step)}\n  its log: {kept.log(step)}"))


@app.command()
def explain(
    study: STUDY,
    step: Annotated[str, typer.Argument(help="A step's label or digest, or the beginning of it.")],
    overrides: OVERRIDES = None,
    store: STORE = DEFAULT_STORE,
) -> None:
    """Say why a step would run again: what differs from the nearest result in the store."""
    from datatrial.explain import explanation, find

    with _explained():
        planned, kept = _planned(study, overrides, store)
        for line in explanation(find(planned, step), kept):
            out.print(Text(line), soft_wrap=True)


@app.command()
def report(
    study: STUDY,
    overrides: OVERRIDES = None,
    store: STORE = DEFAULT_STORE,
    open_it: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Print the tables of what is finished and the path of its report."""
    from datatrial.trial import results_of

    with _explained():
        results = results_of(study, store, overrides=overrides or ())
        if results.report is None:
            _fail("nothing to report yet: the baseline has not been scored; `datatrial run` does that")
    _show(results)
    if open_it and results.report:
        webbrowser.open(results.report.as_uri())


def _show(results: "Results") -> None:
    if results.report:
        for shown in results.tables():
            _print(shown)
        out.print("report:", Text(str(results.report)), soft_wrap=True, highlight=False)
    for label, reason in results.failed.items():
        err.print(Text(f"failed: {label}: {reason}", style="red"), soft_wrap=True)


def _print(table: "TextTable") -> None:
    """A table as fits a terminal: arms side by side; rows that share their first cell under it as a heading."""
    lines = [table.columns, *table.rows]
    if table.columns[0] == "arm":
        lines = list(zip(*lines, strict=True))
    header, *rows = lines
    groups = [(name, list(group)) for name, group in groupby(rows, key=lambda row: row[0])]
    grouped = len(groups) < len(rows)
    out.print(Text(f"\n{table.title}", style="bold"))
    for name, group in groups if grouped else [("", rows)]:
        first = 1 if grouped else 0
        shown = Table(box=SIMPLE_HEAD, title=Text(name) if grouped else None, title_justify="left", pad_edge=False)
        for number, column in enumerate(header[first:]):
            shown.add_column(Text(column), justify="right" if number else "left", overflow="fold")
        for row in group:
            shown.add_row(*(Text(cell) for cell in row[first:]))
        out.print(shown)
    out.print(Text(table.note, style="dim"))


if __name__ == "__main__":
    app()
