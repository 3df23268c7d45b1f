"""Critical values for a difference whose variance has a part that is known well and one that few seeds tell of.

Items are many, so their share of the variance is as good as known; seeds are two to five. The estimate's variance is
V = V_items + V_seeds, the second part with f = seeds − 1 degrees of freedom: the problem of Behrens and Fisher.
Satterthwaite's t (1946) rejects too often there, since a seed variance that comes out small by chance makes the
standard error small and the degrees of freedom many at once: up to 13% instead of 5% with two seeds, 8% with three.
Behrens and Fisher's own solution rejects too seldom (down to 1.3 and 2.4%). Cochran's (1964) idea is to read the
critical value off both quantiles, weighted by the shares of the variance; here it is their squares that are weighted:

    c² = (1 − w) t²(items) + w t²(seeds),    w = 1 − (1 − s ** (1 + a r)) ** (1 + b r),

with s = V_seeds / V as estimated, r = t(items) / t(seeds), a = 1 + 12 / f² and b = 100 / f³·⁵: chosen so that the
level is near its nominal value whatever the true share is. By integration (`measurements/calibration.py levels`) it
lies, at α = .05, between 3.3 and 5.7% with two seeds, 4.0 and 5.0% with three, 4.7 and 5.0% with five; at smaller α, as
Holm's method needs them, it is at most 1.06 α (α = .01), 1.12 α (.002), 1.22 α (.0005). Both ends are exact: the items'
t without seed variance, the seeds' t without item variance.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from datatrial.statistics._arrays import Array
from datatrial.statistics.levels import between

LARGEST = 0.5 - 1e-5  # tail: at 0.5 both quantiles are 0, and their ratio is nothing
_HALVINGS = 60  # of the interval in which log p is looked for: to the last digit
_SMALLEST_LOG_P = -80.0


def critical_value(alpha: Any, seed_share: Any, item_freedom: Any, seed_freedom: Any) -> Array:
    """How many standard errors a difference must be from its null value for a two-sided p of `alpha`.

    Arrays of one shape, or that broadcast: `alpha` in 0–1, the estimated share of the variance that is due to seeds
    (0–1), degrees of freedom of the items' part and the seeds' part (0: there is no seeds' part).
    """
    from scipy.special import stdtrit  # what `scipy.stats.t.isf` asks, without its tenfold time for checks

    half = np.minimum(np.asarray(alpha) / 2, LARGEST)
    freedom = np.maximum(np.asarray(seed_freedom, dtype=float), 1)
    share = np.where(np.asarray(seed_freedom) > 0, seed_share, 0.0)
    squared = stdtrit(item_freedom, half) ** 2, stdtrit(freedom, half) ** 2
    value: Array = np.sqrt(between(*squared, share, freedom))
    return value


def p_value(errors: Any, seed_share: Any, item_freedom: Any, seed_freedom: Any) -> Array:
    """The two-sided p of an estimate that is so many standard errors from its null value: `critical_value` inverted."""
    distance = np.abs(np.asarray(errors, dtype=float))
    return inverted(lambda alpha: critical_value(alpha, seed_share, item_freedom, seed_freedom), distance)


def p_of(distance: Any, error: Any, seed_share: Any, item_freedom: Any, seed_freedom: Any) -> Array:
    """The two-sided p of estimates at some distance from their null value; 1 where nothing varies and there is none."""
    far, error = np.abs(np.asarray(distance, dtype=float)), np.asarray(error, dtype=float)
    errors = np.divide(far, error, out=np.where(far > 0, np.inf, 0.0), where=error > 0)
    return p_value(errors, seed_share, item_freedom, seed_freedom)


def inverted(critical: Callable[[Array], Array], observed: Array) -> Array:
    """The level at which a critical value, which falls as the level rises, is what was observed."""
    low, high = np.full(np.shape(observed), _SMALLEST_LOG_P), np.zeros(np.shape(observed))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        beyond = critical(np.exp(middle)) > observed
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    level: Array = np.exp((low + high) / 2)
    return level
