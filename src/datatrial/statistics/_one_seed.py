"""Two single models on the same items: exact tests, and an interval for answers that are right or wrong."""

import numpy as np

from datatrial.statistics._arrays import Array
from datatrial.statistics._influence import is_binary

_CHUNK = 4_000_000  # signs held at once


def exact_p(differences: Array, resamples: int, seed: int) -> float:
    """Two-sided p of two models being alike, from their differences on the items that both answered.

    Right or wrong answers: McNemar's exact test (1947), a binomial test of the items on which one of them is right.
    Other scores: the paired permutation test, in which each difference may have either sign; of `resamples` random
    permutations, to which the one observed is added (Phipson and Smyth 2010).
    """
    from scipy.stats import binomtest

    changed = differences[differences != 0]
    if not len(changed):
        return 1.0
    if is_binary(differences):
        return float(binomtest(int((changed > 0).sum()), len(changed)).pvalue)
    rng, extreme = np.random.default_rng(seed), 0
    width = max(1, _CHUNK // len(changed))
    observed = abs(changed.sum()) * (1 - 1e-12)
    for start in range(0, resamples, width):
        signs = rng.integers(2, size=(min(width, resamples - start), len(changed)), dtype=np.int8)
        extreme += int((np.abs(2 * (signs @ changed) - changed.sum()) >= observed).sum())
    return (extreme + 1) / (resamples + 1)


def adjusted_wald(differences: Array, alpha: float) -> tuple[float, float]:
    """The 1 − α interval of the difference of two paired proportions (Bonett and Price 2012).

    Two items are added, one changed in each direction, so that few changes give no interval that is too short.
    """
    from scipy.stats import norm

    items, both_ways = len(differences) + 2, int((differences != 0).sum()) + 2
    centre = differences.sum() / items
    half = norm.isf(alpha / 2) * np.sqrt((both_ways / items - centre**2) / items)
    return float(centre - half), float(centre + half)
