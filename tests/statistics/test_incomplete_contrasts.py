"""Contrasts where an arm, the baseline or a seed lacks a benchmark, and where a score is no mean over items."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datatrial.errors import DataError
from datatrial.statistics.endpoints import endpoint_of, is_of
from tests.statistics.trial import Trial, answers


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


def of_whole(trial: Trial, arm: str, seed: int | None, number: float | None, benchmark: str = "prose") -> None:
    """A run of a benchmark that has a number for the whole and none for its items."""
    trial.add(
        arm,
        seed,
        {},
        benchmark,
        metric="perplexity",
        metrics={"perplexity": number},
        higher_is_better=False,
        chance={},
        items=62,
    )


def test_a_benchmark_that_the_baseline_lacks_is_compared_where_it_can_be(trial: Trial) -> None:
    rng = np.random.default_rng(2)
    for arm in ("base", "a", "b"):
        for benchmark in ("truth", "facts"):
            if (arm, benchmark) != ("base", "truth"):
                trial.add(arm, None if arm == "base" else 0, answers(rng, 0.5), benchmark)
    declared = ({"arm": "b", "against": "base", "expect": "better"}, {"arm": "b", "against": "a", "on": ["truth"]})
    scores, contrasts = trial.run(declared=declared)
    assert [(s["arm"], s["endpoint"]) for s in scores if s["main"] and s["endpoint"] != "capability"] == [
        ("base", "facts"),
        ("a", "facts"),
        ("a", "truth"),
        ("b", "facts"),
        ("b", "truth"),
    ]
    said = {(c["arm"], c["against"], c["endpoint"], c["declared"]): c["verdict"] for c in contrasts}
    assert ("a", "base", "truth", False) not in said
    assert said["b", "base", "truth", True] == "not tested"
    assert said["b", "base", "facts", True] != "not tested"
    assert said["b", "a", "truth", True] != "not tested"


def test_arms_keep_the_studys_order_where_the_first_benchmark_lacks_one(trial: Trial) -> None:
    rng = np.random.default_rng(2)
    trial.add("base", None, answers(rng, 0.5), "facts")
    trial.add("a", 0, answers(rng, 0.5), "truth")
    trial.add("b", 0, answers(rng, 0.5), "facts")
    scores, _ = trial.run()
    assert [s["arm"] for s in scores] == ["base", "a", "b"]


def test_a_seed_that_lacks_one_benchmark_counts_on_the_others(trial: Trial) -> None:
    rng = np.random.default_rng(4)
    for benchmark, seeds in {"facts": (0, 1, 2), "truth": (0, 2)}.items():
        trial.add("base", None, answers(rng, 0.5), benchmark)
        for seed in seeds:
            trial.add("a", seed, answers(rng, 0.5), benchmark)
    _, contrasts = trial.run()
    assert {c["endpoint"]: c["seeds"] for c in contrasts} == {"facts": 3, "truth": 2}


def test_a_score_that_is_no_mean_over_items_is_given_without_interval_and_not_compared(trial: Trial) -> None:
    rng = np.random.default_rng(4)
    trial.add("base", None, answers(rng, 0.5), "facts")
    of_whole(trial, "base", None, 20.0)
    for seed, number in enumerate((17.0, 19.0)):
        trial.add("a", seed, answers(rng, 0.5), "facts")
        of_whole(trial, "a", seed, number)
    declared = ({"arm": "a", "against": "base", "expect": "better"},)
    scores, contrasts = trial.run(declared=declared)
    base, a = (s for s in scores if s["endpoint"] == "prose")
    assert (base["estimate"], base["seeds"], base["spread"], base["items"], base["baseline"]) == (20, 1, None, 62, True)
    assert (a["estimate"], a["seeds"], a["higher_is_better"], a["main"]) == (18.0, 2, False, True)
    assert a["spread"] == pytest.approx(np.std([17, 19], ddof=1))
    assert np.isnan([base["low"], base["high"], a["low"], a["high"]]).all()
    assert [(c["endpoint"], c["declared"], c["verdict"] == "not tested") for c in contrasts] == [
        ("facts", False, False),
        ("facts", True, False),
        ("prose", True, True),
    ]


def test_a_mean_that_happens_to_be_one_over_items_for_one_run_is_not_compared_either(trial: Trial) -> None:
    trial.add("base", None, {f"q{i}": 1.0 for i in range(9)}, metrics={"acc": 1.0}, items=9)
    trial.add("a", 0, {}, metrics={"acc": 0.4}, items=9)
    scores, contrasts = trial.run()
    assert [(s["arm"], s["estimate"], np.isnan(s["low"])) for s in scores] == [("base", 1.0, True), ("a", 0.4, True)]
    assert contrasts == []


def test_another_metric_keeps_its_interval_where_the_main_one_has_none(trial: Trial) -> None:
    for arm, seed in (("base", None), ("a", 0)):
        trial.add(arm, seed, {f"q{i}": float(i % 2) for i in range(40)}, metric="f1", metrics={"f1": 0.3}, items=40)
    scores, contrasts = trial.run()
    told = [(s["metric"], s["main"], np.isnan(s["low"])) for s in scores if s["arm"] == "a"]
    assert told == [("f1", True, True), ("acc", False, False)]
    assert contrasts == []


def test_a_number_that_is_not_defined_is_no_score(trial: Trial) -> None:
    of_whole(trial, "base", None, 20.0)
    of_whole(trial, "a", 0, float("nan"))
    of_whole(trial, "a", 1, 18.0)
    of_whole(trial, "b", 0, None)
    scores, _ = trial.run()
    assert [(s["arm"], s["estimate"], s["seeds"]) for s in scores] == [("base", 20.0, 1), ("a", 18.0, 1)]


def test_neither_items_nor_a_number_is_an_error_that_names_the_benchmark(trial: Trial) -> None:
    trial.add("base", None, {"q1": 1.0})
    trial.add("a", 0, {}, metrics={})
    with pytest.raises(DataError, match="facts: no item was scored for arm a"):
        trial.run()


def test_the_columns_are_the_same_with_and_without_contrasts(trial: Trial) -> None:
    of_whole(trial, "base", None, 20.0)
    trial.run()
    schema = pl.read_parquet(trial.folder / "out" / "scores.parquet").schema
    assert (schema["low"], schema["spread"], schema["seeds"]) == (pl.Float64, pl.Float64, pl.Int64)
    assert json.loads((trial.folder / "prose-base-None" / "summary.json").read_text())["metric"] == "perplexity"


def test_an_endpoint_is_known_by_its_benchmark_and_group() -> None:
    assert [endpoint_of("safety"), endpoint_of("safety", "Tinkers")] == ["safety", "safety/Tinkers"]
    assert [is_of(e, "safety") for e in ("safety", "safety/Tinkers", "safety2", "truth")] == [True, True, False, False]
