"""The results as tables of finished texts, Markdown and CSV."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import polars as pl
import pytest
from markupsafe import escape

from datatrial.errors import DataError
from datatrial.reference import PublishedBenchmark, Reference
from datatrial.report._findings import Findings
from datatrial.report.analysis import Analysis
from datatrial.report.published import published_tables, score_tables
from datatrial.report.sections import published, safety
from datatrial.report.tables import (
    TextTable,
    benchmark_table,
    claims_table,
    contrasts_table,
    safety_table,
    write_tables,
)
from datatrial.report.wording import duration, interval, listed, number, plural, probability, signed
from datatrial.statistics.declared import DeclaredContrast
from tests.report.fiction import GROUPS, STAGES, Fiction


@pytest.fixture
def analysis(finished: tuple[Fiction, Path]) -> Analysis:
    return Analysis.read(finished[0].inputs["contrasts"])


def test_a_benchmark_cell_has_the_score_the_difference_its_interval_and_its_doubts(analysis: Analysis) -> None:
    table = benchmark_table(analysis)
    assert table.columns[:2] == ("arm", "science (acc)")
    assert [row[0] for row in table.rows] == list(STAGES)
    score, delta = analysis.score("careless", "stories"), analysis.delta("careless", "stories")
    assert score
    assert delta
    cell = table.rows[1][table.columns.index("stories (acc)")]
    difference = f"({signed(delta.estimate, 100)} {interval(delta.low, delta.high, 100)})"
    assert cell == f"{number(score.estimate, 100)} {difference} ▼ ≈ chance"
    narrow = benchmark_table(analysis, intervals=False).rows[1][4]
    assert narrow == f"{number(score.estimate, 100)} ({signed(delta.estimate, 100)}) ▼ ≈ chance"


def test_capability_stands_beside_the_benchmarks(analysis: Analysis) -> None:
    table = benchmark_table(analysis, intervals=False)
    score, delta = analysis.score("careful", "capability"), analysis.delta("careful", "capability")
    assert score
    assert delta
    assert table.columns[-1] == "capability"
    assert table.rows[2][-1].startswith(f"{number(score.estimate, 100)} ({signed(delta.estimate, 100)})")


def test_of_an_uneven_change_the_lowest_and_the_highest_are_told_with_their_size(
    finished: tuple[Fiction, Path],
) -> None:
    findings = Findings.read(finished[0].report(), finished[0].inputs)
    analysis, text = findings.analysis, str(safety.body(findings))
    for one in analysis.unevenness:
        changes = {g: analysis.contrast(one.arm, one.against, f"safety/{g}") for g in analysis.groups("safety")}
        known = {group: found.estimate for group, found in changes.items() if found}
        low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
        assert f"Lowest: {low} ({signed(known[low], 100)}); highest: {high} ({signed(known[high], 100)})." in text
    assert analysis.unevenness


def test_a_group_that_no_benchmark_scores_is_an_error_that_suggests_one(fiction: Fiction) -> None:
    with pytest.raises(DataError, match="safety/Fen: safety scores no group 'Fen'"):
        fiction.compare(primary=("safety/Fen",))
    fiction.compare(primary=("safety/hard",), benchmarks=("safety", "safety/hard"))  # a benchmark without results
    nobody = DeclaredContrast(arm="careful", against="base", on=("safety/Nobody",))
    with pytest.raises(DataError, match="safety scores no group 'Nobody'; known: "):
        fiction.compare(declared=(nobody,))


def test_the_safety_table_has_every_group_and_their_mean(analysis: Analysis) -> None:
    table = safety_table(analysis, "safety")
    assert [row[0] for row in table.rows] == [*GROUPS, "mean of groups"]
    assert table.columns == ("group", *STAGES)


def test_the_contrasts_table_has_each_arm_on_each_benchmark(analysis: Analysis) -> None:
    table = contrasts_table(analysis)
    assert len(table.rows) == 4 * (6 + 1)
    assert table.rows[-1][0] == "careful-careful on capability"
    assert {row[-1] for row in table.rows} <= {"better", "worse", "no detectable difference"}
    first, shown = analysis.delta("careless", "science"), dict(zip(table.columns, table.rows[0], strict=True))
    assert first
    assert shown["comparison"] == "careless on science"
    assert shown["adjusted p"] == probability(first.p_adjusted).removeprefix("= ")
    assert shown["detectable"] == number(first.detectable, 100)
    brief = contrasts_table(analysis, brief=True)
    assert set(table.columns) - set(brief.columns) == {"p", "adjusted p", "detectable"}
    assert [row[-1] for row in brief.rows] == [row[-1] for row in table.rows]


def test_the_claims_table_repeats_each_claim_for_its_contrasts(analysis: Analysis) -> None:
    rows = claims_table(analysis).rows
    assert len(rows) == 6 + 2 + 6
    claim = analysis.claims[0]
    assert rows[0][:3] == (f"{claim.text.rstrip('.')}: {claim.outcome}", "careful − careless", "science")
    assert rows[0][6] == "not worse (margin 2)"


def test_a_measured_score_stands_beside_the_published_one_with_its_interval(analysis: Analysis) -> None:
    about = {"source": "a made-up paper", "arms": {"careful": "", "nowhere": ""}}
    scores = {("careful", "science"): 0.5, ("nowhere", "science"): 0.25}
    reference = Reference("made-up", about, {"science": PublishedBenchmark("acc", 200)}, {}, scores, ())
    score = analysis.score("careful", "science")
    assert score
    assert [row[1] for row in score_tables(reference)[0].rows] == ["50.00", "25.00"]
    [careful, nowhere] = (row[1] for row in score_tables(reference, analysis)[0].rows)
    assert careful == f"50.00 → {number(score.estimate, 100)} {interval(score.low, score.high, 100)}"
    assert nowhere == "25.00"


def test_the_published_section_has_every_claim_of_the_table(finished: tuple[Fiction, Path]) -> None:
    findings = Findings.read(finished[0].report(), finished[0].inputs)
    settings = findings.settings.model_copy(update={"reference": "paper"})
    page = published.body(replace(findings, settings=settings))
    benchmarks, safety, claims, fluctuations = published_tables(Reference.load("paper"), findings.analysis)
    for said in (benchmarks.title, safety.title, claims.title, fluctuations.title, *(row[0] for row in claims.rows)):
        assert escape(said.rpartition(": ")[0] or said) in page


def test_primary_benchmarks_are_marked(analysis: Analysis) -> None:
    marked = replace(analysis, primary=("truth", "safety"))
    heads = benchmark_table(marked).columns
    assert {name for name in heads if "primary" in name} == {"truth (acc, primary)", "safety (safety, primary)"}
    assert {row[2] for row in claims_table(marked).rows if "primary" in row[2]} == {
        "truth (primary)",
        "safety (primary)",
    }


def test_csv_tables_hold_every_digit(analysis: Analysis, tmp_path: Path) -> None:
    write_tables(analysis, tmp_path / "tables")
    scores = pl.read_csv(tmp_path / "tables" / "benchmarks.csv").to_dicts()
    assert [row["estimate"] for row in scores] == [s.estimate for s in analysis.scores if not s.group]
    claims = pl.read_csv(tmp_path / "tables" / "claims.csv")
    assert claims["outcome"].to_list() == [part.outcome for claim in analysis.claims for part in claim.parts]
    assert claims["claim_outcome"].to_list() == [claim.outcome for claim in analysis.claims for _ in claim.parts]


def test_names_cannot_break_a_markdown_table(analysis: Analysis) -> None:
    renamed = [replace(s, arm="a|b <i>" if s.arm == "careful" else s.arm) for s in analysis.scores]
    text = benchmark_table(Analysis(tuple(renamed), analysis.contrasts)).markdown()
    assert "a\\|b &lt;i>" in text


HOSTILE_CELLS = (
    "a\\|b",  # a backslash would take away the one before the bar
    "![x](https://evil.test/a.png)",
    "[x](javascript:alert(1))",
    "[x][y]",
    "<script>1</script>",
    "`a` | *b* | __c__",
    "a\n\n# b",
)


def test_no_text_makes_markup_of_a_markdown_table() -> None:
    from markdown_it import MarkdownIt

    table = TextTable(HOSTILE_CELLS[1], ("name", "value"), tuple((cell, "63.6 [−0.1, 2.0]") for cell in HOSTILE_CELLS))
    made = MarkdownIt("gfm-like", {"linkify": False}).render(table.markdown())
    assert not re.findall(r"<(?!/?(?:table|thead|tbody|tr|th|td|p|strong|em)\b)", made)
    cells = [unescape(re.sub("<.*?>", "", row[1])) for row in re.finditer(r"<td>(.*?)</td>", made)]
    assert cells == [" ".join(cell.split()) for cell in HOSTILE_CELLS]
    assert made.count("63.6 [−0.1, 2.0]") == len(HOSTILE_CELLS)


def test_names_of_the_reports_tables_are_no_formulas(analysis: Analysis, tmp_path: Path) -> None:
    name = "=HYPERLINK(1)"
    renamed = [replace(s, group=name if s.group == "Tinkers" else s.group) for s in analysis.scores]
    write_tables(Analysis(tuple(renamed), analysis.contrasts), tmp_path / "tables")
    table = pl.read_csv(tmp_path / "tables" / "safety.csv", infer_schema_length=None)
    assert f"'{name}" in table["group"].to_list()
    assert not table["group"].drop_nulls().str.contains("^=").any()
    assert table["estimate"].to_list() == [s.estimate for s in renamed if s.benchmark in analysis.safety_benchmarks]


def test_a_perplexity_is_not_shown_in_points(analysis: Analysis) -> None:
    scores = [replace(s, estimate=17.25, low=16.0, high=18.0) for s in analysis.scores if s.endpoint == "science"]
    table = benchmark_table(Analysis(tuple(scores), ()))
    assert table.rows[0][1] == "17.2"


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [
        (0.6125, 100, "61.3"),
        (-0.0123, 100, "−1.2"),
        (-0.000004, 100, "0.0"),
        (0.0004, 100, "0.040"),
        (12.3456, 1, "12.3"),
        (-0.5, 1, "−0.5"),
    ],
)
def test_numbers_have_true_minus_signs_and_no_negative_zero(value: float, scale: int, text: str) -> None:
    assert number(value, scale) == text


def test_differences_carry_their_sign() -> None:
    assert [signed(v, 100) for v in (0.021, -0.021, 0.000004, 1.0)] == ["+2.1", "−2.1", "0.0", "+100.0"]


def test_a_difference_that_is_not_zero_is_not_written_as_zero() -> None:
    assert [signed(v, 100) for v in (0.00023, -0.0004)] == ["+0.023", "−0.040"]


def test_lists_and_times_read_as_people_say_them() -> None:
    assert [listed(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert [duration(s) for s in (3.21, 75, 3700)] == ["3.2 s", "1 min 15 s", "1 h 1 min"]


def test_a_plural_is_an_s_or_the_word_that_was_given() -> None:
    assert [plural(n, "arm") for n in (0, 1, 2)] == ["0 arms", "1 arm", "2 arms"]
    assert [plural(n, "repository", "repositories") for n in (1, 2)] == ["1 repository", "2 repositories"]
