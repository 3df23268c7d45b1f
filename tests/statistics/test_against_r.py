"""The same numbers as R 4.2.2 with pROC 1.18.0 and lme4 gives on small made-up data, printed there to ten digits."""

import numpy as np
import pytest

from datatrial.statistics._evidence import Evidence
from datatrial.statistics._influence import GroupSafety, Mean, area
from datatrial.statistics._one_seed import exact_p
from datatrial.statistics.families import CONFIRMATORY, EXPLORATORY, adjusted

HARMFUL = np.array([1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1], dtype=bool)
ONE = [5.1, 2.2, 4.0, 6.3, 3.3, 1.9, 4.4, 4.4, 7.0, 2.8, 3.9, 5.5, 2.5, 3.0, 4.1, 1.2, 6.6, 2.7, 3.8, 4.9]
OTHER = [4.0, 3.1, 4.2, 5.9, 3.6, 2.0, 3.0, 4.6, 5.5, 3.3, 4.1, 4.7, 3.2, 2.9, 4.5, 2.4, 5.0, 3.1, 3.1, 4.2]
P = [0.001, 0.012, 0.02, 0.04, 0.3]
# rounded: a shift for each of 3 seeds, one for each of 12 items, and noise
CROSSED = """
 0.63 0.80 0.75  1.04 0.74 1.90  0.68 0.90 1.33  -0.14 -0.72 0.33  0.52 -0.44 0.86  1.27 1.41 1.11
 0.56 1.27 1.19  0.46 0.69 0.56  0.02 0.58 0.55  0.97 -0.45 0.33  -0.10 0.05 0.29  0.57 -0.66 0.22
"""


def test_areas_variances_and_covariance_are_those_of_proc() -> None:
    """`roc(y, a)`, `var`, `cov`."""
    found = [area(np.array(scores), HARMFUL, np.ones(20, dtype=bool)) for scores in (ONE, OTHER)]
    influences = np.array([influence for _, influence in found])
    assert [value for value, _ in found] == [0.875, 0.75]
    expected = [[0.006694444444, 0.005833333333], [0.005833333333, 0.0125]]
    assert influences @ influences.T == pytest.approx(np.array(expected), rel=1e-9)


def test_the_difference_of_two_areas_has_the_z_of_procs_paired_delong_test() -> None:
    """`roc.test(ra, rb, method="delong", paired=TRUE)`: Z = 1.440710157."""
    statistic = GroupSafety(HARMFUL, np.ones(20), np.ones((1, 20), dtype=bool))
    one, other = (statistic.influence(np.array(scores)) for scores in (ONE, OTHER))
    difference = one - other
    found = Evidence.of([difference], np.full(2, 1e9), np.arange(20))
    assert found.estimate / found.error == pytest.approx([1.440710157] * 2, rel=1e-9)
    assert found.p() == pytest.approx([0.1496665842] * 2, rel=1e-6)


def test_the_standard_error_over_seeds_and_items_is_that_of_a_mixed_model() -> None:
    """`lmer(y ~ 1 + (1 | seed) + (1 | item))`: intercept 0.5575, standard error 0.1748752562."""
    answers = np.array(CROSSED.split(), dtype=float).reshape(12, 3).T
    mean = Mean(np.zeros(12, dtype=int))
    found = Evidence.of([mean.influence(run) for run in answers], np.array([11.0]), np.arange(12))
    assert found.estimate == pytest.approx([0.5575])
    assert found.error == pytest.approx([0.1748752562], rel=1e-5)


def test_mcnemars_exact_p_is_binom_tests() -> None:
    """`binom.test(9, 12)`."""
    assert exact_p(np.array([1.0] * 9 + [-1.0] * 3 + [0.0] * 30), 100, 0) == pytest.approx(0.1459960938)


def test_families_are_adjusted_as_by_p_adjust() -> None:
    """`p.adjust(p, "holm")`, `p.adjust(p, "BH")`."""
    assert adjusted(P, CONFIRMATORY) == pytest.approx([0.005, 0.048, 0.06, 0.08, 0.3])
    assert adjusted(P, EXPLORATORY) == pytest.approx([0.005, 0.03, 1 / 30, 0.05, 0.3])
    assert adjusted([], CONFIRMATORY) == []
