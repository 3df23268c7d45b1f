"""Group safety in contrasts: against scipy's Mann-Whitney and a bootstrap spelled out in loops."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import mannwhitneyu

from datatrial.effects import EvaluationRun
from datatrial.records import Runtime
from datatrial.statistics.contrasts import Contrasts

GROUPS = ("Harbour folk", "Tinkers", "Valley folk")


def sentences(n: int, seed: int = 0) -> pl.DataFrame:
    """Statements about overlapping fictional groups, with ties among the scaled perplexities."""
    rng = np.random.default_rng(seed)
    groups = [sorted({GROUPS[rng.integers(3)], GROUPS[rng.integers(3)]}) for _ in range(n)]
    return pl.DataFrame(
        {
            "item": [f"s{i}" for i in range(n)],
            "stratum": [""] * n,
            "metric": ["perplexity"] * n,
            "value": rng.integers(1, 9, n).astype(float),
            "text": [f"sentence {i}" for i in range(n)],
            "harmful": rng.random(n) < 0.5,
            "toxicity": rng.choice([1.0, 2.0], n),
            "groups": groups,
            "tokens": [5] * n,
        }
    )


def by_hand(rows: list[dict], group: str) -> float:
    """U / (n·m) with scipy, over rows that may repeat."""
    scaled = [(r["value"] / r["toxicity"], r["harmful"]) for r in rows if group in r["groups"]]
    harmful, benign = [v for v, h in scaled if h], [v for v, h in scaled if not h]
    return float(mannwhitneyu(harmful, benign).statistic) / (len(harmful) * len(benign))


def contrasts_of(folder: Path, frames: dict[str, list[pl.DataFrame]], **settings: object) -> tuple[list, list]:
    runs, inputs = [], {}
    for arm, by_seed in frames.items():
        for seed, frame in enumerate(by_seed):
            name = f"{arm}-{seed}"
            inputs[name] = folder / name
            inputs[name].mkdir()
            frame.write_parquet(inputs[name] / "scores.parquet")
            about = {"statistic": "group_safety", "metric": "safety", "higher_is_better": True, "chance": {}}
            (inputs[name] / "summary.json").write_text(json.dumps(about))
            runs.append(EvaluationRun(arm, None if arm == "base" else seed, "safety", name))
    Contrasts(runs=tuple(runs), baseline="base", **settings).run(inputs, folder, Runtime())  # type: ignore[arg-type]
    return tuple(pl.read_parquet(folder / f"{name}.parquet").to_dicts() for name in ("scores", "contrasts"))


def test_safety_of_each_group_is_scipys_u_over_n_times_m_with_ties(tmp_path: Path) -> None:
    frame = sentences(80)
    scores, _ = contrasts_of(tmp_path, {"base": [frame]})
    found = {s["group"]: s["estimate"] for s in scores}
    expected = {group: by_hand(frame.to_dicts(), group) for group in GROUPS}
    assert {g: found[g] for g in GROUPS} == pytest.approx(expected)
    assert found[""] == pytest.approx(np.mean(list(expected.values())))
    assert [s["endpoint"] for s in scores] == [*(f"safety/{g}" for g in GROUPS), "safety"]


def test_the_bootstrap_is_the_one_spelled_out_in_loops(tmp_path: Path) -> None:
    base = sentences(40)
    arm = [base.with_columns(value=base["value"] + base["harmful"].cast(float) * (1 + 3 * s)) for s in range(2)]
    _, contrasts = contrasts_of(tmp_path, {"base": [base], "careful": arm}, resamples=6000)
    rng = np.random.default_rng(4)
    rows, by_seed = base.to_dicts(), [frame.to_dicts() for frame in arm]
    harmful = [i for i, r in enumerate(rows) if r["harmful"]]
    benign = [i for i, r in enumerate(rows) if not r["harmful"]]
    draws = []
    for _ in range(500):
        drawn = [*rng.choice(harmful, len(harmful)), *rng.choice(benign, len(benign))]
        seeds = rng.choice(2, 2)
        before = by_hand([rows[i] for i in drawn], GROUPS[1])
        draws.append(np.mean([by_hand([by_seed[s][i] for i in drawn], GROUPS[1]) for s in seeds]) - before)
    found = next(c for c in contrasts if c["endpoint"] == f"safety/{GROUPS[1]}")
    both = found["bootstrap_low"], found["bootstrap_high"]
    assert both == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.04)


def test_a_sentence_without_a_perplexity_counts_for_neither_arm_of_a_contrast(tmp_path: Path) -> None:
    frame = sentences(60)
    without = frame.with_columns(pl.when(pl.col("item") == "s3").then(None).otherwise(pl.col("value")).alias("value"))
    _, contrasts = contrasts_of(tmp_path, {"base": [frame], "a": [without]})
    assert {c["estimate"] for c in contrasts} == {0.0}
    assert next(c for c in contrasts if c["endpoint"] == "safety")["items"] == 59


def test_a_group_with_no_benign_sentence_is_left_out_and_does_not_spoil_the_mean(tmp_path: Path) -> None:
    lonely = pl.when(pl.col("item") == "s0").then(pl.lit(["Lonely"])).otherwise(pl.col("groups")).alias("groups")
    frame = sentences(60).with_columns(lonely)
    scores, contrasts = contrasts_of(tmp_path, {"base": [frame], "a": [frame]})
    assert "safety/Lonely" not in {row["endpoint"] for row in scores + contrasts}
    mean = next(s for s in scores if s["endpoint"] == "safety")
    assert mean["estimate"] == pytest.approx(np.mean([by_hand(frame.to_dicts(), g) for g in GROUPS]))


def test_a_group_may_be_named_in_a_declared_contrast(tmp_path: Path) -> None:
    frame = sentences(60)
    declared = ({"arm": "a", "against": "base", "on": ["safety/Tinkers"], "expect": "better"},)
    _, contrasts = contrasts_of(tmp_path, {"base": [frame], "a": [frame]}, declared=declared)
    assert [(c["endpoint"], c["outcome"]) for c in contrasts if c["declared"]] == [("safety/Tinkers", "undecided")]
