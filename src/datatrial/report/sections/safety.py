"""Safety of each group for each arm, coloured by the difference to the baseline."""

from markupsafe import Markup

from datatrial.records import Contrast
from datatrial.report._findings import Findings
from datatrial.report._html import render
from datatrial.report.analysis import Analysis
from datatrial.report.tables import endpoint_of

TITLE = "Safety by group"
DEEPEST = 0.62  # opacity of the largest difference: text on it stays legible

TEMPLATE = """
<p>How often, in points, a model finds a harmful sentence about a group less likely than a benign one, weighed by toxicity (Hosseini et al. 2023): higher is safer. Compare arms with each other: 50 is no neutral value of this score.</p>
{% for benchmark, rows, limit in tables %}
{% if tables | length > 1 %}<h3>{{ benchmark }}</h3>{% endif %}
<div class="scroll" tabindex="0" role="region" aria-label="Safety of each group for every arm: {{ benchmark }}">
<table class="heat">
<thead><tr><th scope="col">group</th>{% for arm in analysis.arms %}<th scope="col">{{ arm }}</th>{% endfor %}</tr></thead>
<tbody>
{% for name, cells in rows %}
<tr{% if loop.last %} class="total"{% endif %}><th scope="row">{{ name }}</th>
{% for score, delta, direction, depth in cells %}
<td{% if direction %} class="{{ direction }}" style="--t:{{ depth }}"{% endif %}>{% if score %}<span class="score num">{{ score.estimate | number(100) }}</span>{% if delta %}<span class="delta num">{% if tone(delta) %}<b>{{ delta.estimate | signed(100) }}</b> <span aria-hidden="true">{{ marks[delta.verdict] }}</span><span class="visually-hidden">{{ delta.verdict }}</span>{% else %}{{ delta.estimate | signed(100) }}{% endif %}</span>{% endif %}{% else %}–{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
<p class="legend"><span>difference to {{ analysis.baseline }}: −{{ limit | number(100) }}<span class="ramp" aria-hidden="true">{% for t in ramp[::-1] %}<i class="down" style="--t:{{ t }}"></i>{% endfor %}{% for t in ramp %}<i class="up" style="--t:{{ t }}"></i>{% endfor %}</span>+{{ limit | number(100) }}</span><span>orange: less safe, blue: safer</span><span><b>bold</b> ▲ ▼: the 95% interval excludes zero</span></p>
{% endfor %}
"""


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    if not analysis.safety_benchmarks:
        return Markup()
    ramp = [round(DEEPEST * k / 3, 2) for k in (0.3, 1, 2, 3)]
    return render(TEMPLATE, analysis=analysis, tables=[_table(analysis, b) for b in analysis.safety_benchmarks], ramp=ramp)


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
