"""Tables and results as a terminal shows them."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from datatrial.cli._app import err, out

if TYPE_CHECKING:
    from datatrial.report.tables import TextTable
    from datatrial.results import Results


FEW_ARMS = 8  # that are shown side by side where a study has more than its report shows


def show(results: "Results") -> None:
    """Print a study's tables, the path of its report, and what failed."""
    from datatrial.report.shown import MOST_ARMS

    if results.report:
        show_report(results.tables(FEW_ARMS), results.notes, results.cautions, results.report)
        if (arms := len(results.plan.study.arms)) > MOST_ARMS:
            out.print(f"of {arms:,} arms the tables above show {FEW_ARMS}: those whose differences are the surest")
    show_failed(results)


def show_failed(results: "Results") -> None:
    """Print which steps failed, and why."""
    for label, reason in results.failed.items():
        err.print(Text(f"failed: {label}: {reason}", style="red"), soft_wrap=True)


def show_report(tables: "Sequence[TextTable]", notes: Sequence[str], cautions: Sequence[str], report: Path) -> None:
    """Print tables, what is to be said of them, and where the report lies."""
    for table in tables:
        print_table(table)
    for note in notes:
        out.print(Text(note, style="dim"))
    out.print(Text("\nRead with care", style="bold"))
    for caution in cautions:
        out.print(Text(f"- {caution}"))
    out.print("report:", Text(str(report)), soft_wrap=True, highlight=False)


def print_table(table: "TextTable") -> None:
    """A table as fits a terminal: arms side by side; rows that share their first cell under it as a heading."""
    lines = [table.columns, *table.rows]
    if table.columns[0] == "arm":
        lines = list(zip(*lines, strict=True))
    header, *rows = lines
    groups = [(name, list(group)) for name, group in groupby(rows, key=lambda row: row[0])]
    grouped = len(groups) < len(rows)
    out.print(Text(f"\n{table.title}", style="bold"))
    first = 1 if grouped else 0
    widths = _widths([column[first:] for column in lines], out.width)
    for name, group in groups if grouped else [("", rows)]:
        title = Text(name) if grouped else None
        shown = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
        for number, (column, width) in enumerate(zip(header[first:], widths, strict=True)):
            shown.add_column(Text(column), justify="right" if number else "left", overflow="fold", width=width)
        for row in group:
            shown.add_row(*(Text(_held_together(cell)) for cell in row[first:]))
        out.print(shown)
    out.print(Text(table.note, style="dim"))


def _held_together(cell: str) -> str:
    """A mark stays beside its number when a cell takes several lines."""
    return cell.replace(" ▲", "▲").replace(" ▼", "▼")


def _widths(lines: Sequence[Sequence[str]], room: int) -> list[int | None]:
    """How wide columns are so that no word is broken; None, for Rich to decide, where that would be too wide."""
    columns = [[_held_together(cell) for cell in column] for column in zip(*lines, strict=True)]
    least = [max(len(word) for cell in column for word in cell.split(" ")) for column in columns]
    wished = [max(map(len, column)) for column in columns]
    spare = room - sum(least) - 2 * len(least)
    if spare < 0:
        return [None] * len(least)
    widths: list[int | None] = [None] * len(least)
    for done, column in enumerate(sorted(range(len(least)), key=lambda c: wished[c] - least[c])):
        more = min(wished[column] - least[column], spare // (len(least) - done))
        widths[column], spare = least[column] + more, spare - more
    return widths
