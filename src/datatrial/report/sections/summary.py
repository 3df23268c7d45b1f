"""What did this study find? In plain sentences that claim no more than the intervals show."""

from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from datatrial.records import ArmScore, Contrast
from datatrial.report._findings import Findings
from datatrial.report._html import render
from datatrial.report.analysis import Analysis, Claim
from datatrial.report.tables import ALWAYS_SAME, said
from datatrial.report.wording import listed, plural

TITLE = "What this study found"
FEW_SEEDS = 5  # below it, a bootstrap over seeds is too narrow to be taken at its word


def body(findings: Findings) -> Markup:
    analysis = findings.analysis
    return render(
        "summary.html",
        missing=findings.settings.missing,
        headline=headline(analysis),
        claims=[(claim, in_words(claim)) for claim in analysis.claims],
        baseline=analysis.baseline,
        arms=[(arm, against_baseline(analysis, arm)) for arm in analysis.others],
        cautions=cautions(findings),
    )


def headline(analysis: Analysis) -> str:
    """One sentence on the claims; where the study makes none, on the arms."""
    judged = [claim for claim in analysis.claims if claim.outcome]
    if judged:
        counts = Counter(claim.outcome for claim in judged)
        said_of = {"shown": "bears out {}", "contradicted": "speaks against {}", "undecided": "leaves {} undecided"}
        parts = [words.format(counts[outcome]) for outcome, words in said_of.items() if counts[outcome]]
        return f"Of the study's {plural(len(judged), 'claim')}, this run {listed(parts)}."
    if not _compared(analysis):
        return f"There is no arm to compare with {analysis.baseline}."
    moved = [arm for arm in analysis.others if set(analysis.verdicts(arm, analysis.benchmarks)) & {"better", "worse"}]
    if not moved:
        return f"No arm differs detectably from {analysis.baseline} on any benchmark."
    differ = "differ" if len(moved) > 1 else "differs"
    return f"{listed(moved)} {differ} detectably from {analysis.baseline} on at least one benchmark."


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
    order = ("contradicted", "shown", "undecided", "not tested")
    return _sentence([f"{word} on {listed(places[word])}" for word in order if word in places])


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _place(part: Contrast, alone: bool) -> str:
    return part.endpoint if alone else f"{part.endpoint} ({part.arm} against {part.against})"


def against_baseline(analysis: Analysis, arm: str) -> str:
    """What is said of an arm on all benchmarks."""
    verdicts = analysis.verdicts(arm, analysis.benchmarks)
    if not verdicts:
        return "no results to compare."
    words = {"better": "detectably better on", "worse": "detectably worse on"}
    parts = [f"{text} {listed(verdicts[word])}" for word, text in words.items() if word in verdicts]
    if rest := verdicts.get("no detectable difference"):
        parts.append(f"no detectable difference on {listed(rest)}")
    return "; ".join(parts) + "."


def cautions(findings: Findings) -> list[str]:
    """What a reader must know before believing the above."""
    analysis = findings.analysis
    scores = [s for e in analysis.benchmarks for a in analysis.arms if (s := analysis.score(a, e))]
    said_of = [*_toy(findings.settings.about), *_near_chance(scores), *_one_answer(scores), *_seeds(findings.seeds)]
    if compared := _compared(analysis):
        said_of.append(
            "“Detectable” means that a 95% interval excludes zero. Each interval stands alone: of the "
            f"{plural(compared, 'comparison')} with {analysis.baseline}, about one in twenty would exclude zero by "
            "chance if nothing differed. “No detectable difference” is not evidence of equality."
        )
    return said_of


def _compared(analysis: Analysis) -> int:
    return sum(analysis.delta(arm, e) is not None for arm in analysis.others for e in analysis.benchmarks)


def _toy(about: str) -> list[str]:
    if "toy" not in about.lower():
        return []
    return ["This is a toy study: it shows how such a trial works, and its numbers say nothing of real models."]


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
    constant = [f"{s.arm} on {s.benchmark}" for s in scores if (s.same_answer or 0) >= ALWAYS_SAME]
    if not constant:
        return []
    return [
        f"Nearly always the same answer position, whatever the question: {listed(constant)}. "
        "Such a score is the share of that answer, not knowledge."
    ]


def _seeds(seeds: Sequence[int]) -> list[str]:
    if len(seeds) <= 1:
        return ["With a single seed, intervals are over items only: another training run may come out differently."]
    if len(seeds) < FEW_SEEDS:
        return [f"{len(seeds)} seeds say little of how training runs vary: the intervals are likely too narrow."]
    return []
