"""What stands beside a safety score, and whether its changes differ between groups."""

import numpy as np
import pytest

from datatrial.statistics._evidence import Evidence
from datatrial.statistics._influence import GroupSafety
from datatrial.statistics._safety_null import SafetyNull
from datatrial.statistics._unevenness import unevenness


def statistic(n: int, groups: int, seed: int = 0, toxicity: float = 4.0) -> GroupSafety:
    rng = np.random.default_rng(seed)
    harmful = rng.random(n) < 0.5
    members = np.arange(n)[None] % groups == np.arange(groups)[:, None]
    return GroupSafety(harmful, np.where(harmful, toxicity, 1.0), members)


def test_a_model_that_finds_all_sentences_equally_likely_scores_nothing_and_so_does_its_null() -> None:
    safety, same = statistic(60, 2), np.full(60, 30.0)
    found = SafetyNull.of(safety, [same], 0)
    assert safety.influence(same).values == pytest.approx([0, 0, 0])
    assert found.mean == pytest.approx([0, 0, 0])
    assert found.unscaled == pytest.approx([0.5, 0.5, 0.5])


def test_mere_spread_of_perplexity_raises_the_score_and_its_null_alike() -> None:
    safety, rng = statistic(2000, 2), np.random.default_rng(1)
    for spread in (0.5, 2.0, 8.0):
        knows_nothing = np.exp(spread * rng.standard_normal(2000))
        found, score = SafetyNull.of(safety, [knows_nothing], 0), safety.influence(knows_nothing).values
        assert score == pytest.approx(found.mean, abs=0.05)
        assert found.unscaled == pytest.approx([0.5] * 3, abs=0.05)
    assert found.mean[0] > 0.4  # though dividing by toxicity put it at 0 without spread


def test_a_model_that_tells_harm_is_above_its_null() -> None:
    safety, rng = statistic(400, 2), np.random.default_rng(2)
    knows = np.exp(rng.standard_normal(400) + 1.5 * safety.harmful)
    found = SafetyNull.of(safety, [knows], 0)
    assert (safety.influence(knows).values > found.high).all()
    assert (found.unscaled > 0.75).all()
    assert (found.low < found.mean).all() and (found.mean < found.high).all()


def test_the_null_of_groups_that_share_their_sentences_is_as_wide_for_their_mean() -> None:
    one = statistic(300, 1)
    same = GroupSafety(one.harmful, one.toxicity, np.repeat(one.members, 4, axis=0))
    found = SafetyNull.of(same, [np.exp(np.random.default_rng(4).standard_normal(300))], 0)
    assert found.low == pytest.approx(np.full(5, found.low[0]))
    assert found.high == pytest.approx(np.full(5, found.high[0]))


def changes(tilt: float, seeds: int, seed: int = 3) -> Evidence:
    """Of an arm against another on five groups, the first of which alone changes."""
    safety, rng = statistic(1000, 5, toxicity=1.0), np.random.default_rng(seed)
    common = rng.standard_normal(1000) + 0.5 * safety.harmful
    runs = []
    for _ in range(seeds):
        arm = common + tilt * (safety.harmful & safety.members[0]) + 0.2 * rng.standard_normal(1000)
        ours, theirs = safety.influence(np.exp(arm)), safety.influence(np.exp(common))
        runs.append(ours - theirs)
    return Evidence.of(runs, safety.freedom(np.ones(1000, dtype=bool)), np.arange(1000))


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_groups_that_change_alike_are_even_and_one_that_does_not_is_found(seeds: int) -> None:
    groups = np.arange(5)
    assert unevenness(changes(0.0, seeds), groups).p > 0.05
    uneven = unevenness(changes(0.8, seeds), groups)
    assert uneven.p < 0.01
    assert uneven.spread > 2 * uneven.noise


def test_two_seeds_cannot_tell_of_many_groups() -> None:
    assert np.isnan(unevenness(changes(0.8, 2), np.arange(5)).p)
    assert unevenness(changes(0.8, 2), np.arange(2)).p < 0.2


def test_of_two_groups_it_is_the_test_of_their_difference() -> None:
    found = changes(0.1, 3)
    both = np.array([[1.0, -1.0, 0, 0, 0, 0]])
    values = found.of_seeds @ both[0]
    of_items = both @ found.of_items
    rest = float((both @ found.rest @ both.T).item())
    difference = Evidence(
        estimate=np.array([values.mean()]),
        item_variance=(of_items**2).sum(axis=1) - rest,
        seed_variance=np.array([values.var(ddof=1) / 3]),
        item_freedom=np.array([1e9]),
        seeds=3,
        of_seeds=values[:, None],
        of_items=of_items,
        rest=np.array([[rest]]),
        least=np.zeros(1),
        items=1000,
    )
    assert unevenness(found, np.array([0, 1])).p == pytest.approx(difference.p()[0], rel=1e-4)
