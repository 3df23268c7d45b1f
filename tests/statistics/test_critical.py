"""The critical value between items and seeds: its ends, its inverse, and its level by integration."""

import numpy as np
import pytest
from scipy import stats

from datatrial.statistics.critical import critical_value, p_value

MANY = 1e9


def level(share: float, alpha: float, seed_freedom: int) -> float:
    """How often a true difference of 0 is called one when seeds make up so much of its variance: by integration."""
    relative = stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, seed_freedom) / seed_freedom
    variance = 1 - share + share * relative
    beyond = critical_value(alpha, share * relative / variance, MANY, seed_freedom) * np.sqrt(variance)
    return float(np.mean(2 * stats.norm.sf(beyond)))


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 10])
@pytest.mark.parametrize("share", [0, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99, 1])
def test_the_level_is_near_five_percent_whatever_the_seeds_share(seeds: int, share: float) -> None:
    assert 0.03 <= level(share, 0.05, seeds - 1) <= 0.06


@pytest.mark.parametrize("alpha", [0.01, 0.002, 0.0005])
@pytest.mark.parametrize("share", [0, 0.2, 0.5, 0.8, 0.95, 0.995])
def test_small_levels_are_kept_too_as_holms_method_needs_them(alpha: float, share: float) -> None:
    assert all(level(share, alpha, seeds - 1) <= 1.25 * alpha for seeds in (2, 3, 5))


def test_without_seed_variance_it_is_students_t_of_the_items_and_without_item_variance_that_of_the_seeds() -> None:
    assert critical_value(0.05, 0.0, 120, 2) == pytest.approx(stats.t.isf(0.025, 120))
    assert critical_value(0.05, 1.0, 120, 2) == pytest.approx(stats.t.isf(0.025, 2))
    assert critical_value(0.05, 0.0, 120, 0) == pytest.approx(stats.t.isf(0.025, 120))


@pytest.mark.parametrize("seed_freedom", [0, 1, 2, 4])
def test_p_is_the_level_whose_critical_value_was_reached(seed_freedom: int) -> None:
    alpha, share = np.array([[0.9], [0.3], [0.05], [1e-3], [1e-9]]), np.linspace(0, 1, 7)
    reached = critical_value(alpha, share, 80, seed_freedom)
    assert p_value(reached, share, 80, seed_freedom) == pytest.approx(np.broadcast_to(alpha, reached.shape), rel=1e-6)
    assert p_value(0.0, 0.4, 80, seed_freedom) == pytest.approx(1.0)
