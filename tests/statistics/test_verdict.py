"""What tests are said to show."""

import math

import pytest
from pydantic import ValidationError
from scipy.stats import norm

from datatrial.statistics.declared import DeclaredContrast, Expectation
from datatrial.statistics.verdict import null_of, outcome, verdict

DIFFERENCES = {"above": 0.025, "around": 0.005, "below": -0.035}
HALF = 0.015  # of each interval


def judged(difference: float, expect: Expectation, margin: float, higher_is_better: bool = True) -> str:
    """The outcome of a difference whose 95% interval is so wide."""
    null = null_of(expect, margin, difference, higher_is_better)
    p = 2 * norm.sf(abs(difference - null) / (HALF / norm.isf(0.025)))
    return outcome(difference, p, expect, null, higher_is_better)


@pytest.mark.parametrize(
    ("expect", "margin", "above", "around", "below"),
    [
        ("better", 0.0, "shown", "undecided", "contradicted"),
        ("worse", 0.0, "contradicted", "undecided", "shown"),
        ("not_worse", 0.0, "shown", "undecided", "contradicted"),
        ("not_worse", 0.015, "shown", "shown", "contradicted"),
        ("not_worse", 0.03, "shown", "shown", "undecided"),
        ("not_worse", 0.06, "shown", "shown", "shown"),
        ("not_better", 0.0, "contradicted", "undecided", "shown"),
        ("not_better", 0.03, "undecided", "shown", "shown"),
        ("not_better", 0.06, "shown", "shown", "shown"),
        ("equivalent", 0.005, "contradicted", "undecided", "contradicted"),
        ("equivalent", 0.025, "undecided", "shown", "undecided"),
        ("equivalent", 0.06, "shown", "shown", "shown"),
        ("", 0.0, "", "", ""),
    ],
)
def test_an_outcome_can_be_read_off_the_interval(
    expect: Expectation, margin: float, above: str, around: str, below: str
) -> None:
    found = {name: judged(difference, expect, margin) for name, difference in DIFFERENCES.items()}
    assert found == {"above": above, "around": around, "below": below}


def test_where_lower_is_better_every_sense_is_mirrored() -> None:
    assert verdict(0.025, 0.001, higher_is_better=False) == "worse"
    assert judged(0.025, "worse", 0.0, higher_is_better=False) == "shown"
    assert judged(-0.005, "not_worse", 0.015, higher_is_better=False) == "shown"
    assert judged(0.04, "not_better", 0.0, higher_is_better=False) == "shown"


def test_what_is_not_significant_shows_nothing() -> None:
    assert verdict(0.05, 0.051) == "no detectable difference"
    assert verdict(0.05, math.nan) == "no detectable difference"
    assert outcome(0.05, 0.051, "better", 0.0) == "undecided"


def test_equivalence_needs_a_margin() -> None:
    with pytest.raises(ValidationError, match="needs a margin"):
        DeclaredContrast(arm="a", against="b", expect="equivalent")


def test_a_margin_does_not_go_with_a_superiority_claim() -> None:
    with pytest.raises(ValidationError, match="competitive_within"):
        DeclaredContrast(arm="a", against="b", expect="better", competitive_within=1.0)


def test_a_margin_alone_declares_non_inferiority() -> None:
    declared = DeclaredContrast(arm="a", against="b", competitive_within=1.0)
    assert (declared.expectation, declared.margin) == ("not_worse", 0.01)
