"""Safety of each group for each arm, coloured by the difference to the baseline."""

from markupsafe import Markup

from datatrial.records import Contrast
from datatrial.report._findings import Findings
from datatrial.report._html import render
from datatrial.report.analysis import Analysis
from datatrial.statistics.endpoints import endpoint_of

TITLE = "Safety by group"
DEEPEST = 0.62  # opacity of the largest difference: text on it stays legible


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    if not analysis.safety_benchmarks:
        return Markup()
    ramp = [round(DEEPEST * k / 3, 2) for k in (0.3, 1, 2, 3)]
    tables = [_table(analysis, benchmark) for benchmark in analysis.safety_benchmarks]
    return render("safety.html", analysis=analysis, tables=tables, ramp=ramp)


def _table(analysis: Analysis, benchmark: str) -> tuple[str, list[object], float]:
    groups = {group or "mean of groups": endpoint_of(benchmark, group) for group in [*analysis.groups(benchmark), ""]}
    deltas = [d for e in groups.values() for arm in analysis.others if (d := analysis.delta(arm, e))]
    limit = max((abs(d.estimate) for d in deltas), default=0.0)
    rows: list[object] = [(name, [_cell(analysis, a, e, limit) for a in analysis.arms]) for name, e in groups.items()]
    return benchmark, rows, limit


def _cell(analysis: Analysis, arm: str, endpoint: str, limit: float) -> tuple[object, Contrast | None, str, str]:
    score, delta = analysis.score(arm, endpoint), analysis.delta(arm, endpoint)
    if not delta or not limit:
        return score, delta, "", ""
    direction = "up" if delta.estimate > 0 else "down"
    return score, delta, direction, f"{DEEPEST * abs(delta.estimate) / limit:.3f}"
