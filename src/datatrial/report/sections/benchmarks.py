"""Arms by benchmarks: scores, differences to the baseline, and signs that a score says little."""

from markupsafe import Markup

from datatrial.report._findings import Findings
from datatrial.report._html import render

TITLE = "Benchmarks"

TEMPLATE = """
<p>Mean over seeds, in points (100 × the 0–1 score); below it the difference to <strong>{{ analysis.baseline }}</strong> with its 95% interval. ▲ and ▼ mark a detectably better or worse score.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Benchmark scores of every arm">
<table>
<thead><tr><th scope="col">arm</th>
{% for endpoint, any in columns %}
<th scope="col">{{ endpoint }}<small>{{ any.metric }}, {{ any.items | count }} items{% if any.chance is not none %}<br>chance {{ any.chance | number(analysis.scale(endpoint)) }}{% endif %}</small></th>
{% endfor %}
</tr></thead>
<tbody>
{% for arm in analysis.arms %}
<tr{% if arm == analysis.baseline %} class="baseline"{% endif %}><th scope="row">{{ arm }}{% if descriptions.get(arm) %}<small>{{ descriptions[arm] }}</small>{% endif %}</th>
{% for endpoint, _ in columns %}
{% set score, delta, scale = analysis.score(arm, endpoint), analysis.delta(arm, endpoint), analysis.scale(endpoint) %}
<td>{% if score %}<span class="score num">{{ score.estimate | number(scale) }}</span>{% if delta %}{{ m.delta(delta, scale) }}{% else %}<span class="delta num">{{ interval(score.low, score.high, scale) }}</span>{% endif %}{% for doubt in doubts(score) %}<span class="tag">{{ doubt }}</span>{% endfor %}{% else %}<span class="muted">–</span>{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
{% if tags %}<p class="small muted">“≈ chance”: the score's interval includes that of uniform guessing. “one answer”: at least 95% of the items were answered with the same position.</p>{% endif %}
{% if notes %}<details><summary>Notes on the benchmarks</summary><ul class="plain small">{% for title, said in notes.items() %}{% for note in said %}<li><strong>{{ title }}</strong>: {{ note }}</li>{% endfor %}{% endfor %}</ul></details>{% endif %}
"""


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    columns = [(endpoint, score) for endpoint in analysis.benchmarks if (score := analysis.any_score(endpoint))]
    tags = any(s.near_chance or s.same_answer for s in analysis.scores if s.main)
    return render(
        TEMPLATE,
        analysis=analysis,
        columns=columns,
        tags=tags,
        notes=findings.notes,
        descriptions=findings.descriptions,
    )
