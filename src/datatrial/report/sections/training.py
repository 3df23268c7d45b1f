"""How training went: curves of every stage and seed, and what was counted."""

from markupsafe import Markup

from datatrial.report._findings import Findings, Training
from datatrial.report._html import render
from datatrial.report.figures import curves
from datatrial.report.wording import count, duration

TITLE = "Training"

LOSS = {"loss": "train", "eval_loss": "held-out"}
ACCURACIES = {"rewards/accuracies": "train", "eval_rewards/accuracies": "held-out"}
MARGINS = {"rewards/margins": "train", "eval_rewards/margins": "held-out"}

TEMPLATE = """
<p class="legend"><span><svg width="34" height="12" aria-hidden="true"><path d="M1 6H33" style="stroke:var(--muted);stroke-width:1.2"/></svg> on training data</span><span><svg width="34" height="12" aria-hidden="true"><path d="M1 6H33" style="stroke:var(--accent);stroke-width:2.2"/><circle cx="17" cy="6" r="3" style="fill:var(--accent)"/></svg> on held-out examples</span><span>one line a seed</span></p>
<div class="panels">
{% for training, what, figure in figures %}
<figure><h3>{{ training.title }}<small>{{ what }}</small></h3>{{ figure }}<figcaption>{{ "arm" if training.arms | length == 1 else "shared by" }} {{ listed(training.arms) }}</figcaption></figure>
{% endfor %}
</div>
<h3 style="margin-top:30px">What was counted</h3>
<div class="scroll wide" tabindex="0" role="region" aria-label="Counts of every training stage">
<table><thead><tr><th scope="col">stage<small>mean over seeds</small></th>{% for column in columns %}<th scope="col">{{ column }}</th>{% endfor %}</tr></thead>
<tbody>
{% for training, cells in rows %}
<tr><th scope="row">{{ training.title }}<small>{{ listed(training.arms) }}</small></th>{% for cell in cells %}<td class="num">{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
"""


def body(findings: Findings) -> Markup:
    if not findings.trainings:
        return Markup()
    figures = [
        (training, what, figure)
        for what, metrics in (("loss", LOSS), ("accuracy", ACCURACIES), ("margin", MARGINS))
        for training in findings.trainings
        if (figure := curves(training, metrics, f"{training.title}: {what}"))
    ]
    columns = ("examples", "held out", "cut short", "steps", "tokens", "loss", "held-out loss", "seconds")
    rows = [(training, _cells(training)) for training in findings.trainings]
    return render(TEMPLATE, figures=figures, columns=columns, rows=rows)


def _cells(training: Training) -> list[str]:
    counts = [_count(training, name) for name in ("examples", "held_out", "truncated", "steps", "tokens")]
    losses = [_change(training, f"{name}_first", f"{name}_last") for name in ("loss", "held_out_loss")]
    return [*counts, *losses, duration(training.seconds / max(1, len(training.seeds)))]


def _count(training: Training, name: str) -> str:
    value = training.mean(name)
    return "–" if value is None else count(value)


def _change(training: Training, first: str, last: str) -> str:
    before, after = training.mean(first), training.mean(last)
    return "–" if before is None or after is None else f"{before:.3f} → {after:.3f}"

