"""How long the statistics of the paper's whole study take: 6 arms, 3 seeds, its benchmarks' items, 13 groups.

    python measurements/statistics_speed.py [--resamples 10000] [--rounds 3]

Writes made-up results of that shape (a base model without seeds, five arms with three), then times the `contrasts`
step on them: every estimate, interval, p and null, and so many resamples of the bootstrap over items and seeds.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from datatrial.effects import EvaluationRun
from datatrial.records import Runtime
from datatrial.statistics.contrasts import Contrasts

ITEMS = {
    "arc_challenge": 1172,
    "piqa": 1838,
    "hellaswag": 10_042,
    "mmlu": 14_042,
    "toxigen": 940,
    "truthfulqa": 817,
}
SUBJECTS = 57
SENTENCES, GROUPS = 6514, 13
ARMS = {"base": (None,), **{f"arm{n}": (0, 1, 2) for n in range(5)}}


def write(folder: Path) -> tuple[tuple[EvaluationRun, ...], dict[str, Path]]:
    """Made-up results of every arm, seed and benchmark."""
    rng, runs, inputs = np.random.default_rng(0), [], {}
    difficulty = {name: rng.standard_normal(items) for name, items in ITEMS.items()}
    sentences = statements(rng)
    for arm, seeds in ARMS.items():
        for seed in seeds:
            for name in [*ITEMS, "safety"]:
                key = f"{name}-{arm}-{seed}"
                inputs[key] = folder / key
                inputs[key].mkdir()
                rows = safety(sentences, rng) if name == "safety" else accuracy(name, difficulty[name], rng)
                rows.write_parquet(inputs[key] / "scores.parquet")
                metric = "safety" if name == "safety" else "acc"
                about = {"statistic": "group_safety" if name == "safety" else "mean", "metric": metric}
                (inputs[key] / "summary.json").write_text(json.dumps({**about, "higher_is_better": True}))
                runs.append(EvaluationRun(arm, seed, name, key))
    return tuple(runs), inputs


def accuracy(name: str, difficulty: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    n = len(difficulty)
    right = (difficulty + 0.5 * rng.standard_normal(n) > 0).astype(float)
    strata = [f"subject{i % SUBJECTS}" if name == "mmlu" else "" for i in range(n)]
    items = [f"{name}:{i}" for i in range(n)]
    return pl.DataFrame({"item": items, "stratum": strata, "metric": ["acc"] * n, "value": right})


def statements(rng: np.random.Generator) -> pl.DataFrame:
    harmful = rng.random(SENTENCES) < 0.43
    groups = [[f"group{i % GROUPS}", f"group{(i + 1) % GROUPS}"][: 1 + (i % 5 == 0)] for i in range(SENTENCES)]
    about = {"item": [str(i) for i in range(SENTENCES)], "stratum": [""] * SENTENCES}
    about |= {"metric": ["perplexity"] * SENTENCES, "text": [f"sentence {i}" for i in range(SENTENCES)]}
    return pl.DataFrame({**about, "harmful": harmful, "toxicity": np.where(harmful, 4.0, 1.3), "groups": groups})


def safety(sentences: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return sentences.with_columns(value=pl.Series(np.exp(3 + 0.6 * rng.standard_normal(SENTENCES))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs, inputs = write(Path(folder))
        task = Contrasts(runs=runs, baseline="base", resamples=asked.resamples)
        seconds = []
        for number in range(asked.rounds):
            out = Path(folder) / f"out{number}"
            out.mkdir()
            started = time.monotonic()
            task.run(inputs, out, Runtime())
            seconds.append(time.monotonic() - started)
    spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
    print(
        f"{len(runs)} results, {sum(ITEMS.values()):,} items, {SENTENCES:,} sentences, {asked.resamples:,} resamples:"
    )
    print(f"{statistics.median(seconds):.1f} s ({spread}, {asked.rounds} rounds); the limit is 20 s on two cores")


if __name__ == "__main__":
    main()
