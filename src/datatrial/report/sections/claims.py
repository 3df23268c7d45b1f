"""The study's claims with the declared contrasts that bear on them."""

from markupsafe import Markup

from datatrial.report._findings import Findings
from datatrial.report._html import Axis, render
from datatrial.report.analysis import Claim

TITLE = "Claims and their evidence"

TEMPLATE = """
<p>Each claim rests on contrasts that the study declared beforehand: the difference between two arms, in points, with its 95% interval over items and seeds. A dashed line marks a declared margin.</p>
{% for claim, rows, axis in claims %}
<article class="card"><header><h3>{{ claim.text }}</h3>{{ m.pill(claim.outcome) }}</header>
{{ m.forest(rows, axis, analysis, "contrast", judged=true) }}
</article>
{% endfor %}
"""


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    if not analysis.claims:
        return Markup()
    shown = [(claim, _rows(claim), Axis.over(_drawn(findings, claim), 100)) for claim in analysis.claims]
    return render(TEMPLATE, claims=shown, analysis=analysis)


def _rows(claim: Claim) -> list[tuple[str, object]]:
    return [(f"{part.endpoint}: {part.arm} − {part.against}", part) for part in claim.parts]


def _drawn(findings: Findings, claim: Claim) -> list[object]:
    return [part for part in claim.parts if findings.analysis.scale(part.endpoint) == 100]
