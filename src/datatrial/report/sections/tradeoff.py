"""What did safety cost? Every arm's capability beside its safety."""

from markupsafe import Markup

from datatrial.report._findings import Findings
from datatrial.report._html import render
from datatrial.report.analysis import Analysis
from datatrial.report.effect_figures import Both, told, tradeoff_figure
from datatrial.report.figures import inline_svg
from datatrial.statistics.endpoints import CAPABILITY

TITLE = "Capability against safety"


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    of_each = {benchmark: points(analysis, benchmark) for benchmark in analysis.safety_benchmarks}
    figures = [
        (benchmark, inline_svg(tradeoff_figure(arms), f"Capability against {benchmark}"))
        for benchmark, arms in of_each.items()
        if len(arms) > 1
    ]
    crowded = any(len(told(arms)) < len(arms) for arms in of_each.values())
    capability = analysis.any_score(CAPABILITY)
    if not figures or not capability:
        return Markup()
    return render("tradeoff.html", figures=figures, metric=capability.metric, crowded=crowded)


def points(analysis: Analysis, benchmark: str) -> list[Both]:
    """The arms that have both: name, capability, safety."""
    found = ((arm, analysis.score(arm, CAPABILITY), analysis.score(arm, benchmark)) for arm in analysis.arms)
    return [(arm, capability, safety) for arm, capability, safety in found if capability and safety]
