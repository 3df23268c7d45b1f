"""What the controls say: how much of an effect comes from what the data say, and how often seeds alone make one."""

from dataclasses import dataclass

from markupsafe import Markup

from datatrial.effects import Contrast
from datatrial.report._findings import Findings
from datatrial.report._html import render
from datatrial.report.analysis import Analysis
from datatrial.report.page import ReportVariant
from datatrial.report.wording import listed, plural
from datatrial.statistics.verdict import UNDETECTED

TITLE = "Controls"
EXPLAINED = {
    "again": "the same arm trained again with other seeds: nothing should differ",
    "shuffled": "the same prompts and answers, not together: what is left of an effect is not from what they say",
    "as few": "as many rows of it as the other arm has: what is left of a difference is not from their number",
}


@dataclass(frozen=True)
class Row:
    """One endpoint of a control."""

    endpoint: str
    arm: Contrast | None  # against the baseline
    control: Contrast | None  # against the baseline
    between: Contrast  # the control against the arm


def body(findings: Findings) -> Markup:
    controls = [v for v in findings.settings.variants if v.value is None and not _kept_whole(findings, v)]
    shown = [
        (control, against, EXPLAINED[control.what], rows, _sentence(control, against, rows))
        for control in controls
        for against in control.against
        if (rows := _rows(findings.analysis, control, against))
    ]
    return render("controls.html", controls=shown, analysis=findings.analysis) if shown else Markup()


def _kept_whole(findings: Findings, control: ReportVariant) -> bool:
    """Whether it was to have as few rows as another arm, and had no more to begin with."""
    rows = {data.name: data.card.rows for data in findings.data}
    last = {stage.arm: rows.get(stage.data) for stage in findings.settings.stages}
    return control.what == "as few" and last.get(control.name) == last.get(control.of)


def _rows(analysis: Analysis, control: ReportVariant, against: str) -> list[Row]:
    found = ((e, analysis.contrast(control.name, against, e)) for e in analysis.benchmarks)
    return [
        Row(e, analysis.delta(against, e), analysis.delta(control.name, e), between) for e, between in found if between
    ]


def _sentence(control: ReportVariant, against: str, rows: list[Row]) -> str:
    differing = [row.endpoint for row in rows if row.between.verdict != UNDETECTED]
    if not differing:
        return f"No difference to {against} was detected on any of {plural(len(rows), 'benchmark')}."
    if control.what == "again":
        return f"Detectable though nothing but seeds differs: {listed(differing)}. Take such effects for noise."
    return f"It differs detectably from {against} on {listed(differing)}."
