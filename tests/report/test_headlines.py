"""Each contrast in one sentence: the verdict with its numbers, and of what it speaks."""

import pytest

from datatrial.effects import Contrast
from datatrial.report.analysis import Analysis
from datatrial.report.headlines import headline_of


def contrast(**said: object) -> Contrast:
    about = {
        "arm": "careful",
        "against": "careless",
        "endpoint": "facts",
        "estimate": 0.042,
        "low": 0.011,
        "high": 0.073,
    }
    rest = {"items": 180, "seeds": 5, "arm_score": 0.601, "against_score": 0.559, "p": 0.012, "p_adjusted": 0.024}
    kind = {"family": "confirmatory", "verdict": "better", "detectable": 0.05}
    return Contrast(**{**about, **rest, **kind, **said})  # type: ignore[arg-type]


def sentence(**said: object) -> str:
    return headline_of(contrast(**said), Analysis((), ()))


def test_a_detectable_difference_is_told_with_its_numbers() -> None:
    assert sentence() == (
        "careful is better than careless on facts: +4.2 points [1.1, 7.3], 60.1 against 55.9; p = 0.024 (Holm; 0.012 "
        "alone) (180 items, 5 seeds)."
    )


def test_a_difference_that_was_not_detected_comes_with_what_would_have_been() -> None:
    found = sentence(verdict="no detectable difference", p=0.4, p_adjusted=0.4, family="exploratory")
    assert found.startswith("No difference between careful and careless was detected on facts: +4.2 points")
    assert "p = 0.40; a true difference of 5.0 would most likely have been found" in found


@pytest.mark.parametrize(
    ("expect", "outcome", "said"),
    [
        ("not_worse", "shown", "It is shown that careful is no worse than careless within 3 points on facts:"),
        (
            "equivalent",
            "undecided",
            "It stays undecided whether careful is as good as careless within 3 points on facts:",
        ),
        ("not_better", "contradicted", "It is contradicted that careful is no better than careless within 3 points on"),
    ],
)
def test_a_margin_is_part_of_the_sentence(expect: str, outcome: str, said: str) -> None:
    assert sentence(declared=True, expect=expect, margin=0.03, outcome=outcome).startswith(said)


def test_with_one_seed_it_is_said_of_the_two_models_alone() -> None:
    assert sentence(seeds=1).endswith("(180 items, one seed: this is said of these two models, not of what made them).")


def test_what_was_not_tested_claims_nothing() -> None:
    found = sentence(verdict="not tested", items=0)
    assert found == "careful against careless on facts: not tested, there are no results to compare."
