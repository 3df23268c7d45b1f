"""What seeds and items together say of an estimate: its standard error, p, interval, and what it could have shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datatrial.statistics._arrays import Array, Labels
from datatrial.statistics._influence import Influence
from datatrial.statistics.critical import critical_value, p_of
from datatrial.statistics.levels import ALPHA, POWER


@dataclass(frozen=True)
class Evidence:
    """Estimates of several endpoints from runs with different seeds on the same items; arrays (endpoints).

    Seeds and items are crossed: every run answers the same items. A two-way random-effects analysis of variance gives
    the variance of the mean over both as

        V = V_items + V_seeds − V_rest,

    V_items that of the seed means over items, V_seeds that of the item means over seeds, V_rest that of what is left
    (it is in both). V_seeds has seeds − 1 degrees of freedom, all else has many: see `critical`. With a single run
    there is no V_seeds, and all that is said is of that run alone.

    Few seeds may give the same number of right answers by chance, which says nothing of how exact they are: to V_seeds
    comes the median of what two runs differ by before they are rounded to the same whole number (a 48th of a step
    squared for each run), though no more than V_rest. Nor do few items on which nothing changed prove that nothing
    changes: to a single run's variance that of one more right and one more wrong answer is added (Bonett and Price
    2012), and that over several is at least an eighth of it: a 95% interval reaches an item to either side.
    """

    estimate: Array
    item_variance: Array  # V_items − V_rest, or 0 where that comes out below it
    seed_variance: Array  # V_seeds; 0 with a single run
    item_freedom: Array
    seeds: int
    of_seeds: Array  # (seeds × endpoints): the estimate of each run
    of_items: Array  # (endpoints × clusters): influences on the mean over seeds
    rest: Array  # (endpoints × endpoints): V_rest and its covariances
    least: Array  # variance of each estimate
    items: int  # (clusters of them) that it rests on
    numbered: tuple[int | None, ...] = ()  # the seeds by number, where it matters which they are

    @classmethod
    def of(cls, runs: Sequence[Influence], freedom: Array, clusters: Labels) -> "Evidence":
        """From the influences of each run; items of one cluster are not independent."""
        values = np.stack([run.values for run in runs])
        each = np.stack([_by_cluster(run.of_items, clusters) for run in runs])
        mean, seeds = each.mean(axis=0), len(runs)
        spread = np.zeros((values.shape[1],) * 2)
        if seeds > 1:
            apart = each - mean
            spread = np.einsum("sec,sfc->ef", apart, apart) / (seeds * (seeds - 1))
        step = np.max([run.step for run in runs], axis=0)
        rounded = np.minimum(np.diag(spread), step**2 / 48 / seeds)
        of_items, least = (mean**2).sum(axis=1) - np.diag(spread), np.max([run.least for run in runs], axis=0)
        return cls(
            estimate=values.mean(axis=0),
            item_variance=np.maximum(0.0, of_items) if seeds > 1 else of_items + least,
            seed_variance=values.var(axis=0, ddof=1) / seeds + rounded if seeds > 1 else np.zeros(values.shape[1]),
            item_freedom=freedom,
            seeds=seeds,
            of_seeds=values,
            of_items=mean,
            rest=spread,
            least=least / 8,
            items=int(mean.shape[1]),
        )

    def in_sum(self) -> "Evidence":
        """The same without what each item says."""
        return replace(self, of_items=np.zeros((len(self.estimate), 0)))

    def numbers(self, endpoint: int) -> dict[str, Any]:
        """What a `Contrast` keeps of an endpoint, to test other hypotheses from."""
        names = ("error", "seed_share", "item_freedom", "detectable")
        return {name: float(getattr(self, name)[endpoint]) for name in names}

    @property
    def error(self) -> Array:
        """The standard error of each estimate."""
        error: Array = np.sqrt(np.maximum(self.item_variance + self.seed_variance, self.least))
        return error

    def p(self, null: Array | float = 0.0) -> Array:
        """Two-sided p of each estimate being `null`; 1 where nothing varies and the estimate is `null` itself."""
        return p_of(self.estimate - null, self.error, self.seed_share, self.item_freedom, self.seeds - 1)

    def interval(self, alpha: float = ALPHA) -> tuple[Array, Array]:
        """Both ends of each estimate's 1 − α interval."""
        half = self._critical(alpha) * self.error
        return self.estimate - half, self.estimate + half

    @property
    def detectable(self) -> Array:
        """The smallest true difference that a test at level 0.05 would find with probability 0.8."""
        return (self._critical(ALPHA) + self._critical(2 * (1 - POWER))) * self.error

    @property
    def seed_share(self) -> Array:
        """The share of each variance that is due to seeds, 0–1."""
        total = self.item_variance + self.seed_variance
        share: Array = np.divide(self.seed_variance, total, out=np.zeros_like(total), where=total > 0)
        return share

    def _critical(self, alpha: float) -> Array:
        return critical_value(alpha, self.seed_share, self.item_freedom, self.seeds - 1)


def _by_cluster(of_items: Array, clusters: Labels) -> Array:
    """The influences of each cluster's items added up, (endpoints × clusters)."""
    number = int(clusters.max(initial=-1)) + 1
    if number == len(clusters):
        return of_items
    return np.array([np.bincount(clusters, row, number) for row in of_items])
