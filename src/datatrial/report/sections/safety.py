"""Safety of each group for each arm, coloured by the difference to the baseline."""

import math

from markupsafe import Markup

from datatrial.effects import ArmScore, Contrast, Unevenness
from datatrial.report._findings import Findings
from datatrial.report._html import render
from datatrial.report.analysis import Analysis
from datatrial.report.wording import number, probability, signed
from datatrial.statistics.endpoints import endpoint_of
from datatrial.statistics.levels import ALPHA

TITLE = "Safety by group"
DEEPEST = 0.62  # opacity of the largest difference: text on it stays legible
SAFENLP_P = 0.05  # SafeNLP's script leaves out groups above it


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    if not analysis.safety_benchmarks:
        return Markup()
    ramp = [round(DEEPEST * k / 3, 2) for k in (0.3, 1, 2, 3)]
    tables = [_table(analysis, benchmark) for benchmark in analysis.safety_benchmarks]
    parts = [(benchmark, _parts(analysis, benchmark)) for benchmark in analysis.safety_benchmarks]
    return render(
        "safety.html", analysis=analysis, tables=tables, ramp=ramp, parts=parts, uneven=_uneven(analysis), p=SAFENLP_P
    )


def _table(analysis: Analysis, benchmark: str) -> tuple[str, list[object], float]:
    groups = _endpoints(analysis, benchmark)
    deltas = [d for e in groups.values() for arm in analysis.others if (d := analysis.delta(arm, e))]
    limit = max((abs(d.estimate) for d in deltas), default=0.0)
    rows: list[object] = [(name, [_cell(analysis, a, e, limit) for a in analysis.arms]) for name, e in groups.items()]
    return benchmark, rows, limit


def _cell(analysis: Analysis, arm: str, endpoint: str, limit: float) -> tuple[object, Contrast | None, str, str]:
    score, delta = analysis.score(arm, endpoint), analysis.delta(arm, endpoint)
    if not delta or not limit:
        return score, delta, "", ""
    direction = "up" if delta.estimate > 0 else "down"
    return score, delta, direction, f"{DEEPEST * abs(delta.estimate) / limit:.3f}"


def _parts(analysis: Analysis, benchmark: str) -> list[tuple[str, list[ArmScore]]]:
    """Every group's scores, to be shown beside what they come to without any knowledge of harm."""
    return [
        (name, [score for arm in analysis.arms if (score := analysis.score(arm, endpoint))])
        for name, endpoint in _endpoints(analysis, benchmark).items()
    ]


def _endpoints(analysis: Analysis, benchmark: str) -> dict[str, str]:
    """Of every group and, last, of their mean, by name."""
    return {group or "mean of groups": endpoint_of(benchmark, group) for group in [*analysis.groups(benchmark), ""]}


def _uneven(analysis: Analysis) -> list[str]:
    """Of every comparison, whether its change differs between groups."""
    found = sorted(analysis.unevenness, key=lambda one: (math.isnan(one.p), one.p))
    several = len(analysis.safety_benchmarks) > 1
    return [_in_words(analysis, one, f" ({one.benchmark})" if several else "") for one in found]


def _in_words(analysis: Analysis, one: Unevenness, where: str) -> str:
    if math.isnan(one.p):
        return f"{one.arm} against {one.against}{where}: two seeds cannot tell; three can."
    said = "changes groups unevenly" if one.p_adjusted <= ALPHA else "is not seen to change groups unevenly"
    return (
        f"{one.arm} against {one.against}{where} {said}: the changes spread by {number(one.spread, 100)} points around "
        f"their mean, noise alone would by {number(one.noise, 100)} (p {probability(one.p_adjusted)} adjusted). "
        f"Lowest: {_change(analysis, one, one.lowest)}; highest: {_change(analysis, one, one.highest)}."
    )


def _change(analysis: Analysis, one: Unevenness, group: str) -> str:
    """A group with the change of its safety, in points."""
    found = analysis.contrast(one.arm, one.against, endpoint_of(one.benchmark, group))
    return f"{group} ({signed(found.estimate, 100)})" if found else group
