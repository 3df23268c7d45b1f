"""Influences against DeLong's double sum, statsmodels' and the textbook's variances."""

import numpy as np
import pytest

from datatrial.statistics._evidence import Evidence
from datatrial.statistics._influence import GroupSafety, Mean, area


def kernel(one: float, other: float) -> float:
    return float(one > other) + 0.5 * (one == other)


def delong(scores: list[np.ndarray], harmful: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas and their covariance, as DeLong et al. (1988) write them: equations 1, 4 and 5, in loops."""
    ours, theirs = np.flatnonzero(harmful), np.flatnonzero(~harmful)
    v10 = np.array([[np.mean([kernel(s[i], s[j]) for j in theirs]) for i in ours] for s in scores])
    v01 = np.array([[np.mean([kernel(s[i], s[j]) for i in ours]) for j in theirs] for s in scores])
    return v10.mean(axis=1), np.cov(v10) / len(ours) + np.cov(v01) / len(theirs)


def test_areas_and_their_covariance_are_delongs() -> None:
    rng = np.random.default_rng(0)
    harmful = rng.random(60) < 0.4
    scores = [rng.integers(0, 12, 60) + 3.0 * harmful, rng.integers(0, 12, 60) + 1.0 * harmful]
    areas, covariance = delong(scores, harmful)
    found = [area(s, harmful, np.ones(60, dtype=bool)) for s in scores]
    influences = np.array([influence for _, influence in found])
    assert [value for value, _ in found] == pytest.approx(areas)
    assert influences @ influences.T == pytest.approx(covariance)


def test_groups_that_share_sentences_have_the_covariance_of_what_they_share() -> None:
    rng = np.random.default_rng(1)
    harmful, members = rng.random(80) < 0.5, np.array([np.arange(80) < 50, np.arange(80) < 45, np.arange(80) >= 50])
    statistic = GroupSafety(harmful, np.ones(80), members)
    perplexity = rng.random(80) + 0.3 * harmful
    found = statistic.influence(perplexity)
    covariance = found.of_items @ found.of_items.T
    correlation = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert correlation[0, 1] > 0.9  # nearly the same sentences
    assert correlation[0, 2] == 0  # no sentence in common
    assert found.values[-1] == pytest.approx(found.values[:-1].mean())
    assert covariance[-1, -1] == pytest.approx(covariance[:3, :3].mean())


def test_a_sentence_that_stands_there_twice_is_one_observation() -> None:
    rng = np.random.default_rng(2)
    harmful, everyone = rng.random(40) < 0.5, np.ones((1, 40), dtype=bool)
    scores = rng.random(40) + 0.5 * harmful
    once = GroupSafety(harmful, np.ones(40), everyone)
    twice = GroupSafety(np.tile(harmful, 2), np.ones(80), np.tile(everyone, 2))
    [alone, repeated] = [
        Evidence.of([statistic.influence(values)], statistic.freedom(np.ones(len(values), bool)), clusters)
        for statistic, values, clusters in (
            (once, scores, np.arange(40)),
            (twice, np.tile(scores, 2), np.tile(range(40), 2)),
        )
    ]
    assert repeated.estimate == pytest.approx(alone.estimate)
    assert repeated.error == pytest.approx(alone.error, rel=0.03)  # not smaller by √2


def test_a_means_variance_is_that_of_stratified_sampling() -> None:
    rng = np.random.default_rng(3)
    strata, scores = rng.integers(0, 3, 90), rng.random(90)
    found = Mean(strata).influence(scores)
    sizes = np.bincount(strata)
    by_hand = sum((n / 90) ** 2 * scores[strata == s].var(ddof=1) / n for s, n in enumerate(sizes))
    assert found.values == pytest.approx([scores.mean()])
    assert (found.of_items**2).sum() == pytest.approx(by_hand)


def test_items_without_a_score_have_no_influence() -> None:
    scores = np.array([1.0, np.nan, 0.0, 1.0])
    found = Mean(np.zeros(4, dtype=int)).influence(scores)
    assert found.values == pytest.approx([2 / 3])
    assert found.of_items[0, 1] == 0
    assert (found.of_items**2).sum() == pytest.approx(np.nanvar(scores, ddof=1) / 3)
