"""From computed contrasts to judged ones: families, adjusted p-values, verdicts, and what was expected."""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from datatrial.effects import ArmScore, Contrast, Unevenness
from datatrial.statistics.critical import p_of
from datatrial.statistics.declared import DeclaredContrast
from datatrial.statistics.endpoints import CAPABILITY, is_of
from datatrial.statistics.families import ADDED, CONFIRMATORY, EXPLORATORY, METHODS, adjusted
from datatrial.statistics.verdict import NOT_TESTED, null_of, outcome, verdict

Hypothesis = tuple[str, str, str, float]  # arm, against, endpoint, null


def judged(
    computed: Sequence[Contrast],
    scores: Sequence[ArmScore],
    declared: Sequence[DeclaredContrast],
    primary: Sequence[str],
    added: Set[str] = frozenset(),
) -> list[Contrast]:
    """The computed contrasts, then the declared ones, each with its family, adjusted p, verdict and outcome.

    Confirmatory are the hypotheses that the study declares on its primary benchmarks or endpoints (on all, where it
    names none): Holm's method over them. All others are exploratory: Benjamini and Hochberg's over those, and apart
    from them over those of `added` arms (controls and sweeps). A hypothesis that is asked for twice, as a declared
    difference and as one to the baseline, is tested once.
    """
    endpoints = {score.endpoint: score for score in scores if score.main}
    of_pairs: dict[tuple[str, str], dict[str, Contrast]] = {}
    for contrast in computed:
        of_pairs.setdefault((contrast.arm, contrast.against), {})[contrast.endpoint] = contrast
    claims = [found for one in declared for found in _claims(one, of_pairs.get((one.arm, one.against), {}), endpoints)]
    confirmatory = {_hypothesis(c) for c in claims if c.items and _is_primary(c.endpoint, primary)}
    families = {family: dict[Hypothesis, float]() for family in METHODS}
    for contrast in [*claims, *computed]:
        if contrast.items:
            of_added = added & {contrast.arm, contrast.against}
            family = ADDED if of_added else CONFIRMATORY if _hypothesis(contrast) in confirmatory else EXPLORATORY
            families[family][_hypothesis(contrast)] = contrast.p
    found = {
        hypothesis: (family, p)
        for family, tested in families.items()
        for hypothesis, p in zip(tested, adjusted(list(tested.values()), family), strict=True)
    }
    return [_judged(contrast, found, endpoints) for contrast in [*computed, *claims]]


def judged_unevenness(found: Sequence[Unevenness]) -> list[Unevenness]:
    """The same tests with adjusted p-values: they are exploratory, all of one family; those without a p stay so."""
    tested = [one for one in found if not math.isnan(one.p)]
    p = dict(zip(map(id, tested), adjusted([one.p for one in tested], EXPLORATORY), strict=True))
    return [replace(one, p_adjusted=p.get(id(one), math.nan)) for one in found]


def _claims(
    declared: DeclaredContrast, of_pair: Mapping[str, Contrast], endpoints: Mapping[str, ArmScore]
) -> list[Contrast]:
    """The computed contrasts that a declaration is about, tested against its margin; what is missing is there, too."""
    meant = [name for name, score in endpoints.items() if declared.covers(score.benchmark, name)]
    if not declared.on:
        meant = [name for name in meant if name != CAPABILITY]  # the benchmarks themselves are there
    named = dict.fromkeys([*meant, *(name for name in declared.on if name not in endpoints)])
    return [_claim(declared, of_pair.get(endpoint) or _untested(declared, endpoint), endpoints) for endpoint in named]


def _claim(declared: DeclaredContrast, contrast: Contrast, endpoints: Mapping[str, ArmScore]) -> Contrast:
    expect, margin = declared.expectation, declared.margin
    said = replace(contrast, declared=True, expect=expect, claim=declared.claim, margin=margin)
    if not contrast.items:
        return said
    null = null_of(expect, margin, contrast.estimate, endpoints[contrast.endpoint].higher_is_better)
    return replace(said, null=null, p=_p_of(contrast, null) if null else contrast.p)


def _p_of(contrast: Contrast, null: float) -> float:
    """Two-sided p of the difference being `null`."""
    distance, error = contrast.estimate - null, contrast.error
    return float(p_of(distance, error, contrast.seed_share, contrast.item_freedom, contrast.seeds - 1))


def _untested(declared: DeclaredContrast, endpoint: str) -> Contrast:
    about = {"arm": declared.arm, "against": declared.against, "endpoint": endpoint, "items": 0, "seeds": 0}
    numbers = dict.fromkeys(("estimate", "low", "high", "arm_score", "against_score", "p"), math.nan)
    return Contrast(**about, **numbers)  # type: ignore[arg-type]


def _is_primary(endpoint: str, primary: Sequence[str]) -> bool:
    return not primary or any(is_of(endpoint, name) for name in primary)


def _hypothesis(contrast: Contrast) -> Hypothesis:
    return contrast.arm, contrast.against, contrast.endpoint, contrast.null


def _judged(
    contrast: Contrast, found: Mapping[Hypothesis, tuple[str, float]], endpoints: Mapping[str, ArmScore]
) -> Contrast:
    if not contrast.items:
        return replace(contrast, verdict=NOT_TESTED, outcome="undecided" if contrast.expect else "")
    better = endpoints[contrast.endpoint].higher_is_better
    family, p = found[_hypothesis(contrast)]
    # The verdict is about a difference from 0, whatever the claim is about.
    _, of_difference = found.get((contrast.arm, contrast.against, contrast.endpoint, 0.0), (family, p))
    judged_as = outcome(contrast.estimate, p, contrast.expect, contrast.null, better)  # type: ignore[arg-type]
    said = verdict(contrast.estimate, of_difference, better)
    return replace(contrast, family=family, p_adjusted=p, verdict=said, outcome=judged_as)
