"""Do all groups change alike? One test over overlapping groups, with few seeds."""

from dataclasses import dataclass

import numpy as np

from datatrial.statistics._arrays import Array
from datatrial.statistics._evidence import Evidence
from datatrial.statistics.critical import inverted
from datatrial.statistics.levels import between


@dataclass(frozen=True)
class Uneven:
    """How the changes of several endpoints spread around their mean, and the p of that being noise."""

    spread: float  # standard deviation over endpoints
    noise: float  # expected of endpoints that change alike
    p: float  # NaN where it cannot be known


def unevenness(evidence: Evidence, endpoints: Array) -> Uneven:
    """Tests whether some endpoints (their numbers, two at least) change alike.

    Q is the sum of squares of the changes around their mean. Under the hypothesis it is a weighted sum of χ², which Box
    (1954) takes for one χ² with the same mean and variance: these come from the joint covariance of the changes, items
    and seeds together. Of the seeds' part little is known, so the critical value lies between those of χ² and F, as in
    `critical` that of one difference does between normal and t; of two endpoints it is that very test. How the effects
    of two seeds on more endpoints go together cannot be known: p is NaN then.
    """
    values = evidence.estimate[endpoints]
    changes, centre = values - values.mean(), np.eye(len(values)) - 1 / len(values)
    of_items = evidence.of_items[endpoints]
    items = _positive(centre @ (of_items @ of_items.T - evidence.rest[np.ix_(endpoints, endpoints)]) @ centre)
    seeds = np.zeros_like(items)
    if evidence.seeds > 1:
        seeds = centre @ np.atleast_2d(np.cov(evidence.of_seeds[:, endpoints].T)) @ centre / evidence.seeds
    total = np.trace(items) + np.trace(seeds)
    noise = float(np.sqrt(total / (len(values) - 1)))
    spread = float(np.sqrt((changes**2).sum() / (len(values) - 1)))
    unknown = evidence.seeds == 2 and len(values) > 2
    return Uneven(spread, noise, np.nan if unknown else _p(float((changes**2).sum()), items, seeds, evidence.seeds - 1))


def _positive(covariance: Array) -> Array:
    """The nearest matrix that is a covariance: a difference of two estimates may have negative eigenvalues."""
    values, vectors = np.linalg.eigh(covariance)
    positive: Array = (vectors * np.maximum(values, 0)) @ vectors.T
    return positive


def _p(q: float, items: Array, seeds: Array, freedom: int) -> float:
    from scipy.stats import chi2, f

    total = np.trace(items) + np.trace(seeds)
    if total <= 0:
        return 1.0 if q <= 0 else 0.0
    squared = _squared_trace(items, seeds, freedom)
    width = total**2 / (np.trace(items @ items) + 2 * np.trace(items @ seeds) + squared)  # Box's degrees of freedom
    share = np.trace(seeds) / total
    known = freedom * np.trace(seeds) ** 2 / squared if share > 0 else 0.0

    def critical(alpha: Array) -> Array:
        of_items = chi2.isf(alpha, width) / width
        value: Array = between(of_items, f.isf(alpha, width, known), share, known) if known else of_items
        return value

    return float(inverted(critical, np.array(q / total)))


def _squared_trace(items: Array, seeds: Array, freedom: int) -> float:
    """The trace of the squared covariance of the seeds' part: how few directions it has.

    Of the covariance that was estimated from few seeds it is too large; unbiased is Srivastava's (2005) correction, but
    never fewer directions are taken than that says, nor more than the items' part has.
    """
    plain, trace = float(np.trace(seeds @ seeds)), float(np.trace(seeds))
    if freedom < 2 or not np.trace(items) > 0:
        return plain
    unbiased = freedom**2 / ((freedom - 1) * (freedom + 2)) * (plain - trace**2 / freedom)
    like_items = float(np.trace(items @ items) / np.trace(items) ** 2) * trace**2
    return min(plain, max(unbiased, like_items))
