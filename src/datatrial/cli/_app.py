"""What the commands share: the app, their arguments, and how errors become messages and exit codes."""

import gc
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.text import Text

from datatrial.cli._console import SafeConsole
from datatrial.errors import DatatrialError, StoppedError, StudyError

if TYPE_CHECKING:
    from datatrial.engine.step import Step
    from datatrial.engine.store import Store
    from datatrial.steps import Plan

# The steps of a thousand arms are a million objects, all of them kept: looking for garbage among them every few hundred
# took a quarter of the time of a plan.
gc.set_threshold(100_000, 50, 100)

app = typer.Typer(help="Controlled trials of fine-tuning data.", no_args_is_help=True, add_completion=False)
out, err = SafeConsole(), SafeConsole(stderr=True)

STUDY = Annotated[Path, typer.Argument(help="The study's YAML file.", show_default=False)]
OVERRIDES = Annotated[
    list[str] | None, typer.Argument(help="Dotted overrides, e.g. training.sft.epochs=2.", show_default=False)
]
STORE = Annotated[
    str,
    typer.Option("--store", envvar="DATATRIAL_STORE", help="Where results are kept: a folder, or a URL as s3://…"),
]


def _jobs(given: str) -> int | None:
    if given == "auto":
        return None
    if not given.isdecimal() or int(given) < 1:
        raise typer.BadParameter(f"should be auto or a whole number from 1 on, not {given!r}")
    return int(given)


JOBS = Annotated[
    int | None,
    typer.Option(
        parser=_jobs,
        metavar="N|auto",
        help="Worker processes. auto: as many as keep each GPU busy and fit into it, or one per core.",
        show_default="auto",
    ),
]
DEVICE = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
DEFAULT_STORE = ".datatrial"


@contextmanager
def explained() -> Iterator[None]:
    """End with one clear message, never a traceback, where the study or its surroundings are at fault."""
    try:
        yield
    except StudyError as error:
        err.print(f"[red]{len(error.problems)} problem{'s' * (len(error.problems) > 1)} in the study:[/]")
        for problem in error.problems:
            err.print(Text(f"  {problem}"), soft_wrap=True)
        raise typer.Exit(2) from error
    except DatatrialError as error:
        fail(str(error))
    except OSError as error:
        from datatrial.engine.worker import explain

        fail(explain(error))
    except StoppedError as error:
        err.print(f"{error}: run the same command again to go on")
        raise typer.Exit(130) from None
    except KeyboardInterrupt:
        err.print("interrupted; what was finished is kept: run the same command again to go on")
        raise typer.Exit(130) from None


def fail(message: str) -> NoReturn:
    """Say what is wrong and exit with 2."""
    err.print(Text(message, style="red"), soft_wrap=True)
    raise typer.Exit(2)


def planned(study: Path, overrides: list[str] | None, store: str) -> "tuple[Plan, Store]":
    """A study's plan, and the store it would use."""
    from datatrial import planner
    from datatrial.engine.remote import store_at

    return planner.plan(study, store, overrides or ()), store_at(store)


State = Literal["done", "running", "interrupted", "failed", "new"]


def state(store: "Store", step: "Step", running: Collection[str] = ()) -> State:
    """What the store has of a step; `running` are digests of steps that live runs say they are at."""
    if store.has(step):
        return "done"
    if step.digest in running or store.is_running(step):
        return "running"
    if store.failure(step):
        return "failed"
    return "interrupted" if store.is_interrupted(step) else "new"
