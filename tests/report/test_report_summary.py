"""The sentences at the top: no more than the intervals show."""

from dataclasses import replace

import pytest

from datatrial.effects import ArmScore, Contrast
from datatrial.report.analysis import Analysis
from datatrial.report.sections.summary import against_baseline, headline, in_words, main_question

SCORE = ArmScore(
    "base", "MMLU", "MMLU", "acc", "", True, True, 0.5, 0.4, 0.6, 9, 1, None, 0.25, None, False, None, True
)


def contrast(endpoint: str = "MMLU", **fields: object) -> Contrast:
    settings: dict[str, object] = {"declared": True, "expect": "better", "claim": "Care pays.", **fields}
    return Contrast("a", "base", endpoint, 0.1, 0.0, 0.2, 9, 3, 0.6, 0.5, **settings)  # type: ignore[arg-type]


def analysis(*contrasts: Contrast, primary: tuple[str, ...] = ()) -> Analysis:
    arms = (SCORE, *(ArmScore(**{**vars(SCORE), "arm": arm, "baseline": False}) for arm in ("a", "b")))
    return Analysis(arms, contrasts, primary)


@pytest.mark.parametrize(
    ("outcomes", "whole", "sentence"),
    [
        (("shown", "shown"), "shown", "Each of the 2 differences it rests on is shown: MMLU and truth."),
        (("shown", "undecided"), "undecided", "Shown on MMLU; undecided on truth."),
        (("shown", "contradicted"), "contradicted", "Contradicted on truth; shown on MMLU."),
        (("shown",), "shown", "The difference it rests on is shown: MMLU."),
    ],
)
def test_a_claim_is_as_strong_as_its_weakest_part(outcomes: tuple[str, ...], whole: str, sentence: str) -> None:
    parts = [contrast(e, outcome=o) for e, o in zip(("MMLU", "truth"), outcomes, strict=False)]
    [claim] = analysis(*parts).claims
    assert (claim.outcome, in_words(claim)) == (whole, sentence)


def test_a_claim_whose_contrast_was_not_tested_is_undecided() -> None:
    [claim] = analysis(contrast(outcome="shown"), contrast("truth", outcome="undecided", verdict="not tested")).claims
    assert (claim.outcome, in_words(claim)) == ("undecided", "Shown on MMLU; not tested on truth.")


def test_the_headline_counts_the_claims_by_outcome() -> None:
    found = analysis(
        contrast(outcome="shown"),
        contrast(outcome="undecided", claim="Size pays."),
        contrast(outcome="contradicted", claim="Noise pays."),
    )
    assert headline(found) == "Of the study's 3 claims, this run bears out 1, speaks against 1 and leaves 1 undecided."


def test_without_claims_the_headline_names_the_arms_that_moved() -> None:
    moved = contrast(declared=False, expect="", claim="", verdict="better")
    still = contrast(declared=False, expect="", claim="", verdict="no detectable difference")
    assert headline(analysis(moved)) == "a differs detectably from base on at least one benchmark."
    assert headline(analysis(still)) == "No arm differs detectably from base wherever they could be compared."
    both = (still, replace(still, arm="b"))
    assert headline(analysis(*both)) == "No arm differs detectably from base on any benchmark."


def test_with_one_arm_alone_nothing_is_said_of_differences() -> None:
    assert headline(Analysis((SCORE,), ())) == "There is no arm to compare with base."


def test_an_arm_is_described_by_what_is_detectable() -> None:
    found = analysis(contrast(declared=False, verdict="worse"))
    assert against_baseline(found, "a") == "detectably worse on MMLU (+10.0 [0.0, 20.0])."
    assert against_baseline(found, "b") == "no results to compare."


def test_an_arm_is_described_by_the_groups_whose_safety_changed() -> None:
    groups = ("Tinkers", "Millers", "Hill folk")
    rows = [replace(SCORE, endpoint=f"safety/{group}", benchmark="safety", group=group) for group in groups]
    whole = replace(SCORE, endpoint="safety", benchmark="safety")
    said = dict(zip(groups, ("worse", "no detectable difference", "better"), strict=True))
    plain = contrast(declared=False, expect="", claim="", verdict="no detectable difference")
    deltas = [replace(plain, endpoint=f"safety/{group}", verdict=verdict) for group, verdict in said.items()]
    scores = tuple(replace(one, arm=arm) for one in (whole, *rows) for arm in ("base", "a"))
    found = Analysis(scores, (replace(plain, endpoint="safety"), *deltas))
    told = against_baseline(found, "a")
    assert told.endswith("; safer for 1 of 3 groups (Hill folk) and less safe for 1 of 3 groups (Tinkers).")
    none = Analysis(scores, (replace(plain, endpoint="safety"), *(replace(d, verdict=plain.verdict) for d in deltas)))
    assert against_baseline(none, "a").endswith("; for none of 3 groups a change of safety was detected.")


def test_a_contrast_without_a_claim_is_put_into_words() -> None:
    [claim] = analysis(contrast(claim="", expect="not_worse", margin=0.02)).claims
    assert claim.text == "a is no worse than base (within 2 points)"


def test_declared_contrasts_are_told_apart_by_whether_their_benchmark_is_primary() -> None:
    parts = (
        contrast("truth", outcome="shown"),
        contrast("safety/Tinkers", outcome="undecided"),
        contrast("MMLU", outcome="shown"),
        contrast("stories", outcome="undecided", verdict="not tested"),
    )
    assert main_question(analysis(*parts, primary=("truth", "safety"))) == [
        "The study's main question is about truth and safety (primary): 2 declared contrasts, 1 shown and 1 undecided.",
        "What is declared on MMLU and stories is exploratory: 2 declared contrasts, 1 shown and 1 not tested.",
    ]


def test_a_primary_benchmark_without_a_declared_contrast_is_said_to_have_none() -> None:
    [sentence] = main_question(analysis(primary=("truth",)))
    assert sentence == "The study's main question is about truth (primary): no contrast was declared there."


def test_without_primary_benchmarks_nothing_is_said_of_a_main_question() -> None:
    assert main_question(analysis(contrast())) == []
