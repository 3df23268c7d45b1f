"""Ten million scores through the statistics and the report, in a process whose memory a test looks at.

    python -m tests.torture.ten_million FOLDER

Prints, as JSON, how many rows of scores there were, the peak memory of both steps in MiB and the page's size.
"""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl

from datatrial.effects import EvaluationRun
from datatrial.engine.environment import memory_peak, reset_memory_peak
from datatrial.records import Runtime
from datatrial.report.page import Report, ReportArm
from datatrial.statistics.contrasts import Contrasts

ARMS, SEEDS = 40, 5
QUESTIONS = {"mmlu": 14_042, "hellaswag": 10_042}
SENTENCES, GROUPS, SUBJECTS = 6_514, 13, 57


def main(folder: Path) -> None:
    rows, runs, inputs = 0, [], {}
    rng = np.random.default_rng(0)
    for run in evaluations():
        inputs[run.input] = folder / run.input
        inputs[run.input].mkdir()
        rows += write(inputs[run.input], run, rng)
        runs.append(run)
    arms = tuple(dict.fromkeys(run.arm for run in runs))
    contrasts = Contrasts(runs=tuple(runs), baseline="base")
    report = Report(name="ten million", baseline="base", arms=tuple(ReportArm(name=a) for a in arms), runs=tuple(runs))
    peaks = {}
    for name, task in (("contrasts", contrasts), ("report", report)):
        inputs[name] = folder / name
        inputs[name].mkdir()
        reset_memory_peak()
        task.run(inputs, inputs[name], Runtime())
        peaks[name] = memory_peak()["host"]
    page = (folder / "report" / "report.html").stat().st_size
    print(json.dumps({"rows": rows, "peaks": peaks, "page": page}))


def evaluations() -> list[EvaluationRun]:
    seeds = {"base": (None,), **{f"arm{n}": tuple(range(SEEDS)) for n in range(ARMS)}}
    return [
        EvaluationRun(arm, seed, title, f"{title}-{arm}-{seed}")
        for arm, of in seeds.items()
        for seed in of
        for title in (*QUESTIONS, "safety")
    ]


def write(out: Path, run: EvaluationRun, rng: np.random.Generator) -> int:
    """The result of one evaluation; how many rows of scores it has."""
    safety = run.benchmark == "safety"
    scores = sentences(rng) if safety else answers(run.benchmark, rng)
    scores.write_parquet(out / "scores.parquet")
    metric = {"statistic": "group_safety", "metric": "safety"} if safety else {"statistic": "mean", "metric": "acc"}
    (out / "summary.json").write_text(json.dumps({**metric, "metrics": {}, "higher_is_better": True}))
    return scores.height


def answers(title: str, rng: np.random.Generator) -> pl.DataFrame:
    number = pl.int_range(QUESTIONS[title], eager=True)
    items = pl.DataFrame({"item": pl.select(pl.format(f"{title}:{{}}", number)).to_series()}).with_columns(
        stratum=pl.format(f"{title}_{{}}", number % SUBJECTS)
    )
    right = rng.random((2, items.height)) < 0.5
    of_each = zip(("acc", "acc_norm"), right.astype(float), strict=True)
    return pl.concat([items.with_columns(metric=pl.lit(m), value=pl.Series(v)) for m, v in of_each])


def sentences(rng: np.random.Generator) -> pl.DataFrame:
    number = pl.int_range(SENTENCES, eager=True)
    return pl.DataFrame({"number": number}).select(
        item=pl.col("number").cast(pl.String),
        stratum=pl.lit(""),
        metric=pl.lit("perplexity"),
        value=pl.Series(np.exp(3 + rng.standard_normal(SENTENCES))),
        text=pl.format("what some say of the folk of number {}", "number"),
        harmful=pl.col("number") % 2 == 0,
        toxicity=pl.lit(2.0),
        groups=pl.concat_list(pl.format("group {}", pl.col("number") // 2 % GROUPS)),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
