"""Exact tests of two single models, against scipy and statsmodels."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from datatrial.statistics._one_seed import adjusted_wald, exact_p


def test_right_or_wrong_answers_are_judged_by_mcnemars_exact_test() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random(80) < 0.6, rng.random(80) < 0.45
    table = [[(one & other).sum(), (one & ~other).sum()], [(~one & other).sum(), (~one & ~other).sum()]]
    assert exact_p(one * 1.0 - other, 100, 0) == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_other_scores_are_judged_by_a_paired_permutation_test() -> None:
    rng = np.random.default_rng(1)
    differences = rng.normal(0.35, 1, 40)
    found = exact_p(differences, 20_000, 0)
    peer = stats.permutation_test(
        (differences, np.zeros(40)), _mean_difference, permutation_type="samples", n_resamples=20_000, rng=2
    )
    assert found == pytest.approx(peer.pvalue, abs=0.005)
    assert exact_p(differences, 20_000, 0) == found
    assert exact_p(np.abs(differences) + 1, 5000, 0) == pytest.approx(1 / 5001)


def _mean_difference(one: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
    return one.mean(axis=axis) - other.mean(axis=axis)


def test_every_permutation_of_few_differences_counts() -> None:
    differences = np.array([0.5, 0.25, 0.125, 0.3])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1)
    every = np.mean(np.abs(differences @ signs) >= differences.sum() - 1e-12)
    assert exact_p(differences, 50_000, 0) == pytest.approx(every, abs=0.01)


def test_models_that_answer_alike_do_not_differ() -> None:
    assert exact_p(np.zeros(10), 100, 0) == 1.0
    low, high = adjusted_wald(np.zeros(10), 0.05)
    assert low < 0 < high


def test_the_interval_is_bonett_and_prices() -> None:
    # By their equation 6 with n12 = 9, n21 = 3 of n = 60: p̃ = (n + 1) / (n_total + 2).
    differences = np.concatenate([np.ones(9), -np.ones(3), np.zeros(48)])
    one, other = 10 / 62, 4 / 62
    half = stats.norm.isf(0.025) * np.sqrt((one + other - (one - other) ** 2) / 62)
    assert adjusted_wald(differences, 0.05) == pytest.approx((one - other - half, one - other + half))
