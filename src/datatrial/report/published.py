"""Published results, and what was measured beside them."""

from collections.abc import Sequence

from datatrial.effects import Contrast
from datatrial.reference import Reference
from datatrial.reference.evidence import DISPUTED, HOW, evidence, fluctuations, marks
from datatrial.report.analysis import Analysis, Claim
from datatrial.report.tables import TextTable, expected, said
from datatrial.report.wording import difference, interval, listed, number


def published_tables(reference: Reference, analysis: Analysis | None = None) -> list[TextTable]:
    """A publication's scores and claims and what its numbers carry; with an analysis, what was measured."""
    return [*score_tables(reference, analysis), _claims_table(reference, analysis), fluctuations_table(reference)]


def score_tables(reference: Reference, analysis: Analysis | None = None) -> list[TextTable]:
    """Benchmarks and safety by group as published; with an analysis, after an arrow, as measured."""
    arrow = " After the arrow: measured in this study, with its 95% interval." if analysis else ""
    disputed = [f" {name}: {b.disputed.strip()}" for name, b in reference.benchmarks.items() if b.disputed]
    benchmarks = f"Points. From: {reference.about['source']}.{arrow}{''.join(disputed)}"
    safety = f"Points (100 × the score); higher is safer.{arrow}"
    return [
        _scores(reference, analysis, "Published benchmarks", list(reference.benchmarks), benchmarks),
        _scores(reference, analysis, "Published safety by group", reference.safety_endpoints, safety),
    ]


def published_claims(reference: Reference) -> list[tuple[Claim, str]]:
    """The publication's claims, each with the differences between its own scores, and what to know of it."""
    return [(Claim(claim.text, evidence(reference, claim)), claim.note) for claim in reference.claims]


def measured(analysis: Analysis, published: Contrast) -> Contrast | None:
    """What a study with the same arms and benchmarks measured where a publication has a difference."""
    wanted = (published.arm, published.against, published.endpoint)
    found = [c for c in analysis.contrasts if (c.arm, c.against, c.endpoint) == wanted and c.items]
    return found[0] if found else None


def _scores(
    reference: Reference, analysis: Analysis | None, title: str, endpoints: Sequence[str], note: str
) -> TextTable:
    arms = [arm for arm in reference.arms if any((arm, endpoint) in reference.scores for endpoint in endpoints)]
    rows = tuple((arm, *(_cell(reference, analysis, arm, endpoint) for endpoint in endpoints)) for arm in arms)
    return TextTable(title, ("arm", *(_heading(reference, endpoint) for endpoint in endpoints)), rows, note)


def _heading(reference: Reference, endpoint: str) -> str:
    benchmark = reference.benchmarks.get(endpoint)
    if benchmark:
        return f"{endpoint} ({DISPUTED})" if benchmark.disputed else endpoint
    return endpoint.partition("/")[2] or "mean of groups"


def _cell(reference: Reference, analysis: Analysis | None, arm: str, endpoint: str) -> str:
    if (arm, endpoint) not in reference.scores:
        return "–"
    parts = [f"{100 * reference.scores[arm, endpoint]:.2f}"]
    if said_of := [mark for mark in marks(reference, arm, endpoint) if mark != DISPUTED]:
        parts.append(f"({', '.join(said_of)})")
    if score := analysis.score(arm, endpoint) if analysis else None:
        parts.append(f"→ {number(score.estimate, 100)} {interval(score.low, score.high, 100)}")
    return " ".join(parts)


def _claims_table(reference: Reference, analysis: Analysis | None) -> TextTable:
    rows = []
    for claim, _ in published_claims(reference):
        for part in claim.parts:
            here = measured(analysis, part) if analysis else None
            told = (f"{claim.text}: {claim.outcome}", f"{part.arm} − {part.against}", part.endpoint)
            beside = (difference(here, 100) if here else "–",) if analysis else ()
            rows.append((*told, difference(part, 100), expected(part), readings(reference, part), *beside))
    columns = ("claim", "contrast", "on", "published difference", "expected", "its numbers say")
    return TextTable(
        "What the published numbers carry", (*columns, *(["measured"] if analysis else [])), tuple(rows), HOW
    )


def readings(reference: Reference, contrast: Contrast) -> str:
    """What came out of a claimed difference; where the direction is disputed, in both senses."""
    benchmark = reference.benchmarks.get(contrast.endpoint)
    disputed = benchmark is not None and benchmark.disputed
    return f"{said(contrast)} as read there; as accuracy: {contrast.verdict}" if disputed else said(contrast)


def fluctuations_table(reference: Reference) -> TextTable:
    """How far each group's published safety moves, beside the noise of such a difference."""
    named = reference.about["fluctuating"]
    rows = tuple(
        (group, f"{100 * spread:.0f}", f"±{100 * noise:.1f}", "named" if group in named else "")
        for group, spread, noise in fluctuations(reference)
    )
    note = (
        f"Points between the least and the most safe of its models. The publication finds {listed(named)} to fluctuate "
        "most; noise is the half-width of an unpaired 95% interval of one difference, each score being rounded besides."
    )
    return TextTable(
        "How much each group's safety moves between the published models",
        ("group", "range", "noise", "publication"),
        rows,
        note,
    )
