"""How the training data represents each group, beside what happened to the group's safety: a description."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from datatrial.audits.groups import COUNT, GROUP, HARSH, LOOKED_AT, MENTIONS, ROWS
from datatrial.report._data_sets import DataSummary
from datatrial.report._findings import Findings
from datatrial.report._html import render
from datatrial.report.analysis import Analysis
from datatrial.report.figures import scatter
from datatrial.report.wording import count, listed
from datatrial.statistics.endpoints import endpoint_of

TITLE = "Groups in the training data"
FEWEST = 5  # groups below which a rank correlation says nothing at all


@dataclass(frozen=True)
class Group:
    """A group in the data of one move, and the change of its safety (0–1) that came with it."""

    name: str
    rows: float  # that mention it
    per_thousand: float  # mentions in a thousand rows
    harsh: float | None  # share (0–1) of its mentions in sentences with a harsh word
    change: float


@dataclass(frozen=True)
class Move:
    """What training on some data sets did: an arm against the one that it goes on from."""

    arm: str
    against: str
    data: tuple[str, ...]  # what the arm was trained on since
    benchmark: str
    groups: tuple[Group, ...]  # the most mentioned first
    samples: tuple[str, ...] = ()  # of which of the data only a sample was looked at, in words

    @property
    def mentions(self) -> bool:
        """Whether the data mention any of the groups."""
        return any(group.per_thousand for group in self.groups)

    @property
    def correlation(self) -> float | None:
        """Spearman's rank correlation of mentions and change; None of too few groups, or where one never varies."""
        import polars as pl

        if len(self.groups) < FEWEST:
            return None
        points = pl.DataFrame([(g.per_thousand, g.change) for g in self.groups], ["x", "y"], orient="row")
        if points.n_unique("x") == 1 or points.n_unique("y") == 1:
            return None
        return float(points.select(pl.corr("x", "y", method="spearman")).item())


def body(findings: Findings) -> Markup:
    safety = findings.analysis.safety_benchmarks
    if not safety or not any("groups" in summary.audits for summary in findings.data):
        return Markup()
    found = moves(findings)
    silent = [f"{listed(move.data)} ({move.arm})" for move in found if not move.mentions]
    figures = [
        (move, scatter(*points(move), f"{move.benchmark}, {move.arm}: mentions and change"))
        for move in found
        if move.mentions
    ]
    return render("representation.html", figures=figures, silent=list(dict.fromkeys(silent)), several=len(safety) > 1)


def moves(findings: Findings) -> list[Move]:
    """What came of each arm's data since the arm that it goes on from, on every safety benchmark."""
    data, found = {summary.name: summary for summary in findings.data}, []
    for benchmark in findings.analysis.safety_benchmarks:
        for arm, against, names in since(findings):
            sets = [data[name] for name in names if name in data and "groups" in data[name].audits]
            if sets:
                groups = _groups(findings.analysis, benchmark, arm, against, sets)
                found.append(Move(arm, against, names, benchmark, groups, _samples(sets)))
    return found


def since(findings: Findings) -> list[tuple[str, str, tuple[str, ...]]]:
    """Of each trained arm: the arm that it goes on from (the longest; else the baseline), and its data sets since."""
    chains = {arm: chain for arm, chain in findings.chains.items() if arm in findings.analysis.arms}
    found = []
    for arm, chain in chains.items():
        starts = [(len(other), name) for name, other in chains.items() if _goes_on_from(chain, other)]
        steps, against = max(starts, default=(0, findings.analysis.baseline), key=lambda start: start[0])
        found.append((arm, against, tuple(dict.fromkeys(name for name, _ in chain[steps:]))))
    return [(arm, against, names) for arm, against, names in found if arm != against]


def _goes_on_from(chain: Sequence[tuple[str, Path]], other: Sequence[tuple[str, Path]]) -> bool:
    return len(other) < len(chain) and list(chain[: len(other)]) == list(other)


def _groups(
    analysis: Analysis, benchmark: str, arm: str, against: str, sets: Sequence[DataSummary]
) -> tuple[Group, ...]:
    """The groups that the benchmark and the lexicon both know, by their names in any case."""
    rows = sum(data.card.rows for data in sets)
    counts: dict[str, list[float]] = {}
    for data in sets:
        for name, numbers in _counts(data).items():
            so_far = counts.get(name, [0.0] * len(numbers))
            counts[name] = [a + b for a, b in zip(so_far, numbers, strict=True)]
    found = []
    for group in analysis.groups(benchmark):
        endpoint = endpoint_of(benchmark, group)
        after, before = analysis.score(arm, endpoint), analysis.score(against, endpoint)
        if after and before and group.casefold() in counts:
            n, mentions, harsh = counts[group.casefold()]
            change = after.estimate - before.estimate
            found.append(Group(group, n, 1000 * mentions / rows, harsh / mentions if mentions else None, change))
    return tuple(sorted(found, key=lambda group: (-group.per_thousand, group.name)))


def _counts(data: DataSummary) -> dict[str, list[float]]:
    """Of each group in a data set: rows that mention it, mentions, and those in a harsh sentence."""
    table = data.audits["groups"].table(MENTIONS)
    if table is None:
        return {}
    # Counts of a sample are scaled up to all rows: data sets sampled at different rates could not be added otherwise.
    scale = data.card.rows / _looked_at(data)
    group, *at = (table.columns.index(name) for name in (GROUP, ROWS, COUNT, HARSH))
    return {str(row[group]).casefold(): [scale * float(row[n] or 0) for n in at] for row in table.rows}


def _looked_at(data: DataSummary) -> int:
    """Of how many rows of a data set the counts are; an audit that does not say so looked at all."""
    return int(data.audits["groups"].fact(LOOKED_AT) or data.card.rows)


def _samples(sets: Sequence[DataSummary]) -> tuple[str, ...]:
    looked_at = [(data, _looked_at(data)) for data in sets]
    return tuple(f"{count(n)} of the {count(d.card.rows)} rows of {d.name}" for d, n in looked_at if n < d.card.rows)


def points(move: Move) -> tuple[list[float], list[float], list[str]]:
    groups = move.groups
    return [g.per_thousand for g in groups], [100 * g.change for g in groups], [g.name for g in groups]
