"""Scores of benchmarks whose metric is no mean over items: a number for each run, and nothing to resample."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from datatrial.effects import ArmScore
from datatrial.statistics._sheet import RunScores


def whole_scores(scores: Sequence[RunScores], baseline: str) -> list[ArmScore]:
    """Every arm's mean over its seeds, with NaN for the interval; none when the main metric is a mean over items.

    A number that is not defined is left out, as if its run were not there.
    """
    if all(run.by_item for run in scores):
        return []
    found = [run for run in scores if math.isfinite(run.number)]
    arms = dict.fromkeys(run.run.arm for run in found)
    return [_score([run for run in found if run.run.arm == arm], baseline) for arm in arms]


def _score(runs: Sequence[RunScores], baseline: str) -> ArmScore:
    numbers = [run.number for run in runs]
    first, summary = runs[0].run, runs[0].summary
    same = [share for run in runs if (share := run.summary.get("same_answer")) is not None]
    return ArmScore(
        arm=first.arm,
        benchmark=first.benchmark,
        endpoint=first.benchmark,
        metric=runs[0].metric,
        group="",
        main=True,
        baseline=first.arm == baseline,
        estimate=fmean(numbers),
        low=math.nan,
        high=math.nan,
        items=round(fmean(run.summary.get("items") or 0 for run in runs)),
        seeds=len(runs),
        spread=stdev(numbers) if len(runs) > 1 else None,
        chance=(summary.get("chance") or {}).get(runs[0].metric),
        majority=(summary.get("majority") or {}).get(runs[0].metric),
        near_chance=False,  # without an interval there is no saying
        same_answer=fmean(same) if same else None,
        higher_is_better=bool(summary.get("higher_is_better", True)),
    )
