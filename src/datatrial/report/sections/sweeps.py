"""Scores along each setting that the study sweeps, and from where on more of it makes no difference that shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from datatrial.effects import ArmScore
from datatrial.report._findings import Findings
from datatrial.report._html import render
from datatrial.report.analysis import Analysis
from datatrial.report.effect_figures import sweep_figure
from datatrial.report.figures import inline_svg
from datatrial.report.page import ReportVariant
from datatrial.report.wording import listed, number
from datatrial.statistics.verdict import UNDETECTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Along the sweeps"


@dataclass(frozen=True)
class Sweep:
    """The arms of one sweep, by rising value."""

    arm: str
    setting: str
    variants: tuple[ReportVariant, ...]


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    shown: dict[Sweep, list[tuple[str, Markup, str]]] = {}
    for sweep, endpoint, figure in charts(findings):
        chart = inline_svg(figure, f"{endpoint} by {sweep.setting} of {sweep.arm}")
        shown.setdefault(sweep, []).append((endpoint, chart, enough(analysis, sweep, endpoint)))
    return render("sweeps.html", sweeps=shown.items(), baseline=analysis.baseline) if shown else Markup()


def charts(findings: Findings) -> "Iterator[tuple[Sweep, str, Figure]]":
    """Each sweep's chart on each benchmark that scored two of its arms or more."""
    analysis = findings.analysis
    for sweep in sweeps(findings):
        for endpoint in analysis.benchmarks:
            if len(scores := along(analysis, sweep, endpoint)) > 1:
                baseline = analysis.score(analysis.baseline, endpoint)
                yield sweep, endpoint, sweep_figure(scores, sweep.setting, baseline, analysis.scale(endpoint))


def sweeps(findings: Findings) -> list[Sweep]:
    """The study's sweeps, in its order."""
    found: dict[tuple[str, str], list[ReportVariant]] = {}
    for variant in findings.settings.variants:
        if variant.value is not None:
            found.setdefault((variant.of, variant.what), []).append(variant)
    return [Sweep(*of, tuple(sorted(some, key=lambda v: v.value or 0.0))) for of, some in found.items()]


def along(analysis: Analysis, sweep: Sweep, endpoint: str) -> list[tuple[float, ArmScore]]:
    """The scores of a sweep's arms on one endpoint."""
    found = ((variant.value, analysis.score(variant.name, endpoint)) for variant in sweep.variants)
    return [(value, score) for value, score in found if value is not None and score]


def enough(analysis: Analysis, sweep: Sweep, endpoint: str) -> str:
    """From which value on no difference to the largest one is detectable, and how large one would have had to be."""
    *others, largest = sweep.variants
    contrasts = [(v, analysis.contrast(v.name, largest.name, endpoint)) for v in others]
    known = [(v, c) for v, c in contrasts if c]
    if not known:
        return ""
    differing = [place for place, (_, c) in enumerate(known) if c.verdict != UNDETECTED]
    alike = known[max(differing, default=-1) + 1 :]
    top = f"{sweep.setting} = {largest.value:g}"
    if not alike:
        return f"At {sweep.setting} = {known[-1][0].value:g} the difference to {top} is still detectable."
    blind = max(c.detectable for _, c in alike)
    values = listed([f"{v.value:g}" for v, _ in alike])
    return (
        f"From {sweep.setting} = {alike[0][0].value:g} on, no difference to {top} was detected (at {values}; one of "
        f"{number(blind, analysis.scale(endpoint))} points most likely would have been)."
    )
