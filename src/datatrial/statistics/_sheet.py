"""Per-item results of one benchmark, for all runs side by side."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from datatrial.effects import EvaluationRun
from datatrial.errors import DataError
from datatrial.records import read_json
from datatrial.statistics._arrays import Array, Labels
from datatrial.statistics._influence import GroupSafety, Mean, Statistic
from datatrial.statistics.endpoints import endpoint_of


@dataclass(frozen=True)
class RunScores:
    """What one evaluation says of itself, and which metrics it has scores of items for."""

    run: EvaluationRun
    metrics: tuple[str, ...]
    summary: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """The benchmark's main metric."""
        return str(self.summary["metric"])

    @property
    def by_item(self) -> bool:
        """Whether the main metric can be told from the items; a perplexity of a whole text, say, cannot."""
        return self.summary["statistic"] == "group_safety" or self.metric in self.metrics

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


def read_sheets(runs: Iterable[tuple[EvaluationRun, Path]]) -> tuple[list[RunScores], list[Sheet]]:
    """What the evaluations of one benchmark wrote, and one sheet for each of its metrics.

    Group safety has a single sheet, of all the groups. A main metric that is no mean over the items of every run has
    none: its runs cannot be compared item by item. Results are read one after another, and of the texts in them only
    those of items that are new are kept: all runs together may have tens of millions of scores.

    Raises: DataError when a result holds neither scores of items nor a number for the whole.
    """
    scores: list[RunScores] = []
    gathered: dict[str, Gathered] = {}
    for number, (run, result) in enumerate(runs):
        rows, summary = pl.read_parquet(result / "scores.parquet"), read_json(result / "summary.json")
        found = RunScores(run, tuple(rows["metric"].unique(maintain_order=True)), summary)
        if rows.is_empty() and found.metric not in (summary.get("metrics") or {}):
            raise DataError(f"{run.benchmark}: no item was scored for arm {run.arm}; look at the benchmark's limit")
        scores.append(found)
        if summary["statistic"] == "group_safety":
            gathered.setdefault(found.metric, Gathered()).add(number, rows)
        else:
            for metric in found.metrics:
                gathered.setdefault(metric, Gathered()).add(number, rows.filter(pl.col("metric") == metric))
    if scores[0].summary["statistic"] == "group_safety":
        return scores, [_safety_sheet(scores, gathered[scores[0].metric])]
    left_out = set() if all(run.by_item for run in scores) else {run.metric for run in scores}
    return scores, [_mean_sheet(scores, metric, of) for metric, of in gathered.items() if metric not in left_out]


class Gathered:
    """The scores of one metric, run by run, and what is said of their items: rows have `item`, `value`, and more."""

    def __init__(self) -> None:
        self.items = pl.DataFrame()  # each as the first run that has it describes it, in the order of their coming
        self.runs: dict[int, tuple[NDArray[np.uint32], Array]] = {}  # places among the items, and values

    def add(self, run: int, rows: pl.DataFrame) -> None:
        if self.items.is_empty() or not rows["item"].equals(self.items["item"]):
            first = self.items.is_empty()
            new = rows if first else rows.join(self.items, on="item", how="anti", maintain_order="left")
            new = new.drop("value").unique("item", keep="first", maintain_order=True)
            self.items = new if first else pl.concat([self.items, new], how="diagonal_relaxed")
        numbered = self.items.select("item").with_row_index("place")
        places = rows.select("item").join(numbered, on="item", how="left", maintain_order="left")["place"].to_numpy()
        self.runs[run] = places, rows["value"].cast(pl.Float64).fill_null(math.nan).to_numpy()

    def values(self, runs: int) -> Array:
        """Runs × items, NaN where a run has no score."""
        values = np.full((runs, self.items.height), np.nan)
        for run, (places, found) in self.runs.items():
            values[run, places] = found
        return values


def _mean_sheet(scores: Sequence[RunScores], metric: str, gathered: Gathered) -> Sheet:
    _, strata = np.unique(gathered.items["stratum"].fill_null("").to_numpy(), return_inverse=True)
    main = metric == scores[0].metric
    single = np.arange(len(strata))
    return _sheet(scores, metric, main, gathered, strata, single, Mean(strata), ("",))


def _safety_sheet(scores: Sequence[RunScores], gathered: Gathered) -> Sheet:
    items = gathered.items
    groups = sorted(set(items["groups"].explode().drop_nulls()))
    harmful = items["harmful"].to_numpy()
    members = np.array([[g in (of or ()) for of in items["groups"].to_list()] for g in groups], dtype=bool)
    statistic = GroupSafety(harmful, items["toxicity"].to_numpy(), members.reshape(len(groups), len(harmful)))
    # Harmful and benign sentences were collected apart, so each keeps its number in every resample.
    strata = harmful.astype(np.int64)
    # The same sentence may have been annotated several times: what a model makes of it is one observation.
    _, clusters = np.unique(items["text"].to_numpy(), return_inverse=True)
    return _sheet(scores, scores[0].metric, True, gathered, strata, clusters, statistic, (*groups, ""))


def _sheet(
    scores: Sequence[RunScores],
    metric: str,
    main: bool,
    gathered: Gathered,
    strata: Labels,
    clusters: Labels,
    statistic: Statistic,
    groups: tuple[str, ...],
) -> Sheet:
    runs = tuple(s.run for s in scores)
    summaries = tuple(s.summary for s in scores)
    values, names = gathered.values(len(runs)), tuple(gathered.items["item"])
    return Sheet(runs[0].benchmark, metric, main, runs, summaries, values, strata, clusters, statistic, groups, names)
