"""Per-item results of one benchmark, for all runs side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from datatrial.errors import DataError
from datatrial.records import EvaluationRun, read_json
from datatrial.statistics._bootstrap import Array, GroupSafety, Statistic, mean_of


@dataclass(frozen=True)
class RunScores:
    """What one evaluation wrote."""

    run: EvaluationRun
    rows: pl.DataFrame
    summary: Mapping[str, Any]

    @classmethod
    def read(cls, run: EvaluationRun, result: Path) -> "RunScores":
        """Reads `scores.parquet` and `summary.json`.

        Raises: DataError when the result holds no scores.
        """
        rows = pl.read_parquet(result / "scores.parquet")
        if rows.is_empty():
            raise DataError(f"{run.benchmark}: no item was scored for arm {run.arm}; look at the benchmark's limit")
        return cls(run, rows, read_json(result / "summary.json"))


@dataclass(frozen=True)
class Sheet:
    """One metric of one benchmark: a row of scores for each run, a column for each item that any run has."""

    benchmark: str
    metric: str
    main: bool
    runs: tuple[EvaluationRun, ...]
    summaries: tuple[Mapping[str, Any], ...]
    values: Array  # (runs × items), NaN where a run has no score
    strata: npt.NDArray[np.int64]  # (items); items are resampled within them
    statistic: Statistic
    groups: tuple[str, ...]  # one for each of the statistic's endpoints; "" is the benchmark's own

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(f"{self.benchmark}/{group}" if group else self.benchmark for group in self.groups)

    @property
    def higher_is_better(self) -> bool:
        return bool(self.summaries[0].get("higher_is_better", True))


def sheets_of(scores: Sequence[RunScores]) -> list[Sheet]:
    """One sheet for each metric of a benchmark; a single one, of all the groups, for group safety."""
    if scores[0].summary["statistic"] == "group_safety":
        return [_safety_sheet(scores)]
    metrics = scores[0].rows["metric"].unique(maintain_order=True)
    return [_mean_sheet(scores, metric) for metric in metrics]


def _mean_sheet(scores: Sequence[RunScores], metric: str) -> Sheet:
    rows = [s.rows.filter(pl.col("metric") == metric) for s in scores]
    items = _items(rows)
    _, strata = np.unique(items["stratum"].fill_null("").to_numpy(), return_inverse=True)
    main = metric == scores[0].summary["metric"]
    return _sheet(scores, metric, main, _values(rows, items), strata, mean_of, ("",))


def _safety_sheet(scores: Sequence[RunScores]) -> Sheet:
    rows = [s.rows for s in scores]
    items = _items(rows)
    groups = sorted(set(items["groups"].explode().drop_nulls()))
    harmful = items["harmful"].to_numpy()
    members = np.array([[g in (of or ()) for of in items["groups"].to_list()] for g in groups], dtype=bool)
    statistic = GroupSafety(harmful, items["toxicity"].to_numpy(), members.reshape(len(groups), len(harmful)))
    # Harmful and benign sentences were collected apart, so each keeps its number in every resample.
    strata = harmful.astype(np.int64)
    return _sheet(scores, scores[0].summary["metric"], True, _values(rows, items), strata, statistic, (*groups, ""))


def _sheet(
    scores: Sequence[RunScores],
    metric: str,
    main: bool,
    values: Array,
    strata: npt.NDArray[np.int64],
    statistic: Statistic,
    groups: tuple[str, ...],
) -> Sheet:
    runs = tuple(s.run for s in scores)
    summaries = tuple(s.summary for s in scores)
    return Sheet(runs[0].benchmark, metric, main, runs, summaries, values, strata, statistic, groups)


def _items(rows: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(rows, how="diagonal").drop("value").unique("item", keep="first", maintain_order=True)


def _values(rows: Sequence[pl.DataFrame], items: pl.DataFrame) -> Array:
    place = items.select("item").with_row_index("place")
    values = np.full((len(rows), items.height), np.nan)
    for run, of_run in enumerate(rows):
        scored = of_run.select("item", "value").join(place, on="item")
        values[run, scored["place"].to_numpy()] = scored["value"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return values
