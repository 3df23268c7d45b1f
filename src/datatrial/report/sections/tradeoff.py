"""What did safety cost? Every arm's capability beside its safety."""

from markupsafe import Markup

from datatrial.effects import ArmScore
from datatrial.report._findings import Findings
from datatrial.report._html import render
from datatrial.report.analysis import Analysis
from datatrial.report.effect_figures import tradeoff_figure
from datatrial.report.figures import inline_svg
from datatrial.statistics.endpoints import CAPABILITY

TITLE = "Capability against safety"


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    figures = [
        (benchmark, inline_svg(tradeoff_figure(arms), f"Capability against {benchmark}"))
        for benchmark in analysis.safety_benchmarks
        if len(arms := points(analysis, benchmark)) > 1
    ]
    capability = analysis.any_score(CAPABILITY)
    return render("tradeoff.html", figures=figures, metric=capability.metric) if figures and capability else Markup()


def points(analysis: Analysis, benchmark: str) -> list[tuple[str, ArmScore, ArmScore]]:
    """The arms that have both: name, capability, safety."""
    found = ((arm, analysis.score(arm, CAPABILITY), analysis.score(arm, benchmark)) for arm in analysis.arms)
    return [(arm, capability, safety) for arm, capability, safety in found if capability and safety]
