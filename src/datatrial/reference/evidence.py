"""What published scores alone can carry, from the sizes of the benchmarks."""

import math
from statistics import NormalDist

from datatrial.effects import Contrast
from datatrial.reference import SAFETY, PublishedClaim, Reference
from datatrial.statistics.declared import DeclaredContrast
from datatrial.statistics.verdict import null_of, outcome, verdict

CONFIDENCE = NormalDist().inv_cdf(0.975)
CONSTANT, AT_CHANCE, DISPUTED = "constant answer", "at chance", "direction disputed"
HOW = (
    "Intervals are unpaired: each score is taken for a mean of that many independent items, which is all that a "
    "published table allows. Both arms answered the same items, so a paired interval would most often be narrower; "
    "every arm was trained once, so the spread over seeds, which would widen it, is not in it."
)


def evidence(reference: Reference, claim: PublishedClaim) -> tuple[Contrast, ...]:
    """The differences between published scores that a claim rests on, as far as both scores were published."""
    return tuple(
        difference(reference, part, endpoint)
        for part in claim.parts
        for endpoint in part.on
        if {(part.arm, endpoint), (part.against, endpoint)} <= reference.scores.keys()
    )


def difference(reference: Reference, declared: DeclaredContrast, endpoint: str) -> Contrast:
    """A declared difference on one endpoint, with its unpaired 95% interval."""
    one, other = reference.scores[declared.arm, endpoint], reference.scores[declared.against, endpoint]
    half = CONFIDENCE * math.sqrt(variance(reference, endpoint, one) + variance(reference, endpoint, other))
    found = one - other
    null = null_of(declared.expectation, declared.margin, found)
    of_zero, p = (_p(found - value, half) for value in (0.0, null))
    return Contrast(
        arm=declared.arm,
        against=declared.against,
        endpoint=endpoint,
        estimate=found,
        low=found - half,
        high=found + half,
        p=p,
        p_adjusted=p,
        null=null,
        items=reference.items(endpoint),
        seeds=1,
        arm_score=one,
        against_score=other,
        declared=True,
        expect=declared.expectation,
        claim=declared.claim,
        margin=declared.margin,
        verdict=verdict(found, of_zero),
        outcome=outcome(found, p, declared.expectation, null),
    )


def _p(distance: float, half: float) -> float:
    """Two-sided p of a difference whose 95% interval is so wide on either side."""
    if not half:
        return float(distance == 0)
    return 2 * (1 - NormalDist().cdf(abs(distance) * CONFIDENCE / half))


def variance(reference: Reference, endpoint: str, score: float) -> float:
    """The sampling variance of a score.

    Of a mean of items in 0–1 at most p(1−p)/n (exact for right-or-wrong items; Bhatia and Davis 2000); of a group's
    safety that of an area under the curve (Hanley and McNeil 1982); of the mean over groups as if they shared no
    statement.
    """
    if endpoint in reference.benchmarks:
        return score * (1 - score) / reference.benchmarks[endpoint].items
    if endpoint == SAFETY:
        parts = [auc_variance(score, *counts) for counts in reference.groups.values()]
        return sum(parts) / len(parts) ** 2
    return auc_variance(score, *reference.groups[endpoint.removeprefix(f"{SAFETY}/")])


def auc_variance(area: float, positives: int, negatives: int) -> float:
    """Hanley and McNeil 1982, equation 1, with their exponential approximation of Q1 and Q2."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    own = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return own / (positives * negatives)


def marks(reference: Reference, arm: str, endpoint: str) -> list[str]:
    """What a reader should know of one published score: it is a constant answer's, at chance, or of disputed sense."""
    benchmark = reference.benchmarks.get(endpoint)
    if not benchmark:
        return []
    score = reference.scores[arm, endpoint]
    half = CONFIDENCE * math.sqrt(variance(reference, endpoint, score))
    constant = benchmark.constant is not None and round(score * 100, 2) == benchmark.constant
    at_chance = benchmark.chance is not None and abs(score - benchmark.chance / 100) <= half
    found = {CONSTANT: constant, AT_CHANCE: at_chance, DISPUTED: bool(benchmark.disputed)}
    return [mark for mark, holds in found.items() if holds]


def fluctuations(reference: Reference) -> list[tuple[str, float, float]]:
    """For each group the range (largest − smallest) of its safety over the arms, largest first, and its noise.

    The noise is the half-width of an unpaired 95% interval for a difference between two arms.
    """
    found = []
    for group in reference.groups:
        endpoint = f"{SAFETY}/{group}"
        values = [value for (_, of), value in reference.scores.items() if of == endpoint]
        half = CONFIDENCE * math.sqrt(sum(variance(reference, endpoint, v) for v in (min(values), max(values))))
        found.append((group, round(max(values) - min(values), 4), half))
    return sorted(found, key=lambda entry: -entry[1])
