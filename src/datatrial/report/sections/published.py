"""The results that the study repeats, as published, and what was measured beside them."""

from markupsafe import Markup

from datatrial.effects import Contrast
from datatrial.reference import Reference
from datatrial.reference.evidence import HOW
from datatrial.report._findings import Findings
from datatrial.report._html import Axis, render
from datatrial.report.analysis import Analysis
from datatrial.report.published import fluctuations_table, measured, published_claims, readings, score_tables

TITLE = "Published and measured"


def body(findings: Findings) -> Markup:
    if not findings.settings.reference:
        return Markup()
    reference, analysis = Reference.load(findings.settings.reference), findings.analysis
    claims = [
        (claim, note, rows, Axis.over([contrast for _, contrast in rows], 100))
        for claim, note in published_claims(reference)
        if (rows := _rows(reference, analysis, claim.parts))
    ]
    return render(
        "published.html",
        about=reference.about,
        tables=[*score_tables(reference, analysis), fluctuations_table(reference)],
        claims=claims,
        how=HOW,
        analysis=analysis,
    )


def _rows(reference: Reference, analysis: Analysis, parts: tuple[Contrast, ...]) -> list[tuple[str, Contrast]]:
    """Each published difference, and under it what was measured."""
    rows = []
    for part in parts:
        of = f"{part.endpoint}: {part.arm} − {part.against}"
        both = f" ({readings(reference, part)})" if readings(reference, part) != part.outcome else ""
        rows.append((f"published, {of}{both}", part))
        if here := measured(analysis, part):
            rows.append((f"measured, {of}", here))
    return rows
