"""The results as tables: for the console and Markdown in words, for programs as CSV with every digit."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datatrial.effects import ArmScore, Contrast
from datatrial.report.analysis import Analysis
from datatrial.report.wording import MARKS, NO_INTERVAL, interval, number, probability, signed
from datatrial.statistics.endpoints import CAPABILITY, endpoint_of
from datatrial.statistics.verdict import NOT_TESTED

if TYPE_CHECKING:
    import polars as pl

NEAR_CHANCE = "≈ chance"
ONE_ANSWER = "one answer"
PRIMARY = "primary"
FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"  # how a text begins that a spreadsheet would compute (OWASP, CSV injection)
_MARKUP = re.compile(r"[\\`*|~]|\](?=[(\[])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # of Markdown, within a line
ALWAYS_SAME = 0.95  # share of items answered with one same position from which a score says nothing


@dataclass(frozen=True)
class TextTable:
    """A table of finished texts: the first column names the row, the others are its cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        lines = [self.columns, ("---", *["---:"] * (len(self.columns) - 1)), *self.rows]
        table = "\n".join("| " + " | ".join(_markdown_cell(cell) for cell in line) + " |" for line in lines)
        return f"**{_markdown_cell(self.title)}**\n\n{table}\n" + (
            f"\n{_markdown_cell(self.note)}\n" if self.note else ""
        )


def benchmark_table(analysis: Analysis, intervals: bool = True) -> TextTable:
    """Arms by benchmarks: the score, and the difference to the baseline, with its interval where there is room."""
    endpoints = analysis.endpoints
    rows = tuple((arm, *(_cell(analysis, arm, endpoint, intervals) for endpoint in endpoints)) for arm in analysis.arms)
    note = (
        "Points (100 × the 0–1 score), mean over seeds; difference to "
        f"{analysis.baseline}{' with its 95% interval' * intervals}; {MARKS['better']} detectably better, "
        f"{MARKS['worse']} worse."
    )
    headers = tuple(_with_metric(analysis, endpoint) for endpoint in endpoints)
    return TextTable("Benchmarks", ("arm", *headers), rows, note)


def safety_table(analysis: Analysis, benchmark: str, intervals: bool = True) -> TextTable:
    """Groups by arms for one group-safety benchmark: each group's safety and its difference to the baseline."""
    groups, arms = [*analysis.groups(benchmark), ""], analysis.arms
    rows = tuple(
        (group or "mean of groups", *(_cell(analysis, arm, endpoint_of(benchmark, group), intervals) for arm in arms))
        for group in groups
    )
    note = "Points; higher is safer. Compare arms with each other: 50 is no neutral value of this score."
    return TextTable(f"Safety by group: {benchmark}", ("group", *arms), rows, note)


def contrasts_table(analysis: Analysis, brief: bool = False) -> TextTable:
    """Every arm against the baseline on every benchmark's main metric, the mean of the safety groups, and capability.

    `brief` is for narrow places: without p-values, and without what could have been detected.
    """
    found = [analysis.delta(arm, endpoint) for endpoint in analysis.endpoints for arm in analysis.others]
    rows = tuple((f"{c.arm} on {c.endpoint}", *_numbers(analysis, c, brief), c.verdict) for c in found if c)
    evidence = () if brief else ("p", "adjusted p", "detectable")
    columns = ("comparison", "difference", "95% interval", *evidence, "items", "seeds", "verdict")
    detectable = "Detectable: the smallest true difference that would be found with probability 80%."
    return TextTable(f"Against {analysis.baseline}", columns, rows, "" if brief else detectable)


def claims_table(analysis: Analysis, brief: bool = False) -> TextTable:
    """The study's claims, each with its outcome, and the declared contrasts that it rests on; `brief`: without p."""
    rows = [
        (
            f"{claim.text.rstrip('.')}: {claim.outcome or 'reported'}",
            f"{c.arm} − {c.against}",
            _marked(analysis, c.endpoint),
            *_numbers(analysis, c, brief=True)[:2],
            *(() if brief else ("–" if c.verdict == NOT_TESTED else _probability(c.p_adjusted),)),
            *_judged(c),
        )
        for claim in analysis.claims
        for c in claim.parts
    ]
    evidence = () if brief else ("adjusted p",)
    columns = ("claim", "contrast", "on", "difference", "95% interval", *evidence, "expected", "outcome")
    note = "A claim is shown only if all its contrasts are, and contradicted if one of them is."
    return TextTable("Claims", columns, tuple(rows), note)


def expected(contrast: Contrast) -> str:
    """What was expected of a declared contrast, in words."""
    words = contrast.expect.replace("_", " ")
    return f"{words} (margin {100 * contrast.margin:g})" if contrast.margin else words


def said(contrast: Contrast) -> str:
    """What came out of a declared contrast, in words."""
    return contrast.verdict if contrast.verdict == NOT_TESTED or not contrast.outcome else contrast.outcome


def doubts(score: ArmScore) -> tuple[str, ...]:
    """Why a score may say little: near chance, one same answer to nearly every item, or no telling how exact it is."""
    constant = score.same_answer is not None and score.same_answer >= ALWAYS_SAME
    whole = math.isnan(score.low)
    return (NEAR_CHANCE,) * score.near_chance + (ONE_ANSWER,) * constant + (NO_INTERVAL,) * whole


def write_tables(analysis: Analysis, folder: Path) -> None:
    """Each table as Markdown, for people, and as CSV, for programs."""
    folder.mkdir(exist_ok=True)
    safety = [safety_table(analysis, benchmark) for benchmark in analysis.safety_benchmarks]
    texts = {
        "benchmarks": [benchmark_table(analysis)],
        "safety": safety,
        "contrasts": [contrasts_table(analysis)],
        "claims": [claims_table(analysis)] if analysis.claims else [],
    }
    for name, tables in texts.items():
        if tables:
            (folder / f"{name}.md").write_text("\n".join(t.markdown() for t in tables), encoding="utf-8")
            harmless(csv_table(analysis, name)).write_csv(folder / f"{name}.csv")


def csv_table(analysis: Analysis, name: str) -> "pl.DataFrame":
    """One table with every digit, on the endpoints' own scale: `benchmarks`, `safety`, `contrasts` or `claims`."""
    import polars as pl

    rows: dict[str, Iterable[Mapping[str, object]]] = {
        "benchmarks": (vars(s) for s in analysis.scores if not s.group),
        "safety": (vars(s) for s in analysis.scores if s.benchmark in analysis.safety_benchmarks),
        "contrasts": (vars(c) for c in analysis.contrasts if not c.declared),
        "claims": (
            {**vars(c), "claim": claim.text, "claim_outcome": claim.outcome}
            for claim in analysis.claims
            for c in claim.parts
        ),
    }
    return pl.DataFrame(list(rows[name]), infer_schema_length=None)


def harmless(frame: "pl.DataFrame") -> "pl.DataFrame":
    """The frame with an apostrophe before each text that a spreadsheet would take for a formula."""
    import polars as pl

    text = pl.col(pl.String)
    return frame.with_columns(pl.when(text.str.contains(FORMULA)).then(pl.lit("'") + text).otherwise(text).name.keep())


def _cell(analysis: Analysis, arm: str, endpoint: str, intervals: bool) -> str:
    score, delta, scale = analysis.score(arm, endpoint), analysis.delta(arm, endpoint), analysis.scale(endpoint)
    if score is None:
        return "–"
    parts = [number(score.estimate, scale)]
    if delta:
        bounds = f" {interval(delta.low, delta.high, scale)}" if intervals else ""
        parts += [f"({signed(delta.estimate, scale)}{bounds})", MARKS[delta.verdict]]
    return " ".join(part for part in (*parts, *doubts(score)) if part)


def _numbers(analysis: Analysis, contrast: Contrast, brief: bool) -> tuple[str, ...]:
    if contrast.verdict == NOT_TESTED:
        return ("–",) * (2 if brief else 5) + ("0", "0")
    scale = analysis.scale(contrast.endpoint)
    estimate, bounds = signed(contrast.estimate, scale), interval(contrast.low, contrast.high, scale)
    evidence = (_probability(contrast.p), _probability(contrast.p_adjusted), number(contrast.detectable, scale))
    return estimate, bounds, *(() if brief else evidence), str(contrast.items), str(contrast.seeds)


def _probability(p: float) -> str:
    return probability(p).removeprefix("= ")


def _with_metric(analysis: Analysis, endpoint: str) -> str:
    """A benchmark as the head of a column."""
    score = analysis.any_score(endpoint)
    said_of = ([score.metric] if score and endpoint != CAPABILITY else []) + [PRIMARY] * analysis.is_primary(endpoint)
    return f"{endpoint} ({', '.join(said_of)})" if said_of else endpoint


def _judged(contrast: Contrast) -> tuple[str, str]:
    return expected(contrast), said(contrast)


def _marked(analysis: Analysis, endpoint: str) -> str:
    return f"{endpoint} ({PRIMARY})" if analysis.is_primary(endpoint) else endpoint


def _markdown_cell(text: str) -> str:
    """A text that makes no markup, image or link, nor ends its cell; intervals keep their brackets."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split())).replace("<", "&lt;")
