"""Every chart of a report under a name, for those who want them as files."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from datatrial.foreign.names import file_names
from datatrial.report._findings import Findings
from datatrial.report.effect_figures import forest_figure, tradeoff_figure
from datatrial.report.figures import INK, MUTED, curves_figure, scatter_figure
from datatrial.report.sections.representation import moves, points
from datatrial.report.sections.sweeps import charts
from datatrial.report.sections.tradeoff import points as both
from datatrial.report.sections.training import CURVES
from datatrial.report.shown import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Named = Iterator[tuple[str, Figure]]


def all_figures(findings: Findings) -> "dict[str, Figure]":
    """The charts in the order of the report; names are good names of files, and each is used once."""
    findings = shown(findings)
    found = [named for part in PARTS for named in part(findings)]
    names = file_names([title for title, _ in found])
    return {name: figure for name, (_, figure) in zip(names, found, strict=True)}


def _mentions(findings: Findings) -> "Named":
    """How often groups are mentioned, and the change of their safety."""
    for move in moves(findings):
        if move.mentions:
            yield f"mentions-{move.benchmark}-{move.arm}", scatter_figure(*points(move))


def _differences(findings: Findings) -> "Named":
    """Every arm's differences to the baseline; those on a scale of their own are left to the tables."""
    analysis = findings.analysis
    for endpoint in analysis.endpoints:
        found = [delta for arm in analysis.others if (delta := analysis.delta(arm, endpoint))]
        if found and analysis.scale(endpoint) == 100:
            yield f"differences-{endpoint}", forest_figure(found, [delta.arm for delta in found])


def _tradeoffs(findings: Findings) -> "Named":
    """Capability against safety."""
    for benchmark in findings.analysis.safety_benchmarks:
        if len(arms := both(findings.analysis, benchmark)) > 1:
            yield f"capability-{benchmark}", tradeoff_figure(arms)


def _sweeps(findings: Findings) -> "Named":
    """Scores along each sweep."""
    for sweep, endpoint, figure in charts(findings):
        yield f"sweep-{sweep.arm}-{sweep.setting}-{endpoint}", figure


def _training(findings: Findings) -> "Named":
    """Curves of every stage."""
    for what, metrics in CURVES:
        for training in findings.trainings:
            if figure := curves_figure(training, metrics):
                # What the page says beside a chart stands in it where it is alone.
                axes = figure.axes[0]
                axes.set_title(f"{training.title}: {what}", loc="left", fontsize=9, color=INK, parse_math=False)
                axes.legend(fontsize=7, frameon=False, labelcolor=MUTED)
                yield f"training-{training.kind}-{training.data}-{what}", figure


PARTS = (_differences, _tradeoffs, _sweeps, _mentions, _training)
