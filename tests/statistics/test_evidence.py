"""Seeds and items crossed: against a two-way analysis of variance, and what follows from it."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm

from datatrial.statistics._evidence import Evidence
from datatrial.statistics._influence import Mean


def evidence(answers: np.ndarray) -> Evidence:
    """Of differences (seeds × items)."""
    mean, items = Mean(np.zeros(answers.shape[1], dtype=int)), answers.shape[1]
    freedom = mean.freedom(np.ones(items, dtype=bool))
    return Evidence.of([mean.influence(run) for run in answers], freedom, np.arange(items))


def test_the_variance_is_that_of_a_two_way_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    seeds, items = 3, 25
    answers = rng.normal(size=(seeds, 1)) + rng.normal(size=items) + rng.normal(size=(seeds, items))
    place = np.indices(answers.shape).reshape(2, -1)
    frame = pd.DataFrame({"y": answers.ravel(), "seed": place[0].astype(str), "item": place[1].astype(str)})
    squares = anova_lm(smf.ols("y ~ seed + item", frame).fit())["mean_sq"]
    found, cells = evidence(answers), seeds * items
    assert found.seed_variance == pytest.approx(squares["seed"] / cells)
    assert found.item_variance == pytest.approx((squares["item"] - squares["Residual"]) / cells)
    assert found.estimate == pytest.approx(answers.mean())


def test_runs_that_only_shift_all_items_alike_are_judged_by_students_t_over_seeds() -> None:
    shifts = np.array([0.1, 0.4, 0.2])
    found = evidence(np.repeat(shifts[:, None], 50, axis=1))
    peer = stats.ttest_1samp(shifts, 0)
    assert found.p() == pytest.approx(peer.pvalue, rel=1e-5)
    assert np.ravel(found.interval()) == pytest.approx(tuple(peer.confidence_interval(0.95)))
    assert found.seed_share == pytest.approx(1)


def test_a_single_run_is_judged_by_a_paired_t_over_items() -> None:
    differences = np.random.default_rng(1).normal(0.2, 1, (1, 60))
    found, peer = evidence(differences), stats.ttest_1samp(differences[0], 0)
    assert found.p() == pytest.approx(peer.pvalue, rel=1e-5)
    assert np.ravel(found.interval()) == pytest.approx(tuple(peer.confidence_interval(0.95)))


def test_an_interval_excludes_what_p_rejects() -> None:
    answers = np.random.default_rng(2).normal(0.3, 1, (3, 40))
    found = evidence(answers)
    for end in found.interval(0.03):
        assert found.p(end) == pytest.approx(0.03)


def test_runs_that_never_differ_show_nothing() -> None:
    found = evidence(np.zeros((3, 20)))
    assert found.p() == 1.0
    assert found.error == pytest.approx(1 / 2 / 20)  # but an item more or less may be right
    assert found.detectable > 2.8 * found.error


def test_seeds_whose_counts_are_equal_by_chance_are_no_proof() -> None:
    answers = np.zeros((2, 200))
    answers[0, :2] = answers[1, 2:4] = 1  # two more right answers each, to different questions
    found = evidence(answers)
    assert found.seed_variance == pytest.approx(1 / 96 / 200**2)  # an item's rounding, over two runs
    assert found.p() > 0.05


@pytest.mark.parametrize("seeds", [1, 5])
def test_a_true_difference_of_the_detectable_size_is_found_in_four_of_five_studies(seeds: int) -> None:
    rng = np.random.default_rng(3)
    studies = [evidence(rng.normal(size=400) + rng.normal(size=(seeds, 400))) for _ in range(300)]
    size = float(np.mean([study.detectable[0] for study in studies]))
    assert 0.72 < np.mean([study.p(-size)[0] <= 0.05 for study in studies]) < 0.9
