"""`datatrial gc`."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from datatrial.cli._app import DEFAULT_STORE, STORE, app, explained, fail, out, planned

if TYPE_CHECKING:
    from datatrial.engine.garbage import Holding, Item, Survey
    from datatrial.engine.store import Store
    from datatrial.steps import Plan

STUDIES = Annotated[
    list[str],
    typer.Argument(
        metavar="STUDY [key=value …] …", help="Studies to keep, each with its overrides.", show_default=False
    ),
]


@app.command()
def gc(
    studies: STUDIES,
    store: STORE = DEFAULT_STORE,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without this, only say what would be.")] = False,
    others: Annotated[
        bool, typer.Option("--others", help="Also results of studies that were run on the store and are not named.")
    ] = False,
) -> None:
    """Free space in a store: what no study needs that is named here or was run there.

    Never what a run needs that is going on.
    """
    from datatrial.engine.garbage import Garbage

    with explained():
        needed: set[str] = set()
        for study, overrides in _named(studies):
            plan, kept = planned(study, overrides, store)
            needed |= _keys(plan, kept)
            have = sum(kept.has(step) for step in plan.steps)
            out.print(Text(f"{study} stays: {have} of its {len(plan.steps)} steps have results here"), soft_wrap=True)
        garbage = Garbage(kept, needed, others)
        if not kept.is_there:
            fail(f"there is no store at {kept}")
        found = garbage.remove() if delete else garbage.survey()
    _print(found, delete, others)


def _named(words: Sequence[str]) -> list[tuple[Path, list[str]]]:
    """Studies, each with the overrides that follow it."""
    found: list[tuple[Path, list[str]]] = []
    for word in words:
        if "=" not in word or Path(word).exists():
            found.append((Path(word), []))
        elif found:
            found[-1][1].append(word)
        else:
            fail(f"name a study before {word}")
    return found


def _keys(plan: "Plan", store: "Store") -> set[str]:
    """The results of a study: of its steps, and of its reports, now and once all is done, redacted or not."""
    from datatrial.engine.step import upstream_first

    summaries = [plan.summary(why, redact=redact) for why in ({}, plan.unfinished(store)) for redact in (False, True)]
    reports = upstream_first(*(summary for summary in summaries if summary))
    return {step.key for step in (*plan.steps, *reports)}


def _print(found: "Survey", deleted: bool, others: bool) -> None:
    table = Table("removed" if deleted else "would be removed", box=None, header_style="bold")
    table.add_column("how many", justify="right")
    table.add_column("size", justify="right")
    for sort, items in _by_sort(found.free).items():
        table.add_row(
            sort, f"{len(items):,}", decimal(sum(item.size for item in items)), Text(_kinds(items), style="dim")
        )
    if found.free:
        table.add_row("in all", "", decimal(sum(item.size for item in found.free)))
        out.print(table)
    else:
        out.print("there is nothing to remove")
    out.print(f"{len(found.kept):,} results stay: {decimal(sum(item.size for item in found.kept))}", highlight=False)
    if found.live:
        out.print("a run is going on, or may be: what it needs stays, and so do the cache and locks")
    _print_others(found.others, deleted, others)
    if found.free and not deleted:
        out.print("nothing was removed: add --delete for that")


def _print_others(holdings: "Sequence[Holding]", deleted: bool, others: bool) -> None:
    """Say what is there of studies that were not named."""
    if not holdings:
        return
    gone = "are gone" if deleted else "would go"
    out.print(
        f"studies that were run here and not named, whose results {gone}:"
        if others
        else "these studies were run here, so their results stay; with --others they would go, but for those you name:"
    )
    for held in holdings:
        about = held.study.about
        words = shlex.join([about.file, *about.overrides]) if about.file else str(about)
        what = f"{held.results:,} results that no study named needs, {decimal(held.size)}"
        out.print(Text(f"  {words}: {what}; last run {held.study.when} by {held.study.who}"), soft_wrap=True)


def _by_sort(items: "Sequence[Item]") -> "dict[str, list[Item]]":
    found = defaultdict[str, list["Item"]](list)
    for item in items:
        found[item.sort].append(item)
    return found


def _kinds(items: "Sequence[Item]") -> str:
    """The kinds of results, those that take most first."""
    sizes = Counter[str]()
    for item in items:
        if item.sort == "results":
            sizes[item.key.partition("/")[0]] += item.size
    return ", ".join(f"{kind} {decimal(size)}" for kind, size in sizes.most_common(4))
