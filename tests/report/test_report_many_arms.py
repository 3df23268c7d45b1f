"""A study with more arms, items or words than a page has room for."""

import csv
from pathlib import Path

import numpy as np
import pytest

from datatrial.records import read_json
from datatrial.report import _items, effect_figures
from datatrial.report import shown as module
from datatrial.report._findings import Findings
from datatrial.report._items import contents
from datatrial.report.all_figures import all_figures
from datatrial.report.cautions import cautions
from datatrial.report.sections.tradeoff import points
from datatrial.report.shown import shown
from datatrial.report.wording import MOST_LISTED, listed
from tests.report.fiction import STAGES, Fiction
from tests.report.packed import by_benchmark
from tests.report.test_report_page import read

SURE = {"base", "careless", "careful-careful"}  # the arms of the fiction that differ most


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ARMS", 3)


@pytest.mark.usefixtures("three")
def test_the_page_shows_the_arms_whose_differences_are_the_surest_and_says_so(fiction: Fiction) -> None:
    report = fiction.write()
    html, page = read(report)
    assert "This page has room for 3 of 5 arms: base and those whose differences are the surest" in page.words
    assert {run["arm"] for run in by_benchmark(fiction, html)["science"]["runs"]} == SURE
    heads = {row["arm"] for row in csv.DictReader((report / "tables" / "benchmarks.csv").open())}
    assert heads == STAGES.keys()  # the tables have all


@pytest.mark.usefixtures("three")
def test_no_claim_is_judged_by_a_part_of_its_contrasts(fiction: Fiction) -> None:
    whole = Findings.read(fiction.report(), fiction.inputs)
    part = shown(whole).analysis
    assert whole.analysis.claims
    assert part.claims == [c for c in whole.analysis.claims if all({p.arm, p.against} <= SURE for p in c.parts)]
    assert {c.p_adjusted for c in part.contrasts} <= {c.p_adjusted for c in whole.analysis.contrasts}


@pytest.mark.usefixtures("three")
def test_data_and_training_of_arms_that_are_not_shown_are_left_out(fiction: Fiction) -> None:
    part = shown(Findings.read(fiction.report(), fiction.inputs))
    assert {data.name for data in part.data} == {"careless_notes", "careful_notes", "careful_pairs"}
    assert not any("upvotes" in training.data for training in part.trainings)
    assert not any("upvotes" in name for name in all_figures(Findings.read(fiction.report(), fiction.inputs)))


def test_with_few_arms_all_are_shown_and_nothing_is_said(finished: tuple[Fiction, Path]) -> None:
    findings = Findings.read(finished[0].report(), finished[0].inputs)
    assert shown(findings) is findings
    assert "those whose differences are the surest" not in read(finished[1])[1].words


def test_what_the_console_says_besides_tables_lies_beside_the_page(finished: tuple[Fiction, Path]) -> None:
    findings = Findings.read(finished[0].report(), finished[0].inputs)
    remarks = read_json(finished[1] / "remarks.json")
    assert remarks["cautions"] == cautions(findings)
    assert remarks["notes"] == {"stories": ["3 items were cut at the model's context length"]}


def test_of_too_many_items_some_are_kept_evenly_spread(
    finished: tuple[Fiction, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fiction, _ = finished
    runs = [(run, fiction.inputs[run.input]) for run in fiction.runs if run.benchmark == "science"]
    whole = contents(runs, {})
    assert whole["left_out"] == 0
    monkeypatch.setattr(_items, "MOST", 12_000)
    some = contents(runs, {"careful": {f"science/{whole['items'][-1]}"}})
    kept = [whole["items"].index(item) for item in some["items"]]
    assert 10 < len(kept) < len(whole["items"])
    assert len(kept) + some["left_out"] == len(whole["items"])
    assert max(np.diff(kept)) - min(np.diff(kept)) <= 1
    assert (kept[0], kept[-1]) == (0, len(whole["items"]) - 1)
    assert some["contaminated"] == {"careful": [len(kept) - 1]}
    for ours, theirs in zip(some["runs"], whole["runs"], strict=True):
        assert ours["values"] == [theirs["values"][at] for at in kept]
        assert len(ours["likelihoods"]) == sum(some["sizes"])


def test_a_sentence_names_the_first_of_very_many() -> None:
    words = [f"arm {n}" for n in range(MOST_LISTED + 1000)]
    assert listed(words).endswith(f"arm {MOST_LISTED - 1} and 1,000 more")
    assert listed(words[:MOST_LISTED]).endswith(f" and arm {MOST_LISTED - 1}")


def test_of_many_arms_a_chart_names_those_that_no_other_exceeds(
    fiction: Fiction, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = Findings.read(fiction.report(), fiction.inputs).analysis
    arms = points(analysis, "safety")
    assert effect_figures.told(arms) == arms
    monkeypatch.setattr(effect_figures, "CROWDED", 2)
    named = [name for name, _, _ in effect_figures.told(arms)]
    best = max(arms, key=lambda arm: arm[1].estimate)[0], max(arms, key=lambda arm: arm[2].estimate)[0]
    assert {"base", *best} <= set(named) < {name for name, _, _ in arms}
    _, page = read(fiction.write())
    assert "only the baseline and those that no other exceeds on both have lines and a name" in page.words
