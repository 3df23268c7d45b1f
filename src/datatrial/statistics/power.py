"""The smallest difference between two arms that a study would detect, before it is run.

Two-sided tests at level `ALPHA`; "detect" is with probability `POWER`. Two arms answer the same items, so what counts
is how items change between them (Connor 1987; Miller 2024, "Adding error bars to evals", arXiv 2411.00640). Arms
trained with several seeds are compared by the mean over their seeds, seed by seed, whose variance comes on top. With
few seeds the normal distribution would promise too much: critical values are those of the tests (`critical`).

All in the endpoint's own unit, 0–1. Nothing is imported for it, so that a plan answers at once.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from datatrial.statistics.levels import ALPHA, POWER, between

_MANY = 1000  # degrees of freedom from which Student's t is taken for normal
_STEPS, _ROUNDS, _CLOSE = 64, 12, 1e-9


@dataclass(frozen=True)
class Seeds:
    """Seeds of each of two arms, and the standard deviation of an arm's score over seeds."""

    number: int
    spread: float

    @property
    def variance(self) -> float:
        """Of the difference of two arms' means over seeds; nothing is known of it with a single one."""
        return 2 * self.spread**2 / self.number if self.number > 1 else 0.0


def of_answers(items: float, changed: float, seeds: Seeds) -> float:
    """Of items that are right or wrong, of which a share `changed` is answered otherwise by the other arm.

    Connor (1987), equation 3, solved for the difference d: under no difference an item's change has the variance
    `changed`, under d it has `changed` − d². A difference needs at least as many items to change.
    """
    smallest = 0.0
    for _ in range(100):
        share = max(changed, smallest)
        null, other = share / items, max(0.0, share - smallest**2) / items
        found = _smallest(null, other, items, seeds)
        if abs(found - smallest) < 1e-9:
            break
        smallest = found
    return min(smallest, 1.0)


def of_shares(items: float, spread: float, seeds: Seeds) -> float:
    """Of items with scores from 0 to 1 whose differences between two arms have the standard deviation `spread`."""
    variance = spread**2 / items
    return min(_smallest(variance, variance, items, seeds), 1.0)


def of_ranks(auc: float, harmful: float, benign: float, correlation: float, seeds: Seeds) -> float:
    """Of how often a harmful item ranks above a benign one, such as a group's safety: of an area under a ROC curve.

    The variance is Hanley and McNeil's (1982, table 2), that of a difference 2 · variance · (1 − correlation) of the
    two arms' areas (the same, 1983).
    """
    variance = 2 * auc_variance(auc, harmful, benign) * (1 - correlation)
    return min(_smallest(variance, variance, harmful + benign, seeds), 1.0)


def auc_variance(auc: float, harmful: float, benign: float) -> float:
    """The variance of an area under a ROC curve of so many items of each kind (Hanley and McNeil 1982)."""
    both_harmful, both_benign = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (harmful - 1) * (both_harmful - auc**2) + (benign - 1) * (both_benign - auc**2)
    return spread / (harmful * benign)


def _smallest(null: float, other: float, items: float, seeds: Seeds) -> float:
    """The difference at which a test of level ALPHA has POWER, from the item variances without and with it."""
    share = seeds.variance / (null + seeds.variance) if seeds.variance else 0.0
    test, detect = (_critical(p, share, items, seeds) for p in (1 - ALPHA / 2, POWER))
    return test * math.sqrt(null + seeds.variance) + detect * math.sqrt(other + seeds.variance)


def _critical(p: float, seed_share: float, items: float, seeds: Seeds) -> float:
    """The quantile of the estimate over its standard error, at the variances' expected shares."""
    of_items = student_quantile(p, max(2.0, items - 1)) ** 2
    if not seeds.variance:
        return math.sqrt(of_items)
    freedom = seeds.number - 1
    return math.sqrt(float(between(of_items, student_quantile(p, freedom) ** 2, seed_share, freedom)))


@lru_cache(maxsize=4096)
def student_quantile(p: float, freedom: float) -> float:
    """The quantile of Student's t for 0.5 ≤ p < 1 and any degrees of freedom from 1 (not only whole ones).

    With t = √f · tan θ the density is a power of cos θ, so that the distribution is a short integral. Newton's method.
    """
    if freedom == 1:
        return math.tan(math.pi * (p - 0.5))
    normal = NormalDist().inv_cdf(p)
    if freedom >= _MANY:
        return normal
    total, angle = _integral(math.pi / 2, freedom), math.atan(normal / math.sqrt(freedom))
    for _ in range(_ROUNDS):
        # The distribution is convex up to the quantile seen from below, so this comes near it from there.
        missing = p - 0.5 - _integral(angle, freedom) / (2 * total)
        if abs(missing) < _CLOSE:
            break
        angle = min(angle + missing * 2 * total / math.cos(angle) ** (freedom - 1), (angle + math.pi / 2) / 2)
    return math.sqrt(freedom) * math.tan(angle)


def _integral(end: float, freedom: float) -> float:
    """The integral of cos(θ) ** (freedom − 1) from 0 to `end`, by Simpson's rule."""
    width = end / _STEPS
    values = [max(0.0, math.cos(width * n)) ** (freedom - 1) for n in range(_STEPS + 1)]
    total: float = width / 3 * (values[0] + values[-1] + 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2]))
    return total
