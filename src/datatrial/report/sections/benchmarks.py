"""Arms by benchmarks: scores, differences to the baseline, and signs that a score says little."""

from markupsafe import Markup

from datatrial.report._findings import Findings
from datatrial.report._html import render
from datatrial.report.tables import ALWAYS_SAME, doubts

TITLE = "Benchmarks"


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    columns = [(endpoint, score) for endpoint in analysis.endpoints if (score := analysis.any_score(endpoint))]
    tags = any(doubts(score) for score in analysis.scores if score.main)
    return render(
        "benchmarks.html",
        analysis=analysis,
        columns=columns,
        tags=tags,
        seen=any(score.clean is not None for score in analysis.scores),
        always_same=ALWAYS_SAME,
        notes=findings.notes,
        descriptions=findings.descriptions,
    )
