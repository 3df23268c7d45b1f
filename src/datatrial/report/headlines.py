"""Each contrast as one plain sentence with its numbers."""

from datatrial.effects import Contrast
from datatrial.report.analysis import EXPECTED, Analysis
from datatrial.report.wording import interval, number, plural, probability, signed
from datatrial.statistics.families import METHODS, NAMES
from datatrial.statistics.verdict import NOT_TESTED, UNDETECTED


def headline_of(contrast: Contrast, analysis: Analysis) -> str:
    """What was found of one difference: the verdict, the numbers, and of what it speaks."""
    where = f"on {contrast.endpoint}"
    if contrast.verdict == NOT_TESTED:
        return f"{contrast.arm} against {contrast.against} {where}: not tested, there are no results to compare."
    return f"{_found(contrast, analysis, where)} {_numbers(contrast, analysis)}{_scope(contrast)}"


def _found(contrast: Contrast, analysis: Analysis, where: str) -> str:
    arm, against = contrast.arm, contrast.against
    if contrast.margin:
        within = (
            f"within {number(contrast.margin, analysis.scale(contrast.endpoint)).removesuffix('.0')} points {where}"
        )
        claim = f"that {arm} is {EXPECTED[contrast.expect]} {against} {within}"
        said = {"shown": f"It is shown {claim}", "contradicted": f"It is contradicted {claim}"}
        found = said.get(contrast.outcome, f"It stays undecided whether {claim.removeprefix('that ')}")
    elif contrast.verdict == UNDETECTED:
        found = f"No difference between {arm} and {against} was detected {where}"
    else:
        found = f"{arm} is {EXPECTED[contrast.verdict]} {against} {where}"
    return f"{found}:"


def _numbers(contrast: Contrast, analysis: Analysis) -> str:
    scale = analysis.scale(contrast.endpoint)
    unit = " points" if scale == 100 else ""
    parts = [
        f"{signed(contrast.estimate, scale)}{unit} {interval(contrast.low, contrast.high, scale)}, "
        f"{number(contrast.arm_score, scale)} against {number(contrast.against_score, scale)}",
        _p(contrast),
    ]
    if contrast.verdict == UNDETECTED and contrast.outcome not in ("shown", "contradicted"):
        parts.append(f"a true difference of {number(contrast.detectable, scale)} would most likely have been found")
    return "; ".join(parts)


def _p(contrast: Contrast) -> str:
    """The p that the sentence rests on; what it was before the adjustment where that differs."""
    adjusted, plain = probability(contrast.p_adjusted), probability(contrast.p)
    by = NAMES[METHODS[contrast.family]]
    return f"p {adjusted}" if adjusted == plain else f"p {adjusted} ({by}; {plain.removeprefix('= ')} alone)"


def _scope(contrast: Contrast) -> str:
    counted = plural(contrast.items, "item")
    if contrast.seeds == 1:
        return f" ({counted}, one seed: this is said of these two models, not of what made them)."
    return f" ({counted}, {contrast.seeds} seeds)."
