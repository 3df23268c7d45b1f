"""What did this study find? In plain sentences that claim no more than the intervals show."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from datatrial.effects import ArmScore, Contrast
from datatrial.records import DataCard
from datatrial.report._findings import Findings
from datatrial.report._html import render
from datatrial.report.analysis import Analysis, Claim
from datatrial.report.headlines import headline_of
from datatrial.report.page import MissingRun
from datatrial.report.tables import ONE_ANSWER, doubts, said
from datatrial.report.training_health import health
from datatrial.report.wording import difference, listed, plural
from datatrial.statistics.endpoints import endpoint_of, is_of
from datatrial.statistics.families import ADDED, CONFIRMATORY, EXPLORATORY, METHODS
from datatrial.statistics.verdict import NOT_TESTED, UNDETECTED

TITLE = "What this study found"
OUTCOMES = ("contradicted", "shown", "undecided", NOT_TESTED)  # in the order in which they are told
LONGEST_REASON = 240  # characters shown of why something is missing; all of it is there to unfold
FICTIONAL = "micro-world"  # how the origin of fictional data sets begins
FEW_SEEDS = 3  # below it, seeds say so little that only large differences can be detected


def body(findings: Findings) -> Markup:
    analysis, added = findings.analysis, {variant.name for variant in findings.settings.variants}
    return render(
        "summary.html",
        missing=missing(findings),
        headline=headline(analysis),
        claims=[
            (claim, in_words(claim), [headline_of(part, analysis) for part in claim.parts]) for claim in analysis.claims
        ],
        main_question=main_question(analysis),
        baseline=analysis.baseline,
        arms=[(arm, against_baseline(analysis, arm)) for arm in analysis.others if arm not in added],
        cautions=cautions(findings),
    )


@dataclass(frozen=True)
class Lack:
    """A line on something that has no result."""

    what: str  # the arm and its seed, and the benchmarks unless it is all of them
    why: str  # the first line of the reason
    more: str  # the whole of a reason that is longer


def missing(findings: Findings) -> list[Lack]:
    """What the study names and has no result: runs, or some benchmarks of them, and arms without any score."""
    known = list(findings.settings.missing)
    named = {*findings.analysis.arms, *(part.arm for part in known)}
    known += [
        MissingRun(arm=arm.name, seed=None, reason="has no scores")
        for arm in findings.settings.arms
        if arm.name not in named
    ]
    together: dict[tuple[str, int | None, str], list[str]] = {}
    for part in known:
        together.setdefault((part.arm, part.seed, part.reason), []).append(part.benchmark)
    return [_lack(arm, seed, reason, lacking) for (arm, seed, reason), lacking in together.items()]


def _lack(arm: str, seed: int | None, reason: str, benchmarks: Sequence[str]) -> Lack:
    run = arm if seed is None else f"{arm}, seed {seed}"
    what = f"{run}: " if "" in benchmarks else f"{run}: {listed(benchmarks)} — "
    first = reason.strip().partition("\n")[0]
    shown = first if len(first) <= LONGEST_REASON else f"{first[:LONGEST_REASON].rstrip()} …"
    return Lack(what, shown, "" if shown == reason.strip() else reason.strip())


def main_question(analysis: Analysis) -> list[str]:
    """Which declared contrasts are on primary benchmarks and which are exploratory; nothing where none is primary."""
    if not analysis.primary:
        return []
    declared = [part for claim in analysis.claims for part in claim.parts]
    main = [part for part in declared if analysis.is_primary(part.endpoint)]
    rest = [part for part in declared if not analysis.is_primary(part.endpoint)]
    sentences = [f"The study's main question is about {listed(analysis.primary)} (primary): {_tally(main)}."]
    if rest:
        places = listed(list(dict.fromkeys(part.endpoint for part in rest)))
        sentences.append(f"What is declared on {places} is exploratory: {_tally(rest)}.")
    return sentences


def _tally(parts: Sequence[Contrast]) -> str:
    if not parts:
        return "no contrast was declared there"
    counts = Counter(said(part) for part in parts)
    words = [*OUTCOMES, *(word for word in counts if word not in OUTCOMES)]
    told = [f"{counts[word]} {word}" for word in words if counts[word]]
    return f"{plural(len(parts), 'declared contrast')}, {listed(told)}"


def headline(analysis: Analysis) -> str:
    """One sentence on the claims; where the study makes none, on the arms."""
    judged = [claim for claim in analysis.claims if claim.outcome]
    if judged:
        counts = Counter(claim.outcome for claim in judged)
        said_of = {"shown": "bears out {}", "contradicted": "speaks against {}", "undecided": "leaves {} undecided"}
        parts = [words.format(counts[outcome]) for outcome, words in said_of.items() if counts[outcome]]
        return f"Of the study's {plural(len(judged), 'claim')}, this run {listed(parts)}."
    if not _compared(analysis):
        nothing = "No arm could be compared" if analysis.others else "There is no arm to compare"
        return f"{nothing} with {analysis.baseline}."
    moved = [arm for arm in analysis.others if set(analysis.verdicts(arm, analysis.endpoints)) & {"better", "worse"}]
    benchmark = "benchmark" if analysis.endpoints == analysis.benchmarks else "benchmark or their mean"
    if not moved:
        everything = _compared(analysis) == len(analysis.others) * len(analysis.benchmarks)
        where = f"on any {benchmark}" if everything else "wherever they could be compared"
        return f"No arm differs detectably from {analysis.baseline} {where}."
    differ = "differ" if len(moved) > 1 else "differs"
    return f"{listed(moved)} {differ} detectably from {analysis.baseline} on at least one {benchmark}."


def in_words(claim: Claim) -> str:
    """How far the contrasts behind a claim bear it out, and where."""
    pairs = {(part.arm, part.against) for part in claim.parts}
    places: dict[str, list[str]] = {}
    for part in claim.parts:
        places.setdefault(said(part), []).append(_place(part, alone=len(pairs) == 1))
    if claim.outcome == "":
        return _sentence([f"{verdict} on {listed(found)}" for verdict, found in places.items()])
    if set(places) == {"shown"}:
        whole = "The difference" if len(claim.parts) == 1 else f"Each of the {len(claim.parts)} differences"
        return f"{whole} it rests on is shown: {listed(places['shown'])}."
    return _sentence([f"{word} on {listed(places[word])}" for word in OUTCOMES if word in places])


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _place(part: Contrast, alone: bool) -> str:
    return part.endpoint if alone else f"{part.endpoint} ({part.arm} against {part.against})"


def against_baseline(analysis: Analysis, arm: str) -> str:
    """What is said of an arm on all benchmarks and their mean, and of which groups its safety changed."""
    verdicts = analysis.verdicts(arm, analysis.endpoints)
    if not verdicts:
        return "no results to compare."
    words = {"better": "detectably better on", "worse": "detectably worse on"}
    parts = [
        f"{text} {listed([_with_interval(analysis, arm, on) for on in verdicts[word]])}"
        for word, text in words.items()
        if word in verdicts
    ]
    if rest := verdicts.get(UNDETECTED):
        parts.append(f"{UNDETECTED} on {listed(rest)}")
    return "; ".join([*parts, *(_of_groups(analysis, arm, on) for on in analysis.safety_benchmarks)]) + "."


def _with_interval(analysis: Analysis, arm: str, endpoint: str) -> str:
    delta = analysis.delta(arm, endpoint)
    return f"{endpoint} ({difference(delta, analysis.scale(endpoint))})" if delta else endpoint


def _of_groups(analysis: Analysis, arm: str, benchmark: str) -> str:
    """For whom: the groups for which an arm is safer or less safe."""
    groups = analysis.groups(benchmark)
    verdicts = analysis.verdicts(arm, [endpoint_of(benchmark, group) for group in groups])
    changed = {
        said_of: [endpoint.removeprefix(f"{benchmark}/") for endpoint in verdicts[verdict]]
        for verdict, said_of in (("better", "safer"), ("worse", "less safe"))
        if verdict in verdicts
    }
    told = [
        f"{said_of} for {'all' if len(found) == len(groups) else f'{len(found)} of'} {plural(len(groups), 'group')}"
        + (f" ({listed(found)})" if len(found) < len(groups) else "")
        for said_of, found in changed.items()
    ]
    return listed(told) if told else f"for none of {plural(len(groups), 'group')} a change of safety was detected"


def cautions(findings: Findings) -> list[str]:
    """What a reader must know before believing the above."""
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
    if _compared(analysis):
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


def _compared(analysis: Analysis) -> int:
    return sum(analysis.delta(arm, e) is not None for arm in analysis.others for e in analysis.benchmarks)


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
    parts = [f"{plural(tested[CONFIRMATORY], 'declared comparison')} by Holm's method"] * bool(tested[CONFIRMATORY])
    others = "other comparison" if tested[CONFIRMATORY] else "comparison"
    parts += [f"{plural(tested[EXPLORATORY], others)}, exploratory, by Benjamini and Hochberg's method"] * bool(
        tested[EXPLORATORY]
    )
    parts += [f"{tested[ADDED]} of controls and sweeps by themselves, likewise"] * bool(tested[ADDED])
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
