"""What did this study find? In plain sentences that claim no more than the intervals show."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from datatrial.effects import Contrast
from datatrial.report._findings import Findings
from datatrial.report._html import render
from datatrial.report.analysis import Analysis, Claim
from datatrial.report.cautions import cautions
from datatrial.report.headlines import headline_of
from datatrial.report.page import MissingRun
from datatrial.report.shown import left_out, shown
from datatrial.report.tables import said
from datatrial.report.wording import difference, listed, plural
from datatrial.statistics.endpoints import endpoint_of
from datatrial.statistics.verdict import NOT_TESTED, UNDETECTED

TITLE = "What this study found"
OUTCOMES = ("contradicted", "shown", "undecided", NOT_TESTED)  # in the order in which they are told
MOST_MISSING = 100  # runs without results that are named
LONGEST_REASON = 240  # characters shown of why something is missing; all of it is there to unfold


def body(findings: Findings) -> Markup:
    analysis, added = findings.analysis, {variant.name for variant in findings.settings.variants}
    told, lacking = shown(findings).analysis, missing(findings)
    return render(
        "summary.html",
        missing=lacking[:MOST_MISSING],
        more_missing=len(lacking[MOST_MISSING:]),
        headline=headline(analysis),
        left_out=left_out(findings),
        claims=[
            (claim, in_words(claim), [headline_of(part, analysis) for part in claim.parts]) for claim in told.claims
        ],
        main_question=main_question(analysis),
        baseline=analysis.baseline,
        arms=[(arm, against_baseline(analysis, arm)) for arm in told.others if arm not in added],
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
    if not analysis.compared:
        nothing = "No arm could be compared" if analysis.others else "There is no arm to compare"
        return f"{nothing} with {analysis.baseline}."
    moved = [arm for arm in analysis.others if set(analysis.verdicts(arm, analysis.endpoints)) & {"better", "worse"}]
    benchmark = "benchmark" if analysis.endpoints == analysis.benchmarks else "benchmark or their mean"
    if not moved:
        everything = analysis.compared == len(analysis.others) * len(analysis.benchmarks)
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
