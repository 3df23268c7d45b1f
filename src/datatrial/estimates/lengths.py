"""How long texts are, when all that is known is their mean: a log-normal distribution with an assumed spread.

Training texts spread widely: the standard deviation is 0.96 of the mean in LIMA and 0.82 in HH-RLHF (harmless-base), in
characters of whole rows of half of each.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

SPREAD = 0.9  # standard deviation over mean of training texts
_STEPS = 64
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Lengths:
    """Lengths in tokens, log-normal: their mean, and their standard deviation over it."""

    mean: float
    spread: float = SPREAD

    @property
    def _sigma(self) -> float:
        return math.sqrt(math.log(1 + self.spread**2))

    def cut(self, longest: float | None) -> float:
        """The mean when each is cut to `longest`: E[min(X, longest)], by the log-normal's partial expectation."""
        if longest is None or not self.spread:
            return min(self.mean, longest or math.inf)
        s = self._sigma
        z = (math.log(longest) - math.log(self.mean) + s * s / 2) / s
        return self.mean * _NORMAL.cdf(z - s) + longest * (1 - _NORMAL.cdf(z))

    def longest_of(self, n: float, longest: float | None = None) -> float:
        """The expected longest of n, each cut to `longest`: what a batch is padded to (n = 1 is the mean).

        The integral of the quantile function over p ** n, by the midpoint rule.
        """
        return self.cut(longest) if n <= 1 else _longest_of(self, n, longest or math.inf)

    def quantile(self, p: float) -> float:
        s = self._sigma
        return self.mean * math.exp(s * _NORMAL.inv_cdf(p) - s * s / 2) if self.spread else self.mean


@lru_cache(maxsize=1024)  # the same for all arms and seeds that differ in something else
def _longest_of(lengths: Lengths, n: float, top: float) -> float:
    total = 0.0
    for step in range(_STEPS):
        p = ((step + 0.5) / _STEPS) ** (1 / n)
        total += min(top, lengths.quantile(min(p, 1 - 1e-9)))
    return total / _STEPS
