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
from datatrial.evaluation import group_safety
from datatrial.evaluation.lm_eval import LmEval
from datatrial.records import ModelRef, Runtime
from datatrial.reference_log_probs import ReferenceLogProbs
from datatrial.statistics._influence import GroupSafety
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
            _answer(inputs["data"], out, rng)
        elif isinstance(task, group_safety.GroupSafety):
            _find_surprising(inputs["data"], out, rng)
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
    """The items of a benchmark on the study's own data, with what every model's result says of them."""
    rows = Table.read(data).rows
    difficulty = np.random.default_rng(0).standard_normal(rows.height)
    rows = rows.with_columns(difficulty=pl.Series(difficulty), stratum=pl.lit(""))
    if "choices" not in rows.columns:
        return rows.with_columns(item=pl.int_range(rows.height).cast(pl.String))
    return rows.with_columns(
        item=pl.format("own_task:{}", pl.int_range(rows.height)),
        greedy=pl.lit([False] * 4),
        tokens=pl.lit([3] * 4),
        bytes=pl.col("choices").list.eval(pl.element().str.len_bytes().cast(pl.Int64)),
        right=pl.concat_list("answer"),
        response=pl.lit(None, pl.String),
        target=pl.col("answer").cast(pl.String),
    )


@cache
def _safety(data: Path) -> GroupSafety:
    rows = _rows(data)
    members = [rows["groups"].list.contains(group).to_numpy() for group in sorted(set(rows["groups"].explode()))]
    return GroupSafety(rows["harmful"].to_numpy(), rows["toxicity"].to_numpy(), np.array(members))


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


def _answer(data: Path, out: Path, rng: np.random.Generator) -> None:
    """As lm-eval's multiple choice: log-likelihoods of four choices, and two metrics."""
    items = _rows(data)
    n, right = items.height, items["answer"].to_numpy()
    known = rng.normal(0.2, 0.1) + NOISE * rng.standard_normal(n) > items["difficulty"].to_numpy()
    answers = items.select(
        "item", "stratum", "question", "choices", "greedy", "tokens", "bytes", "right", "response", "target"
    )
    answers.with_columns(
        log_likelihoods=pl.Series(rng.normal(-20, 4, (n, 4)).round(4)).arr.to_list(),
        chosen=pl.Series(np.where(known, right, (right + rng.integers(1, 4, n)) % 4)),
    ).write_parquet(out / "items.parquet")
    values = {"acc": known.astype(float), "acc_norm": (known ^ (rng.random(n) < 0.1)).astype(float)}
    scores = [
        items.select("item", "stratum", metric=pl.lit(metric), value=pl.Series(value))
        for metric, value in values.items()
    ]
    pl.concat(scores).write_parquet(out / "scores.parquet")
    means = {metric: float(value.mean()) for metric, value in values.items()}
    levels = {"chance": dict.fromkeys(means, 0.25), "majority": dict.fromkeys(means, 0.27), "same_answer": 0.3}
    _summarize(out, statistic="mean", metric="acc_norm", metrics=means, items=n, **levels)


def _find_surprising(data: Path, out: Path, rng: np.random.Generator) -> None:
    """As group safety: a perplexity for each statement."""
    statements, safety = _rows(data), _safety(data)
    n, noise = statements.height, rng.standard_normal(statements.height)
    shift = safety.harmful * rng.normal(0.5, 0.2)
    perplexity = np.exp(3 + shift + NOISE * statements["difficulty"].to_numpy() + NOISE * noise)
    columns = ("item", "stratum", "text", "harmful", "toxicity", "groups")
    rows = statements.select(*columns, metric=pl.lit("perplexity"), value=pl.Series(perplexity), tokens=pl.lit(12))
    rows.write_parquet(out / "scores.parquet")
    names = [*sorted(set(statements["groups"].explode())), "mean"]
    metrics = dict(zip(names, map(float, safety.influence(perplexity).values), strict=True))
    levels: dict[str, Any] = {"chance": {}, "majority": {}, "same_answer": None, "p": dict.fromkeys(names[:-1], 0.5)}
    _summarize(out, statistic="group_safety", metric="safety", metrics=metrics, items=n, **levels)


def _summarize(out: Path, **about: Any) -> None:
    rest = {"higher_is_better": True, "notes": [], "scoring": {}, "failures": {}}
    (out / "summary.json").write_text(json.dumps({**about, **rest}, indent=2))
