"""The levels that all is judged at, and where critical values lie between items and seeds. Light: plans use it."""

from typing import Any

ALPHA, POWER = 0.05, 0.8


def between(of_items: Any, of_seeds: Any, seed_share: Any, seed_freedom: Any) -> Any:
    """The critical value of a squared distance, between those that items alone and seeds alone would have.

    Numbers or arrays: both critical values (positive), the seeds' share of the variance (0–1), and the degrees of
    freedom of that share (at least 1). `critical` says where the formula is from and what it keeps.
    """
    ratio = (of_items / of_seeds) ** 0.5
    a, b = 1 + 12 / seed_freedom**2, 100 / seed_freedom**3.5
    weight = 1 - (1 - seed_share ** (1 + a * ratio)) ** (1 + b * ratio)
    return (1 - weight) * of_items + weight * of_seeds
