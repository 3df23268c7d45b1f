"""What a reader must know before believing a report: on the page, on the console, and in what is exported."""

import math
from collections.abc import Iterable, Sequence

from datatrial.effects import ArmScore
from datatrial.records import DataCard
from datatrial.report._findings import Findings
from datatrial.report.analysis import Analysis
from datatrial.report.tables import ONE_ANSWER, doubts
from datatrial.report.training_health import health
from datatrial.report.wording import listed, plural
from datatrial.statistics.endpoints import is_of
from datatrial.statistics.families import ADDED, CONFIRMATORY, EXPLORATORY, METHODS

FICTIONAL = "micro-world"  # how the origin of fictional data sets begins
FEW_SEEDS = 3  # below it, seeds say so little that only large differences can be detected


def cautions(findings: Findings) -> list[str]:
    """One sentence or two on each doubt that there is."""
    analysis = findings.analysis
    scores = [s for e in analysis.benchmarks for a in analysis.arms if (s := analysis.score(a, e))]
    said_of = [
        *_toy(data.card for data in findings.data),
        *_near_chance(scores),
        *_one_answer(scores),
        *_without_interval(scores),
        *_seeds(findings.seeds),
        *_fragile(analysis),
        *_seen(findings),
        *_trouble(findings),
    ]
    if analysis.compared:
        said_of.append(_families(analysis))
    return said_of


def _seen(findings: Findings) -> list[str]:
    """Items of benchmarks that an arm was trained on."""
    told = [
        f"{plural(seen, 'item')} of {benchmark} ({arm})"
        for benchmark in findings.analysis.benchmarks
        for arm, names in findings.contaminated.items()
        if (seen := sum(is_of(name, benchmark) for name in names))
    ]
    return [f"Seen in training: {listed(told)}. Scores without them stand beside the full ones."] if told else []


def _trouble(findings: Findings) -> list[str]:
    found = [f"{training.title} ({listed(training.arms)})" for training in findings.trainings if health(training)]
    return [f"Training shows signs of trouble, named there: {listed(found)}."] if found else []


def _toy(cards: Iterable[DataCard]) -> list[str]:
    if not any(card.source.origin.startswith(FICTIONAL) for card in cards):
        return []
    return [
        "This is a toy: a fictional world stands in for real data. It shows how such a trial works; "
        "its numbers say nothing of real models."
    ]


def _near_chance(scores: Sequence[ArmScore]) -> list[str]:
    with_chance = [score for score in scores if score.chance is not None]
    near = [score for score in with_chance if score.near_chance]
    if not near:
        return []
    if len(near) == len(with_chance):
        return ["Every score with a known chance level is near it: this run cannot tell good answers from guesses."]
    by_benchmark: dict[str, list[str]] = {}
    for score in near:
        by_benchmark.setdefault(score.benchmark, []).append(score.arm)
    where = "; ".join(f"{benchmark} ({listed(arms)})" for benchmark, arms in by_benchmark.items())
    return [f"Scores near chance, whose interval includes the score of guessing, say little: {where}."]


def _one_answer(scores: Sequence[ArmScore]) -> list[str]:
    constant = [f"{s.arm} on {s.benchmark}" for s in scores if ONE_ANSWER in doubts(s)]
    if not constant:
        return []
    return [
        f"Nearly always the same answer position, whatever the question: {listed(constant)}. "
        "Such a score is the share of that answer, not knowledge."
    ]


def _without_interval(scores: Sequence[ArmScore]) -> list[str]:
    found = list(dict.fromkeys(score.benchmark for score in scores if math.isnan(score.low)))
    if not found:
        return []
    return [f"No interval: what {listed(found)} measures is not a mean over items, so arms are not compared on it."]


def _seeds(seeds: Sequence[int]) -> list[str]:
    if len(seeds) <= 1:
        return [
            "With a single seed all is said of these very models: training again, with another seed, may come out "
            "differently, and nothing here says by how much."
        ]
    if len(seeds) < FEW_SEEDS:
        return [
            f"{len(seeds)} seeds say little of how training runs vary, and the intervals are as wide as that makes "
            "them: with three seeds much smaller differences would be detected."
        ]
    return []


def _families(analysis: Analysis) -> str:
    tested = {
        family: len({(c.arm, c.against, c.endpoint, c.null) for c in analysis.contrasts if c.family == family})
        for family in METHODS
    }
    others = "other comparison" if tested[CONFIRMATORY] else "comparison"
    words = {
        CONFIRMATORY: f"{plural(tested[CONFIRMATORY], 'declared comparison')} by Holm's method",
        EXPLORATORY: f"{plural(tested[EXPLORATORY], others)}, exploratory, by Benjamini and Hochberg's method",
        ADDED: f"{tested[ADDED]} of controls and sweeps by themselves, likewise",
    }
    parts = [said for family, said in words.items() if tested[family]]
    return (
        f"A difference is called detectable where p, adjusted for the number of comparisons, is at most 5%: "
        f"{listed(parts)}. Intervals are of each comparison alone, so that one may exclude zero and yet not count. "
        "“No detectable difference” is not evidence of equality."
    )


def _fragile(analysis: Analysis) -> list[str]:
    """Detectable differences that resampling does not tell from zero."""
    found = [
        f"{c.arm} against {c.against} on {c.endpoint}"
        for c in analysis.contrasts
        if not c.declared and c.verdict in ("better", "worse") and c.bootstrap_low <= 0 <= c.bootstrap_high
    ]
    if not found:
        return []
    return [f"A bootstrap over items and seeds, tried as a check, does not tell these from zero: {listed(found)}."]
