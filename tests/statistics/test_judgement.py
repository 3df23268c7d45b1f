"""Families, verdicts and expectations of computed contrasts."""

import math
from dataclasses import replace

import pytest

from datatrial.effects import ArmScore, Contrast, Unevenness
from datatrial.statistics.declared import DeclaredContrast
from datatrial.statistics.judgement import judged, judged_unevenness


def score(endpoint: str, **said: object) -> ArmScore:
    fields: dict = {"arm": "a", "benchmark": endpoint.partition("/")[0], "endpoint": endpoint, "metric": "acc"}
    numbers = {"estimate": 0.5, "low": 0.4, "high": 0.6, "items": 100, "seeds": 3, "spread": 0.01}
    absent: dict = dict.fromkeys(("chance", "majority", "same_answer"))
    return ArmScore(**fields, group="", main=True, baseline=False, near_chance=False, higher_is_better=True,
                    **numbers, **absent, **said)  # fmt: skip


def contrast(endpoint: str, p: float, estimate: float = 0.02, arm: str = "a", against: str = "base") -> Contrast:
    """A computed difference whose standard error is one point."""
    return Contrast(
        arm=arm, against=against, endpoint=endpoint, estimate=estimate, low=0, high=0, items=100, seeds=3,
        arm_score=0.5, against_score=0.4, p=p, error=0.01, seed_share=0.0, item_freedom=1e6,
    )  # fmt: skip


ENDPOINTS = ("facts", "truth", "law")
SCORES = [score(endpoint) for endpoint in ENDPOINTS]


def by_name(found: list[Contrast], declared: bool) -> dict[str, Contrast]:
    return {c.endpoint: c for c in found if c.declared == declared}


def test_declared_contrasts_on_primary_benchmarks_are_confirmatory_the_rest_is_exploratory() -> None:
    computed = [contrast(name, p) for name, p in zip(ENDPOINTS, (0.02, 0.03, 0.04), strict=True)]
    declared = [DeclaredContrast(arm="a", against="base", on=("facts", "law"), expect="better")]
    found = judged(computed, SCORES, declared, ("facts", "truth"))
    assert {n: (c.family, round(c.p_adjusted, 3)) for n, c in by_name(found, True).items()} == {
        "facts": ("confirmatory", 0.02),
        "law": ("exploratory", 0.04),
    }
    # What is declared is tested once: the same difference to the baseline has the same family and verdict.
    assert {n: (c.family, round(c.p_adjusted, 3)) for n, c in by_name(found, False).items()} == {
        "facts": ("confirmatory", 0.02),
        "truth": ("exploratory", 0.04),
        "law": ("exploratory", 0.04),
    }


def test_without_primary_benchmarks_all_that_is_declared_is_confirmatory() -> None:
    computed = [contrast(name, 0.03) for name in ENDPOINTS]
    found = judged(computed, SCORES, [DeclaredContrast(arm="a", against="base", expect="better")], ())
    assert {c.family for c in found} == {"confirmatory"}
    assert [c.p_adjusted for c in found if c.declared] == pytest.approx([0.09] * 3)
    assert {c.verdict for c in found} == {"no detectable difference"}
    assert {c.outcome for c in found if c.declared} == {"undecided"}


def test_a_margin_is_tested_for_itself_and_the_difference_beside_it() -> None:
    computed = [contrast("facts", 0.02, estimate=-0.01)]
    declared = [DeclaredContrast(arm="a", against="base", competitive_within=5.0)]
    [difference, claim] = judged(computed, SCORES[:1], declared, ())
    assert (claim.null, claim.outcome, claim.family) == (-0.05, "shown", "confirmatory")
    assert claim.p == pytest.approx(6.3e-5, rel=0.02)  # 4 standard errors from the margin: 2 × 3.17e-5
    assert (difference.null, difference.p, difference.family) == (0.0, 0.02, "exploratory")
    assert claim.verdict == difference.verdict == "worse"  # detectably worse, and by less than the margin


def test_equivalence_is_shown_when_both_margins_are_excluded() -> None:
    declared = [DeclaredContrast(arm="a", against="base", expect="equivalent", competitive_within=3.0)]
    outcomes = [
        judged([contrast("facts", 0.5, estimate=estimate)], SCORES[:1], declared, ())[1].outcome
        for estimate in (0.005, 0.02, -0.005, -0.08)
    ]
    assert outcomes == ["shown", "undecided", "shown", "contradicted"]


def test_what_cannot_be_compared_is_not_tested_and_weighs_on_no_family() -> None:
    declared = [
        DeclaredContrast(arm="a", against="base", on=("facts",), expect="better"),
        DeclaredContrast(arm="lost", against="base", on=("facts",), expect="better"),
    ]
    [_, tested, lost] = judged([contrast("facts", 0.04)], SCORES, declared, ())
    assert (tested.outcome, tested.p_adjusted) == ("shown", 0.04)
    assert (lost.verdict, lost.outcome, lost.family) == ("not tested", "undecided", "")


def test_many_comparisons_with_the_baseline_take_their_toll() -> None:
    computed = [contrast("facts", p, arm=f"arm{n}") for n, p in enumerate((0.03, 0.2, 0.5, 0.9))]
    found = judged(computed, SCORES, [], ())
    assert [c.p_adjusted for c in found] == pytest.approx([0.12, 0.4, 2 / 3, 0.9])
    assert {c.verdict for c in found} == {"no detectable difference"}
    assert judged([replace(computed[0], p=0.001)], SCORES, [], ())[0].verdict == "better"


def test_unevenness_that_was_not_tested_is_no_member_of_the_family() -> None:
    one = Unevenness("a", "base", "safety", 3, 3, 0.1, 0.1, "Tinkers", "Hill folk", 0.03)
    found = judged_unevenness([one, replace(one, arm="b", p=math.nan), replace(one, arm="c", p=0.5)])
    assert [row.p_adjusted for row in found] == [0.06, pytest.approx(math.nan, nan_ok=True), 0.5]


def test_arms_of_controls_take_nothing_from_what_the_study_asks() -> None:
    asked = [contrast("law", 0.03), contrast("art", 0.5)]
    controls = [contrast("law", 0.9, arm="a (again)"), contrast("art", 0.04, arm="a (again)")]
    alone = judged(asked, [score("law"), score("art")], (), ())
    found = judged([*asked, *controls], [score("law"), score("art")], (), (), {"a (again)"})
    assert [row.p_adjusted for row in found[:2]] == [row.p_adjusted for row in alone]
    assert [row.family for row in found] == ["exploratory"] * 2 + ["controls and sweeps"] * 2
    assert found[3].p_adjusted == pytest.approx(0.08)
