"""The study's claims with the declared contrasts that bear on them."""

from markupsafe import Markup

from datatrial.effects import Contrast
from datatrial.report._findings import Findings
from datatrial.report._html import Axis, render
from datatrial.report.analysis import Claim

TITLE = "Claims and their evidence"


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    if not analysis.claims:
        return Markup()
    shown = [(claim, _rows(claim), Axis.over(_drawn(findings, claim), 100)) for claim in analysis.claims]
    return render("claims.html", claims=shown, analysis=analysis)


def _rows(claim: Claim) -> list[tuple[str, Contrast]]:
    return [(f"{part.endpoint}: {part.arm} − {part.against}", part) for part in claim.parts]


def _drawn(findings: Findings, claim: Claim) -> list[Contrast]:
    return [part for part in claim.parts if findings.analysis.scale(part.endpoint) == 100]
