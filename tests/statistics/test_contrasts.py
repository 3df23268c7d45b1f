"""Contrasts against loops that spell out the definitions, and against scipy."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.stats

from datatrial.effects import EvaluationRun
from datatrial.errors import DataError
from datatrial.statistics.contrasts import Contrasts
from datatrial.statistics.declared import DeclaredContrast
from tests.statistics.trial import Trial, answers


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


def test_the_bootstrap_beside_one_seed_is_scipys_paired_percentile_bootstrap(trial: Trial) -> None:
    rng = np.random.default_rng(1)
    base, arm = answers(rng, 0.4, 120), answers(rng, 0.6, 120)
    trial.add("base", None, base)
    trial.add("careful", 0, arm)
    _, [contrast] = trial.run(resamples=20_000)
    differences = np.array(list(arm.values())) - np.array(list(base.values()))
    peer = scipy.stats.bootstrap((differences,), np.mean, n_resamples=20_000, method="percentile", rng=2)
    assert contrast["estimate"] == pytest.approx(differences.mean())
    assert contrast["bootstrap_low"] == pytest.approx(peer.confidence_interval.low, abs=0.009)
    assert contrast["bootstrap_high"] == pytest.approx(peer.confidence_interval.high, abs=0.009)


def test_the_bootstrap_crosses_items_and_seeds_as_loops_do(trial: Trial) -> None:
    rng = np.random.default_rng(3)
    base = answers(rng, 0.4)
    trial.add("base", None, base)
    arms = {arm: [answers(rng, p + 0.08 * seed) for seed in range(3)] for arm, p in (("a", 0.4), ("b", 0.6))}
    for arm, by_seed in arms.items():
        for seed, scores in enumerate(by_seed):
            trial.add(arm, seed, scores)
    _, rows = trial.run(resamples=8000, declared=({"arm": "b", "against": "a"},))
    found = next(r for r in rows if r["declared"])
    items = list(base)
    draws = []
    for _ in range(4000):
        drawn_items, drawn_seeds = rng.choice(items, len(items)), rng.choice(3, 3)
        draws.append(np.mean([arms["b"][s][i] - arms["a"][s][i] for s, i in product(drawn_seeds, drawn_items)]))
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found["estimate"] == pytest.approx(
        np.mean([list(s.values()) for s in arms["b"]]) - np.mean([list(s.values()) for s in arms["a"]])
    )
    assert found["bootstrap_low"] == pytest.approx(low, abs=0.015)
    assert found["bootstrap_high"] == pytest.approx(high, abs=0.015)
    assert found["seeds"] == 3


def test_same_order_noise_cancels_between_arms_that_share_seeds(trial: Trial) -> None:
    rng = np.random.default_rng(0)
    trial.add("base", None, answers(rng, 0.5))
    for seed in range(3):
        scores = answers(rng, 0.2 + 0.3 * seed)
        trial.add("a", seed, scores)
        trial.add("b", seed, scores)
    _, rows = trial.run(declared=({"arm": "b", "against": "a"},))
    [found] = [row for row in rows if row["declared"]]
    least = scipy.stats.t.isf(0.025, 59) * 1 / 2 / 60  # an item to either side
    assert (found["estimate"], found["p"]) == (0.0, 1.0)
    assert (found["low"], found["high"]) == pytest.approx((-least, least))


def test_pairs_only_items_that_both_arms_have(trial: Trial) -> None:
    trial.add("base", None, {"q1": 0.0, "q2": 1.0, "q3": None})
    trial.add("a", 0, {"q2": 1.0, "q3": 1.0, "q4": 1.0})
    [base, arm], [contrast] = trial.run()
    assert (base["estimate"], base["items"]) == (0.5, 2)
    assert (arm["estimate"], arm["items"]) == (1.0, 3)
    assert (contrast["estimate"], contrast["items"]) == (0.0, 1)


def test_items_vary_within_their_strata(trial: Trial) -> None:
    # Within a subject all differences are alike, between the subjects they are not: no more varies than must.
    base = {f"{subject}:{i}": 0.0 for subject in ("law", "art") for i in range(10)}
    trial.add("base", None, base)
    for seed in (0, 1):
        trial.add("a", seed, {item: float(item.startswith("law")) for item in base})
    _, [contrast] = trial.run()
    least = scipy.stats.t.isf(0.025, 18) * 1 / 2 / 20
    assert (contrast["low"], contrast["high"]) == pytest.approx((0.5 - least, 0.5 + least))
    assert (contrast["bootstrap_low"], contrast["bootstrap_high"]) == (0.5, 0.5)
    assert contrast["item_freedom"] == 18


def test_arms_that_lost_a_seed_are_compared_on_the_seeds_both_have(trial: Trial) -> None:
    rng = np.random.default_rng(5)
    trial.add("base", None, answers(rng, 0.5))
    for arm, seeds in {"a": (0, 1, 2), "b": (1, 2), "c": (7,)}.items():
        for seed in seeds:
            trial.add(arm, seed, answers(rng, 0.5))
    declared = ({"arm": "b", "against": "a", "expect": "better"}, {"arm": "c", "against": "a", "claim": "c wins"})
    _, rows = trial.run(declared=declared)
    both, none = [r for r in rows if r["declared"]]
    assert both["seeds"] == 2
    assert (none["verdict"], none["claim"]) == ("not tested", "c wins")
    assert np.isnan(none["estimate"])


def test_lower_is_better_turns_the_verdict_not_the_estimate(trial: Trial) -> None:
    trial.add("base", None, {f"q{i}": 0.9 for i in range(20)}, higher_is_better=False)
    trial.add("a", 0, {f"q{i}": 0.1 for i in range(20)}, higher_is_better=False)
    _, rows = trial.run(declared=({"arm": "a", "against": "base", "expect": "better"},))
    assert [(round(r["estimate"], 3), r["verdict"], r["outcome"]) for r in rows] == [
        (-0.8, "better", ""),
        (-0.8, "better", "shown"),
    ]


def test_scores_say_when_they_are_near_chance_or_one_constant_answer(trial: Trial) -> None:
    trial.add("base", None, {f"q{i}": float(i % 4 == 0) for i in range(80)}, same_answer=0.5)
    for seed in (0, 1):
        trial.add("a", seed, {f"q{i}": 1.0 for i in range(80)}, same_answer=1.0, majority={"acc": 0.3})
    [base, arm], _ = trial.run()
    assert (base["near_chance"], base["chance"], base["spread"]) == (True, 0.25, None)
    assert (arm["near_chance"], arm["same_answer"], arm["majority"], arm["spread"]) == (False, 1.0, 0.3, 0.0)


def test_the_same_settings_give_the_same_bytes_and_another_seed_another_bootstrap(trial: Trial) -> None:
    rng = np.random.default_rng(8)
    trial.add("base", None, answers(rng, 0.4))
    trial.add("a", 0, {item: rng.random() for item in answers(rng, 0.6)})
    first, again, other = trial.run(), trial.run(), trial.run(seed=1)
    assert first == again
    assert first[1][0]["bootstrap_low"] != other[1][0]["bootstrap_low"]
    assert first[1][0]["low"] == other[1][0]["low"]
    assert first[1][0]["estimate"] == other[1][0]["estimate"]


def test_a_declared_contrast_without_benchmarks_is_about_every_main_endpoint(trial: Trial) -> None:
    rng = np.random.default_rng(8)
    for benchmark in ("facts", "truth"):
        trial.add("base", None, answers(rng, 0.4), benchmark)
        trial.add("a", 0, answers(rng, 0.6), benchmark)
    declared = DeclaredContrast(arm="a", against="base", competitive_within=2.0)
    _, rows = trial.run(declared=(declared, replace_on(declared, "truth")))
    said = [(r["endpoint"], r["expect"], r["margin"]) for r in rows if r["declared"]]
    assert said == [("facts", "not_worse", 0.02), ("truth", "not_worse", 0.02), ("truth", "not_worse", 0.02)]


def test_items_that_an_arm_was_trained_on_are_left_out_of_a_score_beside_the_full_one(trial: Trial) -> None:
    # The arm knows the ten items that are in its data, and no other that the baseline does not.
    base = {f"questions:{n}": float(n % 2) for n in range(40)}
    learned = {item: 1.0 if n < 10 else value for n, (item, value) in enumerate(base.items())}
    trial.add("base", None, base)
    for seed in (0, 1):
        trial.add("a", seed, learned)
    audit = trial.audit("audit/lima", [f"benchmark/1/lm_eval:{n}" for n in range(10)])
    [before, after], [found] = trial.run(audits={"a": (audit,)}, benchmarks=("others", "facts"))
    assert (after["estimate"], after["clean"], after["clean_items"]) == (25 / 40, 0.5, 30)
    assert after["clean_low"] < 0.5 < after["clean_high"]
    assert before["clean"] is None
    assert (found["estimate"], found["clean"], found["clean_items"]) == (5 / 40, 0.0, 30)


def test_items_of_another_benchmark_are_not_left_out(trial: Trial) -> None:
    trial.add("base", None, {"questions:0": 1.0, "questions:1": 0.0})
    trial.add("a", 0, {"questions:0": 1.0, "questions:1": 1.0})
    audit = trial.audit("audit/lima", ["benchmark/0/lm_eval:0"])
    _, [found] = trial.run(audits={"a": (audit,)}, benchmarks=("others", "facts"))
    assert found["clean"] is None


def test_further_pairs_of_arms_are_compared_too(trial: Trial) -> None:
    rng = np.random.default_rng(8)
    for arm in ("base", "a", "a (again)"):
        trial.add(arm, None if arm == "base" else 0, answers(rng, 0.4))
    _, rows = trial.run(beside=(("a (again)", "a"),))
    pairs = [(r["arm"], r["against"], r["declared"]) for r in rows]
    assert pairs == [("a", "base", False), ("a (again)", "base", False), ("a (again)", "a", False)]


def test_capability_is_the_mean_over_benchmarks_with_the_seeds_spread(trial: Trial) -> None:
    rng = np.random.default_rng(9)
    runs = {b: [answers(rng, p, 300) for p in (0.4, 0.5, 0.6)] for b in ("facts", "truth")}
    for benchmark, by_seed in runs.items():
        trial.add("base", None, answers(rng, 0.3), benchmark)
        for seed, scores in enumerate(by_seed):
            trial.add("a", seed, scores, benchmark)
    found = [s for s in trial.run()[0] if s["endpoint"] == "capability"]
    means = [np.mean([np.mean(list(runs[b][seed].values())) for b in runs]) for seed in range(3)]
    assert [s["arm"] for s in found] == ["base", "a"]
    assert found[1]["estimate"] == pytest.approx(np.mean(means))
    assert found[1]["spread"] == pytest.approx(np.std(means, ddof=1))
    assert found[1]["main"]


def test_a_benchmarks_further_metrics_are_no_part_of_capability(trial: Trial) -> None:
    for benchmark, right in (("facts", 0.0), ("truth", 1.0)):
        trial.add("base", None, {f"q{i}": right for i in range(9)}, benchmark)
    path = trial.inputs["truth-base-None"] / "scores.parquet"
    main = pl.read_parquet(path)
    pl.concat([main, main.with_columns(metric=pl.lit("acc_norm"))]).write_parquet(path)
    scores, _ = trial.run()
    assert [(s["endpoint"], s["metric"]) for s in scores if not s["main"]] == [("truth", "acc_norm")]
    assert (scores[-1]["metric"], scores[-1]["estimate"]) == ("mean of facts, truth", 0.5)


def test_arms_that_answer_few_items_alike_are_not_shown_to_be_equivalent(trial: Trial) -> None:
    alike = {f"q{i}": 1.0 for i in range(20)}
    for arm, seeds in (("base", (None,)), ("a", (0, 1))):
        for seed in seeds:
            trial.add(arm, seed, alike)
    claims = (
        {"arm": "a", "against": "base", "competitive_within": margin, "expect": "equivalent"} for margin in (1, 20)
    )
    _, rows = trial.run(declared=tuple(claims))
    assert [row["outcome"] for row in rows if row["declared"]] == ["undecided", "shown"]


def test_capability_is_no_mean_over_benchmarks_with_other_seeds(trial: Trial) -> None:
    rng = np.random.default_rng(10)
    for benchmark, seeds in (("facts", (0, 1)), ("truth", (1, 2))):
        trial.add("base", None, answers(rng, 0.3), benchmark)
        for seed in seeds:
            trial.add("a", seed, answers(rng, 0.5), benchmark)
    assert [s["arm"] for s in trial.run()[0] if s["endpoint"] == "capability"] == ["base"]


@pytest.mark.parametrize("margin", [1.0, 1.5, 2.0, 2.5, 3.0])
def test_with_one_seed_a_margin_is_kept_where_the_interval_lies_within(trial: Trial, margin: float) -> None:
    base = {f"q{i}": float(i % 2) for i in range(200)}
    trial.add("base", None, base)
    trial.add("a", 0, {**base, "q0": 1.0, "q1": 0.0})
    _, rows = trial.run(declared=({"arm": "a", "against": "base", "competitive_within": margin},))
    [found] = [row for row in rows if row["declared"]]
    assert (found["outcome"] == "shown") == (found["low"] > -margin / 100)


def replace_on(declared: DeclaredContrast, *on: str) -> DeclaredContrast:
    return declared.model_copy(update={"on": on})


def test_an_empty_benchmark_is_an_error_that_names_it(trial: Trial) -> None:
    trial.add("base", None, {"q1": 1.0})
    empty = pl.DataFrame(schema={"item": pl.String, "stratum": pl.String, "metric": pl.String, "value": pl.Float64})
    empty.write_parquet(trial.inputs["facts-base-None"] / "scores.parquet")
    with pytest.raises(DataError, match="facts: no item was scored for arm base"):
        trial.run()


def test_the_runs_of_a_task_are_part_of_its_identity() -> None:
    run = EvaluationRun("base", None, "facts", "in-0")
    one = Contrasts(runs=(run,), baseline="base")
    assert one.kind == "contrasts"
    assert one.identity() == json.loads(json.dumps(one.identity()))
    assert one.identity() != Contrasts(runs=(replace(run, benchmark="truth"),), baseline="base").identity()
