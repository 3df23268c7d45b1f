"""Size of `report.html`, by part, and the time to make it, for results of the paper's shape, made up.

    python measurements/report_size.py [OUT] [SEEDS] [SHARE]

Six arms (the baseline has one run, the others one for each of 3 SEEDS), as many items as the paper's benchmarks have,
texts as long as theirs, of words drawn by Zipf's law. An item's answer differs from the baseline's in a SHARE of 0.1
of the runs. OUT is a folder to keep the report in.
"""

import json
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from datatrial.effects import EvaluationRun
from datatrial.records import Runtime
from datatrial.report.page import Report, ReportArm
from datatrial.statistics.contrasts import Contrasts

ARMS = ("base", "lima", "shp", "orca", "lima-hh", "lima-shp")
VOCABULARY, LETTERS = 6_000, "aaeeiioounrstlmkdpbgvfzhy"
GROUPS = 13


@dataclass(frozen=True)
class Shape:
    """A benchmark of questions: how many, with how many options, of how many words each."""

    items: int
    options: int
    question: int
    option: int


SHAPES = {
    "mmlu": Shape(14_042, 4, 60, 7),
    "hellaswag": Shape(10_042, 4, 100, 25),
    "piqa": Shape(1_838, 2, 8, 20),
    "arc_challenge": Shape(1_172, 4, 22, 5),
    "truthfulqa_mc2": Shape(817, 8, 10, 11),
    "toxigen": Shape(940, 2, 25, 1),
}
SENTENCES, WORDS_OF_SENTENCE = 6_514, 18


def main(out: str = "", seeds: int = 3, share: float = 0.1) -> None:
    rng = np.random.default_rng(4)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        inputs = {run.input: store / run.input for run in _write(store, seeds, share, rng)}
        runs = tuple(_runs(seeds))
        contrasts = store / "contrasts"
        contrasts.mkdir()
        Contrasts(runs=runs, baseline="base", resamples=200).run(inputs, contrasts, Runtime())
        arms = tuple(ReportArm(name=arm) for arm in ARMS)
        report = Report(name="of the paper's shape", baseline="base", arms=arms, runs=runs)
        made = Path(out) if out else store / "report"
        made.mkdir(parents=True, exist_ok=True)
        before, start = _peak(), time.perf_counter()
        report.run({**inputs, "contrasts": contrasts}, made, Runtime())
        seconds = time.perf_counter() - start
        page = (made / "report.html").read_text(encoding="utf-8")
    items = sum(shape.items for shape in SHAPES.values()) + SENTENCES
    of_each = len(runs) // (len(SHAPES) + 1)
    print(f"{of_each} runs of {items:,} items: {seconds:.1f} s, {_peak() - before:,.0f} MB more memory")
    _print_sizes(page)


def _print_sizes(page: str) -> None:
    blocks = re.findall(r'<script type="application/octet-stream" [^>]*data-benchmark="([^"]*)">([^<]*)<', page)
    sizes = {f"items of {name}": len(block) for name, block in blocks}
    sizes["all else"] = len(page.encode()) - sum(sizes.values())
    for name, size in {**sizes, "report.html": len(page.encode())}.items():
        print(f"{name:28} {size / 1e6:8.2f} MB")


def _runs(seeds: int) -> Iterator[EvaluationRun]:
    for arm in ARMS:
        for seed in (None,) if arm == "base" else range(seeds):
            for benchmark in (*SHAPES, "safety"):
                yield EvaluationRun(arm, seed, benchmark, f"{arm}-{seed}-{benchmark}")


def _write(store: Path, seeds: int, share: float, rng: np.random.Generator) -> Iterator[EvaluationRun]:
    words = np.array(["".join(rng.choice(list(LETTERS), rng.integers(2, 9))) for _ in range(VOCABULARY)])
    texts = {name: _questions(name, shape, words, rng) for name, shape in SHAPES.items()}
    sentences = _sentences(words, rng)
    for run in _runs(seeds):
        out = store / run.input
        out.mkdir()
        if run.benchmark == "safety":
            _write_sentences(out, sentences, rng)
        else:
            _write_answers(out, *texts[run.benchmark], 0 if run.arm == "base" else share, rng)
        yield run


def _texts(words: np.ndarray, n: int, length: int, rng: np.random.Generator) -> list[str]:
    """Texts of about so many words, of which the k-th commonest comes about 1/k as often as the first."""
    lengths = np.maximum(1, rng.poisson(length, n))
    places = (VOCABULARY ** rng.random(int(lengths.sum()))).astype(np.int64) - 1  # log-uniform: Zipf's law
    return [" ".join(part) for part in np.split(words[places], np.cumsum(lengths)[:-1])]


Questions = tuple[pl.DataFrame, np.ndarray, np.ndarray]  # the texts, the right option, the baseline's log-likelihoods


def _questions(name: str, shape: Shape, words: np.ndarray, rng: np.random.Generator) -> Questions:
    n = shape.items
    options = np.array(_texts(words, n * shape.options, shape.option, rng), dtype=object).reshape(n, shape.options)
    right = rng.integers(shape.options, size=n)
    frame = pl.DataFrame(
        {
            "item": [f"{name}:{number}" for number in range(n)],
            "stratum": [f"{name}_{number % 57}" if name == "mmlu" else "" for number in range(n)],
            "question": _texts(words, n, shape.question, rng),
            "choices": options.tolist(),
            "right": right[:, None].tolist(),
            "response": pl.Series([None] * n, dtype=pl.String),
            "target": [str(number) for number in right],
        }
    )
    return frame, right, -rng.gamma(4, shape.option / 2, (n, shape.options))


def _write_answers(
    out: Path, frame: pl.DataFrame, right: np.ndarray, base: np.ndarray, share: float, rng: np.random.Generator
) -> None:
    n = len(right)
    likelihoods = base + rng.normal(0, 0.3, base.shape)
    other = rng.random(n) < share
    chosen = np.where(other, rng.integers(base.shape[1], size=n), base.argmax(axis=1))
    rows = frame.with_columns(log_likelihoods=pl.Series(likelihoods.tolist()), chosen=pl.Series(chosen))
    rows.write_parquet(out / "items.parquet")
    soft = frame["item"][0].startswith("truthfulqa")
    value = rng.random(n) if soft else (chosen == right).astype(float)
    _write_scores(out, frame.select("item", "stratum"), "acc", value, "mean")


def _sentences(words: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    n = SENTENCES
    return pl.DataFrame(
        {
            "item": [str(number) for number in range(n)],
            "stratum": [""] * n,
            "text": _texts(words, n, WORDS_OF_SENTENCE, rng),
            "harmful": rng.random(n) < 0.5,
            "toxicity": 1 + 4 * rng.random(n),
            "groups": [[f"group {number % GROUPS}"] for number in range(n)],
            "tokens": [WORDS_OF_SENTENCE] * n,
        }
    )


def _write_sentences(out: Path, sentences: pl.DataFrame, rng: np.random.Generator) -> None:
    _write_scores(out, sentences, "perplexity", np.exp(rng.normal(4, 1, SENTENCES)), "group_safety")


def _write_scores(out: Path, items: pl.DataFrame, metric: str, values: np.ndarray, statistic: str) -> None:
    items.with_columns(metric=pl.lit(metric), value=pl.Series(values)).write_parquet(out / "scores.parquet")
    about = {"statistic": statistic, "metric": "safety" if statistic == "group_safety" else metric, "metrics": {}}
    rest = {"higher_is_better": True, "chance": {}, "majority": {}, "same_answer": None, "items": items.height}
    (out / "summary.json").write_text(json.dumps({**about, **rest, "notes": []}))


def _peak() -> float:
    """The most memory that this process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*given[:1], *map(int, given[1:2]), *map(float, given[2:3]))
