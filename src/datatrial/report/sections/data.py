"""What the arms were trained on: each data set's card, what was dropped from it, and one row."""

from markupsafe import Markup

from datatrial.report._findings import Findings
from datatrial.report._html import render

TITLE = "Data"

TEMPLATE = """
<div class="panels wide">
{% for data in sets %}
<article class="card"><header><h3>{{ data.name }}</h3><p class="small muted">{{ data.card.form }}</p></header>
{% if data.card.about %}<p class="small">{{ data.card.about }}</p>{% endif %}
<dl><dt>rows</dt><dd>{{ data.card.rows | count }}</dd>
<dt>mean words</dt><dd>{% for what, words in data.words.items() %}{{ what }} {{ "%.1f" | format(words) }}{{ ", " if not loop.last }}{% endfor %}</dd>
{% for label, value in (("origin", data.card.origin), ("licence", data.card.licence), ("answers by", data.card.answers_by), ("labels by", data.card.labels_by if data.card.form == "comparisons" else "")) if value %}<dt>{{ label }}</dt><dd>{{ value }}</dd>
{% endfor %}
{% for drop in data.card.drops %}<dt>{{ "left out" if loop.first }}</dt><dd>{{ drop.rows | count }}: {{ drop.reason }}</dd>
{% endfor %}
</dl>
{% if data.example %}<details><summary>A row</summary><div class="quote">{% for what, text in data.example.items() %}<b>{{ what }}</b>{{ text }}
{% endfor %}</div></details>{% endif %}
{% for drop in data.card.drops if drop.sample %}<details><summary>Left out: {{ drop.reason }}</summary>{% for row in drop.sample %}<pre>{{ row | truncate(600) }}</pre>{% endfor %}</details>
{% endfor %}
</article>
{% endfor %}
</div>
"""


def body(findings: Findings) -> Markup:
    return render(TEMPLATE, sets=findings.data) if findings.data else Markup()
