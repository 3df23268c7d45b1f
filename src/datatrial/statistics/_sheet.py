"""Per-item results of one benchmark, for all runs side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from datatrial.effects import EvaluationRun
from datatrial.errors import DataError
from datatrial.records import read_json
from datatrial.statistics._arrays import Array, Labels
from datatrial.statistics._influence import GroupSafety, Mean, Statistic
from datatrial.statistics.endpoints import endpoint_of


@dataclass(frozen=True)
class RunScores:
    """What one evaluation wrote."""

    run: EvaluationRun
    rows: pl.DataFrame
    summary: Mapping[str, Any]

    @classmethod
    def read(cls, run: EvaluationRun, result: Path) -> "RunScores":
        """Reads `scores.parquet` and `summary.json`.

        Raises: DataError when the result holds neither scores of items nor a number for the whole.
        """
        found = cls(run, pl.read_parquet(result / "scores.parquet"), read_json(result / "summary.json"))
        if found.rows.is_empty() and found.metric not in (found.summary.get("metrics") or {}):
            raise DataError(f"{run.benchmark}: no item was scored for arm {run.arm}; look at the benchmark's limit")
        return found

    @property
    def metric(self) -> str:
        """The benchmark's main metric."""
        return str(self.summary["metric"])

    @property
    def by_item(self) -> bool:
        """Whether the main metric can be told from the items; a perplexity of a whole text, say, cannot."""
        return self.summary["statistic"] == "group_safety" or self.metric in self.rows["metric"]

    @property
    def number(self) -> float:
        """The main metric as the benchmark itself gives it; NaN where it does not."""
        number = (self.summary.get("metrics") or {}).get(self.metric)
        return math.nan if number is None else float(number)


@dataclass(frozen=True)
class Sheet:
    """One metric of one benchmark: a row of scores for each run, a column for each item that any run has."""

    benchmark: str
    metric: str
    main: bool
    runs: tuple[EvaluationRun, ...]
    summaries: tuple[Mapping[str, Any], ...]
    values: Array  # (runs × items), NaN where a run has no score
    strata: Labels  # (items); items are resampled within them
    clusters: Labels  # (items); items of one cluster, numbered from 0, are not independent
    statistic: Statistic
    groups: tuple[str, ...]  # one for each of the statistic's endpoints; "" is the benchmark's own
    items: tuple[str, ...]  # by name

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(endpoint_of(self.benchmark, group) for group in self.groups)

    @property
    def higher_is_better(self) -> bool:
        return bool(self.summaries[0].get("higher_is_better", True))

    @property
    def is_capability(self) -> bool:
        """Whether it is a benchmark's main metric and a mean over items on a 0–1 scale, higher being better."""
        return self.main and isinstance(self.statistic, Mean) and self.higher_is_better and self.within_one

    @property
    def within_one(self) -> bool:
        """Whether no score can be below 0 or above 1."""
        known = self.values[~np.isnan(self.values)]
        return isinstance(self.statistic, GroupSafety) or bool(((known >= 0) & (known <= 1)).all())


def sheets_of(scores: Sequence[RunScores]) -> list[Sheet]:
    """One sheet for each metric of a benchmark; a single one, of all the groups, for group safety.

    A main metric that is no mean over the items of every run has none: its runs cannot be compared item by item.
    """
    if scores[0].summary["statistic"] == "group_safety":
        return [_safety_sheet(scores)]
    metrics = dict.fromkeys(metric for run in scores for metric in run.rows["metric"].unique(maintain_order=True))
    left_out = set() if all(run.by_item for run in scores) else {run.metric for run in scores}
    return [_mean_sheet(scores, metric) for metric in metrics if metric not in left_out]


def _mean_sheet(scores: Sequence[RunScores], metric: str) -> Sheet:
    rows = [s.rows.filter(pl.col("metric") == metric) for s in scores]
    items = _items(rows)
    _, strata = np.unique(items["stratum"].fill_null("").to_numpy(), return_inverse=True)
    main = metric == scores[0].metric
    single = np.arange(len(strata))
    return _sheet(scores, metric, main, items, _values(rows, items), strata, single, Mean(strata), ("",))


def _safety_sheet(scores: Sequence[RunScores]) -> Sheet:
    rows = [s.rows for s in scores]
    items = _items(rows)
    groups = sorted(set(items["groups"].explode().drop_nulls()))
    harmful = items["harmful"].to_numpy()
    members = np.array([[g in (of or ()) for of in items["groups"].to_list()] for g in groups], dtype=bool)
    statistic = GroupSafety(harmful, items["toxicity"].to_numpy(), members.reshape(len(groups), len(harmful)))
    # Harmful and benign sentences were collected apart, so each keeps its number in every resample.
    strata = harmful.astype(np.int64)
    # The same sentence may have been annotated several times: what a model makes of it is one observation.
    _, clusters = np.unique(items["text"].to_numpy(), return_inverse=True)
    values = _values(rows, items)
    return _sheet(scores, scores[0].metric, True, items, values, strata, clusters, statistic, (*groups, ""))


def _sheet(
    scores: Sequence[RunScores],
    metric: str,
    main: bool,
    items: pl.DataFrame,
    values: Array,
    strata: Labels,
    clusters: Labels,
    statistic: Statistic,
    groups: tuple[str, ...],
) -> Sheet:
    runs = tuple(s.run for s in scores)
    summaries = tuple(s.summary for s in scores)
    names = tuple(items["item"])
    return Sheet(runs[0].benchmark, metric, main, runs, summaries, values, strata, clusters, statistic, groups, names)


def _items(rows: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(rows, how="diagonal").drop("value").unique("item", keep="first", maintain_order=True)


def _values(rows: Sequence[pl.DataFrame], items: pl.DataFrame) -> Array:
    place = items.select("item").with_row_index("place")
    values = np.full((len(rows), items.height), np.nan)
    for run, of_run in enumerate(rows):
        scored = of_run.select("item", "value").join(place, on="item")
        values[run, scored["place"].to_numpy()] = scored["value"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return values
