"""Every arm against the baseline, benchmark by benchmark, and group by group for safety."""

from collections.abc import Sequence

from markupsafe import Markup

from datatrial.records import Contrast
from datatrial.report._findings import Findings
from datatrial.report._html import Axis, render
from datatrial.report.analysis import Analysis
from datatrial.report.tables import endpoint_of

TITLE = "Differences to the baseline"

TEMPLATE = """
<p>Difference to <strong>{{ analysis.baseline }}</strong> in points with its 95% interval, over the items that both answered and the seeds. Filled dots: the interval excludes zero. Benchmarks share one scale; group safety has its own.</p>
<div class="panels wide">
{% for title, small, rows, axis in panels %}
<div class="panel"><h3>{{ title }}<small>{{ small }}</small></h3>
{{ m.forest(rows, axis, analysis, "") }}
</div>
{% endfor %}
</div>
{% for benchmark, panels in groups %}
<details><summary>{{ benchmark }}, group by group</summary>
<div class="panels wide">
{% for title, rows, axis in panels %}
<div class="panel"><h3>{{ title }}</h3>{{ m.forest(rows, axis, analysis, "") }}</div>
{% endfor %}
</div></details>
{% endfor %}
"""


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    if not analysis.others:
        return Markup()
    groups = [(benchmark, _groups(analysis, benchmark)) for benchmark in analysis.safety_benchmarks]
    return render(TEMPLATE, analysis=analysis, panels=_panels(analysis), groups=groups)


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
