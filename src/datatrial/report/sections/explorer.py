"""Which items changed between two arms: the reader chooses the arms, `templates/explorer.js` shows the items."""

from markupsafe import Markup

from datatrial.report._findings import Findings
from datatrial.report._html import render

TITLE = "Items that changed"


def body(findings: Findings) -> Markup:
    from datatrial.report._items import pack

    if len(findings.analysis.arms) < 2:
        return Markup()
    redact = findings.settings.redact
    packed = {name: pack(runs, findings.contaminated, redact=redact) for name, runs in findings.results.items()}
    packed = {name: block for name, block in packed.items() if block}
    if not packed:
        return Markup()
    return render("explorer.html", f=findings, packed=packed)
