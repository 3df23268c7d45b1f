"""Every chart of a report under a name, for those who want them as files."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from datatrial.report._findings import Findings
from datatrial.report.figures import INK, MUTED, curves_figure, scatter_figure
from datatrial.report.sections.representation import Move, _groups, _points, _samples, since
from datatrial.report.sections.training import ACCURACIES, LOSS, MARGINS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Named = Iterator[tuple[str, Figure]]


def all_figures(findings: Findings) -> "dict[str, Figure]":
    """The charts in the order of the report; names are good names of files, and each is used once."""
    figures: dict[str, Figure] = {}
    for part in PARTS:
        for title, figure in part(findings):
            name = plain = re.sub(r"[^\w.+-]+", "-", title).strip("-.")
            number = 2
            while name.casefold() in {known.casefold() for known in figures}:
                name, number = f"{plain}-{number}", number + 1
            figures[name] = figure
    return figures


def _mentions(findings: Findings) -> "Named":
    """How often groups are mentioned, and the change of their safety."""
    data = {summary.name: summary for summary in findings.data}
    for benchmark in findings.analysis.safety_benchmarks:
        for arm, against, names in since(findings):
            sets = [data[name] for name in names if name in data and "groups" in data[name].audits]
            groups = _groups(findings.analysis, benchmark, arm, against, sets)
            if any(group.per_thousand for group in groups):
                move = Move(arm, against, names, benchmark, groups, _samples(sets))
                yield f"mentions-{benchmark}-{arm}", scatter_figure(*_points(move))


def _training(findings: Findings) -> "Named":
    """Curves of every stage."""
    for what, metrics in (("loss", LOSS), ("accuracy", ACCURACIES), ("margin", MARGINS)):
        for training in findings.trainings:
            if figure := curves_figure(training, metrics):
                # What the page says beside a chart stands in it where it is alone.
                axes = figure.axes[0]
                axes.set_title(f"{training.title}: {what}", loc="left", fontsize=9, color=INK, parse_math=False)
                axes.legend(fontsize=7, frameon=False, labelcolor=MUTED)
                yield f"training-{training.kind}-{training.data}-{what}", figure


PARTS = (_mentions, _training)
