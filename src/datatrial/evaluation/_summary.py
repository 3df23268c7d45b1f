"""What a benchmark came to: lm-eval's own numbers, and which of them are means over items."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from datatrial.errors import DataError
from datatrial.evaluation import _answers
from datatrial.evaluation._answers import Item, metric_name
from datatrial.evaluation._outcome import Outcome
from datatrial.evaluation._tasks import Tasks

_SCORES: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "item": pl.String,
    "stratum": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
}
_ITEMS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "item": pl.String,
    "stratum": pl.String,
    "question": pl.String,
    "choices": pl.List(pl.String),
    "log_likelihoods": pl.List(pl.Float64),
    "greedy": pl.List(pl.Boolean),  # whether the model would have written the choice itself
    "tokens": pl.List(pl.Int64),  # of each choice with the space before it
    "bytes": pl.List(pl.Int64),  # of each choice, in UTF-8
    "chosen": pl.Int64,
    "right": pl.List(pl.Int64),
    "response": pl.String,
    "target": pl.String,
}


@dataclass(frozen=True)
class Endpoint:
    """Which metric of a benchmark is compared between arms: the one wished for, or else the first of the preferred.

    Without either it is the benchmark's first metric, and rather one that has scores to compare item by item.
    """

    wished: str | None
    preferred: tuple[str, ...]

    def among(self, metrics: Sequence[str], benchmark: str) -> str:
        """Raises: DataError when the metric wished for is not there."""
        if not metrics:
            raise DataError(f"{benchmark}: lm-eval gives it no metric")
        if self.wished is None:
            return next((m for m in self.preferred if m in metrics), metrics[0])
        for metric in metrics:
            if self.wished in (metric, metric.partition(",")[0]):
                return metric
        raise DataError(f"{benchmark}: has no metric {self.wished!r}; it has {', '.join(metrics)}")


def write(
    out: Path, tasks: Tasks, items: Mapping[str, Mapping[int, Item]], outcome: Outcome, endpoint: Endpoint
) -> None:
    """Writes `scores.parquet`, `items.parquet` and `summary.json`."""
    by_task = _metrics_of_each(outcome)
    metrics, means, notes = _whole(tasks, by_task, outcome)
    metric = endpoint.among([*means, *(m for m in metrics if m not in means)], tasks.name)
    rows = _answers.item_rows(items, outcome, metric)
    scored = _answers.scored(items, outcome)
    summary = {
        "statistic": "mean",
        "metric": metric,
        "metrics": metrics,
        "higher_is_better": all(
            outcome.higher_is_better[t].get(metric.partition(",")[0], True) for t in outcome.samples
        ),
        "chance": _answers.chance(scored),
        "majority": _answers.majority(scored),
        "same_answer": _answers.same_answer(rows),
        "items": len(scored),
        "notes": [*notes, *outcome.notes],
        "tasks": by_task,
        "num_fewshot": dict(outcome.fewshot),
        "scoring": dict(outcome.scoring),
        "failures": dict(outcome.failures),
    }
    pl.DataFrame(_answers.score_rows(outcome, means), schema=_SCORES).write_parquet(out / "scores.parquet")
    pl.DataFrame(rows, schema=_ITEMS).write_parquet(out / "items.parquet")
    (out / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False))


def _metrics_of_each(outcome: Outcome) -> dict[str, dict[str, float]]:
    return {
        name: {
            metric_name(key): float(value)
            for key, value in values.items()
            if "," in key and "_stderr," not in key and isinstance(value, int | float)
        }
        for name, values in outcome.results.items()
    }


def _whole(
    tasks: Tasks, by_task: Mapping[str, Mapping[str, float]], outcome: Outcome
) -> tuple[dict[str, float], list[str], list[str]]:
    """The metrics of the benchmark as a whole, those of them that are means over all its items, and notes."""
    notes = []
    over_items = _means_over_items(by_task, outcome)
    metrics = dict(by_task.get(tasks.name, {})) if len(tasks.members) == 1 else {}
    if not metrics:
        metrics = over_items
        notes.append(f"lm-eval gives {tasks.name} no number of its own: this is the mean over the items of its tasks")
    means = [m for m, value in metrics.items() if m in over_items and math.isclose(over_items[m], value, abs_tol=1e-12)]
    others = [metric for metric in metrics if metric not in means]
    notes += [f"{metric} is no mean over items; it has no scores to compare item by item" for metric in others]
    return metrics, means, notes


def _means_over_items(by_task: Mapping[str, Mapping[str, float]], outcome: Outcome) -> dict[str, float]:
    # A metric such as F1 has numbers for items too, and is still no mean of them: lm-eval's value tells.
    means = _answers.item_means(outcome)
    shared = [
        metric
        for metric in next(iter(means.values()))
        if all(math.isclose(of.get(metric, math.nan), by_task[t].get(metric, math.nan)) for t, of in means.items())
    ]
    counts = {task: len({s.number for s in samples}) for task, samples in outcome.samples.items()}
    return {m: math.fsum(means[t][m] * n for t, n in counts.items()) / sum(counts.values()) for m in shared}
