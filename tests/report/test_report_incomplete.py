"""The report where benchmarks failed for some arms, and where a score has no interval."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from datatrial.effects import EvaluationRun
from datatrial.report.analysis import Analysis
from datatrial.report.page import MissingRun
from datatrial.report.sections.summary import LONGEST_REASON
from datatrial.report.tables import benchmark_table, claims_table, safety_table
from tests.report.fiction import STAGES, Fiction
from tests.report.test_report_page import Page, read


def written(fiction: Fiction) -> tuple[Path, Page, Analysis]:
    fiction.compare(resamples=100)
    report = fiction.write()
    return report, read(report)[1], Analysis.read(fiction.inputs["contrasts"])


def column(analysis: Analysis, benchmark: str) -> dict[str, str]:
    table = benchmark_table(analysis)
    [place] = [n for n, name in enumerate(table.columns) if name.startswith(f"{benchmark} (")]
    return {row[0]: row[place] for row in table.rows}


def test_an_arm_that_lacks_one_benchmark_keeps_its_others(fiction: Fiction) -> None:
    fiction.lose("truth", "careful")
    _, page, analysis = written(fiction)
    assert analysis.arms == list(STAGES)
    cells = column(analysis, "truth")
    assert cells.pop("careful") == "–"
    assert all("–" not in cell for cell in cells.values())
    assert column(analysis, "stories")["careful"] != "–"
    outcomes = {row[1:3]: row[-1] for row in claims_table(analysis).rows}
    assert outcomes["careful − careless", "truth"] == "not tested"
    assert outcomes["careful − careless", "stories"] != "not tested"
    assert page.open == []
    assert "careful, seed 2: truth — ValueError: no item could be scored" in page.words
    assert page.words.index("no item could be scored") < page.words.index("Of the study's 3 claims")


def test_a_baseline_that_lacks_benchmarks_leaves_the_scores_of_the_others(fiction: Fiction) -> None:
    fiction.lose("science", "base")  # the first benchmark of the first arm
    fiction.lose("safety", "base")
    report, page, analysis = written(fiction)
    assert (analysis.arms, analysis.baseline) == (list(STAGES), "base")
    assert column(analysis, "science")["base"] == "–"
    assert "(" not in column(analysis, "science")["careful"]  # a score, and no difference
    groups = safety_table(analysis, "safety")
    assert {row[1] for row in groups.rows} == {"–"}
    assert all("(" not in row[2] for row in groups.rows)
    assert analysis.delta("careful", "stories")
    assert page.open == []
    assert "base: science and safety — ValueError" in page.words
    assert (report / "tables" / "safety.csv").exists()


def test_with_nothing_to_compare_the_headline_claims_nothing(fiction: Fiction) -> None:
    fiction.declared = ()
    for benchmark in ("science", "subjects", "physical", "stories", "truth"):
        fiction.lose(benchmark, "base")
    for arm in STAGES:
        if arm != "base":
            fiction.lose("safety", arm)
    _, page, _ = written(fiction)
    assert "No arm could be compared with base." in page.words


def test_a_benchmark_of_which_a_seed_failed_rests_on_the_others(fiction: Fiction) -> None:
    fiction.lose("stories", "careful", 1)
    _, page, analysis = written(fiction)
    delta, other = analysis.delta("careful", "stories"), analysis.delta("careful", "truth")
    assert delta
    assert other
    assert (delta.seeds, other.seeds) == (2, 3)
    assert "careful, seed 1: stories — ValueError" in page.words


def test_an_arm_without_any_score_is_listed_as_missing(fiction: Fiction) -> None:
    fiction.runs = [run for run in fiction.runs if run.arm != "careless"]
    fiction.stages = [stage for stage in fiction.stages if stage.arm != "careless"]
    _, page, analysis = written(fiction)
    assert "careless" not in analysis.arms
    assert "Something is missing." in page.words
    assert "careless: has no scores" in page.words
    assert {row[-1] for row in claims_table(analysis).rows if "careless" in row[1]} == {"not tested"}


def test_long_reasons_are_folded_to_their_first_line(fiction: Fiction) -> None:
    trace = "ModelError: out of memory\nTraceback (most recent call last):\n  line <1>"
    fiction.missing = (
        MissingRun(arm="careless", seed=2, benchmark="truth", reason=trace),
        MissingRun(arm="careless", seed=1, benchmark="truth", reason="word " * LONGEST_REASON),
        MissingRun(arm="careless", seed=0, reason="short"),
    )
    html, page = read(fiction.write())
    assert "careless, seed 2: truth — ModelError: out of memory<details>" in html
    assert "<pre>ModelError: out of memory\nTraceback (most recent call last):\n  line &lt;1&gt;</pre>" in html
    assert html.count("the whole reason") == 2
    assert "careless, seed 0: short" in page.words
    assert page.open == []


@pytest.fixture
def prose(fiction: Fiction) -> Fiction:
    """The study with a perplexity of whole texts, which has no scores of items."""
    for run in [run for run in fiction.runs if run.benchmark == "truth"]:
        name = f"prose-{run.arm}-{run.seed}"
        out = fiction.result("lm_eval", name)
        schema = {"item": pl.String, "stratum": pl.String, "metric": pl.String, "value": pl.Float64}
        pl.DataFrame(schema=schema).write_parquet(out / "scores.parquet")
        number = 20.0 + (run.seed or 0)
        summary = {
            "statistic": "mean",
            "metric": "word_perplexity",
            "metrics": {"word_perplexity": number},
            "higher_is_better": False,
            "chance": {},
            "majority": {},
            "same_answer": None,
            "items": 62,
            "notes": ["word_perplexity is no mean over items; it has no scores to compare item by item"],
        }
        (out / "summary.json").write_text(json.dumps(summary))
        fiction.runs.append(EvaluationRun(run.arm, run.seed, "prose", name))
    return fiction


def test_a_score_without_interval_is_shown_and_said_to_have_none(prose: Fiction) -> None:
    report, page, analysis = written(prose)
    assert column(analysis, "prose")["careful"] == "21 no interval"
    assert analysis.delta("careful", "prose") is None
    assert not re.findall(r"\bnan\b", read(report)[0])
    assert "nan" not in (report / "tables" / "benchmarks.md").read_text()
    assert "No interval: what prose measures is not a mean over items, so arms are not compared on it." in page.words
    assert "prose : word_perplexity is no mean over items" in page.words
    outcomes = {row[2]: row[-1] for row in claims_table(analysis).rows if row[1] == "careful − careless"}
    assert outcomes["prose"] == "not tested"
