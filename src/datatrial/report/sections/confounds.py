"""The ledger of confounds: for each comparison, what differs between the two arms besides their data."""

from markupsafe import Markup

from datatrial.report import confounds as ledger
from datatrial.report._findings import Findings
from datatrial.report._html import render

TITLE = "Other explanations"


def body(findings: Findings) -> Markup:
    pairs = pairs_of(findings)
    if not pairs:
        return Markup()
    recipes = ledger.recipes(findings)
    rows = [(arm, against, ledger.confounds(recipes[arm], recipes[against])) for arm, against in pairs]
    return render("confounds.html", rows=rows, drift=findings.drift)


def pairs_of(findings: Findings) -> list[tuple[str, str]]:
    """The pairs of trained arms that are compared, declared ones first."""
    found = sorted(findings.analysis.contrasts, key=lambda contrast: not contrast.declared)
    trained = {stage.arm for stage in findings.settings.stages}
    arms = set(findings.analysis.arms)
    return list(dict.fromkeys((c.arm, c.against) for c in found if c.items and {c.arm, c.against} <= trained & arms))
