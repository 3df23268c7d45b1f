"""Every arm against the baseline, benchmark by benchmark, and group by group for safety."""

from collections.abc import Sequence

from markupsafe import Markup

from datatrial.effects import Contrast
from datatrial.report._findings import Findings
from datatrial.report._html import Axis, render
from datatrial.report.analysis import Analysis
from datatrial.report.tables import contrasts_table
from datatrial.statistics.endpoints import CAPABILITY, endpoint_of

TITLE = "Differences to the baseline"


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    panels = _panels(analysis)
    if not panels:
        return Markup()
    groups = [(benchmark, _groups(analysis, benchmark)) for benchmark in analysis.safety_benchmarks]
    numbers = contrasts_table(analysis)
    return render("contrasts.html", analysis=analysis, panels=panels, groups=groups, numbers=numbers)


def _deltas(analysis: Analysis, endpoint: str) -> list[tuple[str, Contrast]]:
    return [(arm, delta) for arm in analysis.others if (delta := analysis.delta(arm, endpoint))]


def _panels(analysis: Analysis) -> list[object]:
    axes = {endpoint: _axis(analysis, _sharing(analysis, endpoint)) for endpoint in analysis.benchmarks}
    panels: list[object] = []
    for endpoint in analysis.benchmarks:
        rows, any_score = _deltas(analysis, endpoint), analysis.any_score(endpoint)
        if rows and any_score:
            lower = "" if any_score.higher_is_better else ", lower is better"
            panels.append((endpoint, any_score.metric + lower, rows, axes[endpoint]))
    if rows := _deltas(analysis, CAPABILITY):
        panels.append((CAPABILITY, "mean of benchmarks", rows, _axis(analysis, [CAPABILITY])))
    return panels


def _sharing(analysis: Analysis, endpoint: str) -> list[str]:
    """The benchmarks that can share a scale with this one."""

    def family(of: str) -> tuple[int, bool]:
        return analysis.scale(of), of in analysis.safety_benchmarks

    if analysis.scale(endpoint) != 100:
        return [endpoint]  # units of its own
    return [other for other in analysis.benchmarks if family(other) == family(endpoint)]


def _axis(analysis: Analysis, endpoints: Sequence[str]) -> Axis:
    return Axis.over([d for e in endpoints for _, d in _deltas(analysis, e)], analysis.scale(endpoints[0]))


def _groups(analysis: Analysis, benchmark: str) -> list[object]:
    endpoints = {group: endpoint_of(benchmark, group) for group in analysis.groups(benchmark)}
    axis = _axis(analysis, list(endpoints.values()))
    return [(group, _deltas(analysis, endpoint), axis) for group, endpoint in endpoints.items()]
