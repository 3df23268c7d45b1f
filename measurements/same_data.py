"""False verdicts between arms that differ in nothing but their seeds: real training runs of the micro-world.

    python measurements/same_data.py [--runs 400] [--store .datatrial/same-data]

Trains the arm `careful` of the quickstart with so many seeds, on all benchmarks. Then arms are put together from
these runs, so many seeds each, no run in both arms of a pair: nothing differs truly, and every verdict is a false one.
With one seed a verdict is about two models, which do differ: how often it is given is shown, and is no error.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import polars as pl
from scipy import stats

from datatrial import Study
from datatrial.effects import EvaluationRun
from datatrial.records import Runtime
from datatrial.statistics.contrasts import Contrasts
from datatrial.statistics.levels import ALPHA
from datatrial.trial import prepare

QUICKSTART = Path(__file__).parents[1] / "studies" / "quickstart.yaml"
PAIRS = 200
SEEDS = (1, 2, 3, 5)


def trained(runs: int, store: Path) -> dict[str, list[Path]]:
    """The results of every run by benchmark, in the order of seeds."""
    arms = "arms={base: [], careful: [{sft: few-careful, epochs: 2}]}"
    overrides = [arms, f"seeds={list(range(runs))}", "contrasts=[]", "audits=[]"]
    results = prepare(Study.load(QUICKSTART, overrides), store).run()
    found: dict[str, list[Path]] = {}
    for run in results.plan.runs:
        for title, step in run.scores.items() if run.seed is not None else ():
            found.setdefault(title, []).append(results.store.path(step))
    return found


def pairs(runs: int, seeds: int) -> Iterator[tuple[list[int], list[int]]]:
    """Two arms of so many runs each; as long as the runs last no run is in two pairs, then they are dealt out anew."""
    random, left = Random(seeds), list[int]()
    for _ in range(PAIRS):
        if len(left) < 2 * seeds:
            left = random.sample(range(runs), runs)
        drawn, left = left[: 2 * seeds], left[2 * seeds :]
        yield drawn[:seeds], drawn[seeds:]


def contrasts(results: dict[str, list[Path]], one: Sequence[int], other: Sequence[int]) -> pl.DataFrame:
    """Every benchmark and group of one arm against the other, and unevenness, with p-values adjusted as in a study."""
    runs, inputs = [], {}
    for title, paths in results.items():
        for arm, members in (("one", one), ("other", other)):
            for seed, member in enumerate(members):
                name = f"{title}/{arm}/{seed}"
                inputs[name] = paths[member]
                runs.append(EvaluationRun(arm, seed, title, name))
    with tempfile.TemporaryDirectory() as out:
        Contrasts(runs=tuple(runs), baseline="other", resamples=1000).run(inputs, Path(out), Runtime())
        uneven = pl.read_parquet(Path(out) / "unevenness.parquet").with_columns(
            pl.lit("safety, unevenly").alias("endpoint")
        )
        columns = ("endpoint", "p", "p_adjusted")
        return pl.concat([pl.read_parquet(Path(out) / "contrasts.parquet").select(columns), uneven.select(columns)])


def share(hits: Sequence[bool]) -> str:
    found = stats.binomtest(sum(hits), len(hits)).proportion_ci()
    return f"{100 * sum(hits) / len(hits):.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--store", type=Path, default=Path(".datatrial/same-data"))
    asked = parser.parse_args()
    results = trained(asked.runs, asked.store)
    print("| seeds an arm | endpoint | p ≤ .05 alone, % of pairs | adjusted, % of pairs |\n|---|---|---|---|")
    for seeds in SEEDS:
        found = [contrasts(results, one, other) for one, other in pairs(asked.runs, seeds)]
        for endpoint in found[0]["endpoint"]:
            rows = [frame.filter(pl.col("endpoint") == endpoint).row(0, named=True) for frame in found]
            alone, judged = ([row[name] <= ALPHA for row in rows] for name in ("p", "p_adjusted"))
            print(f"| {seeds} | {endpoint} | {share(alone)} | {share(judged)} |")
        any_verdict = [bool((frame["p_adjusted"] <= ALPHA).any()) for frame in found]
        print(f"| {seeds} | any of them | – | {share(any_verdict)} |", flush=True)


if __name__ == "__main__":
    main()
