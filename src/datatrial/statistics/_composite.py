"""One number for several benchmarks: the mean over them, with its interval."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from datatrial.effects import ArmScore, Contrast
from datatrial.statistics._evidence import Evidence
from datatrial.statistics._paired import Pair
from datatrial.statistics.endpoints import CAPABILITY

Key = TypeVar("Key", str, Pair)


def capability_scores(benchmarks: Mapping[str, Mapping[str, Evidence]], baseline: str) -> list[ArmScore]:
    """Of each arm the mean over several benchmarks, each counting alike; they are given by title and arm.

    An arm that lacks one of them, or seeds of one, is left out: its mean would be one over other benchmarks.
    """
    metric, whole = f"mean of {', '.join(benchmarks)}", _whole([*benchmarks.values()])
    return [_score(arm, evidence, metric, arm == baseline) for arm, evidence in whole.items()]


def capability_contrasts(benchmarks: Sequence[Mapping[Pair, Evidence]], scores: Sequence[ArmScore]) -> list[Contrast]:
    """The same of each pair's differences, not yet judged."""
    of_arm = {score.arm: score.estimate for score in scores if score.endpoint == CAPABILITY}
    whole = {pair: found for pair, found in _whole(benchmarks).items() if set(pair) <= of_arm.keys()}
    return [_contrast(*pair, evidence, of_arm) for pair, evidence in whole.items()]


def _whole(benchmarks: Sequence[Mapping[Key, Evidence]]) -> dict[Key, Evidence]:
    """The mean over benchmarks of what has evidence from the same seeds on each of them; nothing with less than two."""
    if len(benchmarks) < 2:
        return {}
    of_all = [key for key in benchmarks[0] if all(key in benchmark for benchmark in benchmarks)]
    parts = {key: [benchmark[key] for benchmark in benchmarks] for key in of_all}
    whole = {key: _mean(some) for key, some in parts.items() if len({part.numbered for part in some}) == 1}
    return {key: evidence for key, evidence in whole.items() if np.isfinite(evidence.estimate).all()}


def _mean(parts: Sequence[Evidence]) -> Evidence:
    """Items of different benchmarks are independent; what a seed does to them need not be."""
    k, of_seeds = len(parts), np.mean([part.of_seeds for part in parts], axis=0)
    seeds = parts[0].seeds
    variances = np.array([part.item_variance for part in parts]) / k**2
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = variances.sum(axis=0) ** 2 / (variances**2 / [part.item_freedom for part in parts]).sum(axis=0)
    return Evidence(
        estimate=of_seeds.mean(axis=0),
        item_variance=variances.sum(axis=0),
        seed_variance=of_seeds.var(axis=0, ddof=1) / seeds if seeds > 1 else np.zeros(1),
        item_freedom=np.nan_to_num(freedom, nan=1.0),
        seeds=seeds,
        of_seeds=of_seeds,
        of_items=np.zeros((1, 0)),
        rest=np.zeros((1, 1)),
        least=np.sum([part.least for part in parts], axis=0) / k**2,
        items=sum(part.items for part in parts),
    )


def _contrast(arm: str, against: str, evidence: Evidence, scores: Mapping[str, float]) -> Contrast:
    low, high = np.clip(evidence.interval(), -1.0, 1.0)
    return Contrast(
        arm=arm,
        against=against,
        endpoint=CAPABILITY,
        estimate=float(evidence.estimate[0]),
        low=float(low[0]),
        high=float(high[0]),
        p=float(evidence.p()[0]),
        items=evidence.items,
        seeds=evidence.seeds,
        arm_score=scores[arm],
        against_score=scores[against],
        **evidence.numbers(0),
    )


def _score(arm: str, evidence: Evidence, metric: str, baseline: bool) -> ArmScore:
    low, high = np.clip(evidence.interval(), 0.0, 1.0)
    return ArmScore(
        arm=arm,
        benchmark=CAPABILITY,
        endpoint=CAPABILITY,
        metric=metric,
        group="",
        main=True,
        baseline=baseline,
        estimate=float(evidence.estimate[0]),
        low=float(low[0]),
        high=float(high[0]),
        items=evidence.items,
        seeds=evidence.seeds,
        spread=float(evidence.of_seeds.std(ddof=1)) if evidence.seeds > 1 else None,
        chance=None,
        majority=None,
        near_chance=False,
        same_answer=None,
        higher_is_better=True,
    )
