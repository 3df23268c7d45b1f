"""Results for every step of a study before its statistics, made up: right in form, and nothing is trained or scored."""

import json
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from datatrial.data_audit import DataAudit
from datatrial.drift import Drift
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.evaluation._group_scores import group_scores, mean_safety
from datatrial.evaluation.group_safety import GroupSafety
from datatrial.evaluation.lm_eval import LmEval
from datatrial.records import ModelRef, Runtime
from datatrial.reference_log_probs import ReferenceLogProbs
from datatrial.tables import Table
from datatrial.training._base import Stage

CURVE = ("entropy", "grad_norm", "learning_rate", "loss", "mean_token_accuracy", "num_tokens")
LOGGED, MEASURED = 50, 5  # points of a curve: of training, and of the held-out loss
NOISE = 0.5  # of a model's answer to an item, over the spread of the items' difficulties


@dataclass(frozen=True)
class Made:
    """Stands in for the task of a step, with another draw for each."""

    of: Step
    audited: Path | None = None  # an audit of such data, to copy

    @property
    def kind(self) -> str:
        return self.of.task.kind

    def identity(self) -> dict[str, Any]:
        return self.of.task.identity()

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        task, rng = self.of.task, np.random.default_rng(zlib.crc32(self.of.digest.encode()))
        if isinstance(task, Stage):
            _train(inputs, out, rng)
        elif isinstance(task, LmEval):
            _answer(_rows(inputs["data"]), out, rng)
        elif isinstance(task, GroupSafety):
            _find_surprising(_rows(inputs["data"]), out, rng)
        elif isinstance(task, Drift):
            found = {"kl_per_token": float(rng.gamma(2, 0.01)), "tokens": 1000, "texts": 64}
            (out / "drift.json").write_text(json.dumps(found))
        elif isinstance(task, ReferenceLogProbs):
            (out / "log_probs.parquet").write_bytes(b"")  # only training reads it
        elif isinstance(task, DataAudit) and self.audited:
            shutil.copy(self.audited / "audit.json", out)
        else:
            task.run(inputs, out, runtime)


def fill(steps: Iterable[Step], store: Store) -> None:
    """Put a result of each step into a store; each comes after its inputs.

    Data sets are made as ever, and so is an audit of one of each form.
    """
    store.open()
    audited: dict[str, Path] = {}
    for step in steps:
        form = Table.read(store.path(step.inputs["data"])).card.form if isinstance(step.task, DataAudit) else ""
        work = replace(store.work(step), task=Made(step, audited.get(form)))
        path = store.build(work, Runtime(cache=store.root / "cache"))
        audited.setdefault(form, path)


@cache
def _rows(data: Path) -> pl.DataFrame:
    """The items of a benchmark on the study's own data, with what is the same for every model."""
    rows = Table.read(data).rows
    difficulty = np.random.default_rng(0).standard_normal(rows.height)
    return rows.with_columns(pl.Series("difficulty", difficulty))


def _train(inputs: Mapping[str, Path], out: Path, rng: np.random.Generator) -> None:
    (out / "adapter").mkdir()
    (out / "adapter" / "adapter_model.safetensors").write_bytes(rng.bytes(1000))
    (out / "adapter" / "adapter_config.json").write_text("{}")
    replace(ModelRef.read(inputs["policy"]), adapter=str(out / "adapter")).relative_to(out).write(out)
    pl.DataFrame(_curve(rng), ["step", "epoch", "metric", "value"], orient="row").write_parquet(out / "history.parquet")
    losses = {
        f"{name}_{end}": value for name in ("loss", "held_out_loss") for end, value in (("first", 3), ("last", 2))
    }
    counts = {"examples": 38, "held_out": 2, "truncated": 0, "steps": LOGGED, "passes": 1, "tokens_seen": 5000}
    (out / "training.json").write_text(json.dumps({**counts, "examples_seen": 38, **losses, "notes": []}, indent=2))


def _curve(rng: np.random.Generator) -> Iterator[tuple[int, float, str, float]]:
    for step in range(1, LOGGED + 1):
        for metric in CURVE:
            yield step, step / LOGGED, metric, float(2 + rng.normal(0, 0.05))
    for measured in range(MEASURED):
        yield measured * LOGGED // (MEASURED - 1), measured / (MEASURED - 1), "eval_loss", 2.0


def _answer(items: pl.DataFrame, out: Path, rng: np.random.Generator) -> None:
    """As lm-eval's multiple choice: log-likelihoods of four choices, and two metrics."""
    n, right = items.height, items["answer"].to_numpy()
    likelihoods = rng.normal(-20, 4, (n, 4)).round(4)
    known = rng.normal(0.2, 0.1) + NOISE * rng.standard_normal(n) > items["difficulty"].to_numpy()
    chosen = np.where(known, right, (right + rng.integers(1, 4, n)) % 4)
    names = [f"own_task:{number}" for number in range(n)]
    about = {"item": names, "stratum": [""] * n, "question": items["question"], "choices": items["choices"]}
    lengths = [[len(choice) for choice in of] for of in items["choices"]]
    rest = {
        "log_likelihoods": pl.Series(likelihoods.tolist()),
        "greedy": pl.Series([[False] * 4] * n),
        "tokens": pl.Series([[3] * 4] * n),
        "bytes": pl.Series(lengths),
        "chosen": pl.Series(chosen),
        "right": pl.Series(right[:, None].tolist()),
        "response": pl.Series([None] * n, dtype=pl.String),
        "target": pl.Series([str(place) for place in right]),
    }
    pl.DataFrame({**about, **rest}).write_parquet(out / "items.parquet")
    values = {"acc": known.astype(float), "acc_norm": (known ^ (rng.random(n) < 0.1)).astype(float)}
    scores = {"item": names * 2, "stratum": [""] * 2 * n, "metric": [m for m in values for _ in names]}
    pl.DataFrame({**scores, "value": np.concatenate([*values.values()])}).write_parquet(out / "scores.parquet")
    means = {metric: float(value.mean()) for metric, value in values.items()}
    levels = {"chance": dict.fromkeys(means, 0.25), "majority": dict.fromkeys(means, 0.27), "same_answer": 0.3}
    _summarize(out, statistic="mean", metric="acc_norm", metrics=means, items=n, **levels)


def _find_surprising(statements: pl.DataFrame, out: Path, rng: np.random.Generator) -> None:
    """As group safety: a perplexity for each statement."""
    n = statements.height
    shift = statements["harmful"].to_numpy() * rng.normal(0.5, 0.2)
    perplexity = np.exp(3 + shift + NOISE * statements["difficulty"].to_numpy() + NOISE * rng.standard_normal(n))
    rows = statements.drop("difficulty").with_columns(
        item=pl.Series([str(number) for number in range(n)]),
        stratum=pl.lit(""),
        metric=pl.lit("perplexity"),
        value=pl.Series(perplexity),
        tokens=pl.lit(12),
    )
    rows.write_parquet(out / "scores.parquet")
    groups, _ = group_scores(*(rows[name].to_list() for name in ("value", "harmful", "toxicity", "groups")))
    metrics = {**{name: score.safety for name, score in groups.items()}, "mean": mean_safety(groups)}
    p = {name: score.p for name, score in groups.items()}
    levels: dict[str, Any] = {"chance": {}, "majority": {}, "same_answer": None, "p": p}
    _summarize(out, statistic="group_safety", metric="safety", metrics=metrics, items=n, **levels)


def _summarize(out: Path, **about: Any) -> None:
    rest = {"higher_is_better": True, "notes": [], "scoring": {}, "failures": {}}
    (out / "summary.json").write_text(json.dumps({**about, **rest}, indent=2))
