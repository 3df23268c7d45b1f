"""Which contrasts are judged together, and what their p-values come to then."""

from collections.abc import Sequence

CONFIRMATORY, EXPLORATORY = "confirmatory", "exploratory"
ADDED = "controls and sweeps"  # of arms that the study did not write out: they take nothing from what it asks
METHODS = {CONFIRMATORY: "holm", EXPLORATORY: "fdr_bh", ADDED: "fdr_bh"}
NAMES = {"holm": "Holm", "fdr_bh": "Benjamini–Hochberg"}


def adjusted(p: Sequence[float], family: str) -> list[float]:
    """P-values for the whole family: Holm's (1979), or Benjamini and Hochberg's (1995) where it is exploratory."""
    from statsmodels.stats.multitest import multipletests

    return [float(value) for value in multipletests(p, method=METHODS[family])[1]] if len(p) else []
