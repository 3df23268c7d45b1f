"""The page: one file that needs nothing else, safe against hostile text, the same bytes from the same results."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from datatrial.effects import Contrast
from datatrial.records import Runtime
from datatrial.report._html import TEMPLATES, Axis, margins
from datatrial.report.cautions import FICTIONAL
from datatrial.report.page import MissingRun, Report, ReportArm
from datatrial.sources.micro_world import MicroWorld
from tests.report.fiction import HOSTILE, Fiction

VOID = {"meta", "br", "link", "img", "hr", "input", "path", "line", "circle", "use", "rect"}


class Page(HTMLParser):
    """What a browser would find: elements in order, and whether every one is closed where it was opened."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def read(report: Path) -> tuple[str, Page]:
    html = (report / "report.html").read_text(encoding="utf-8")
    return html, Page(html)


OURS = {None, "application/octet-stream"}  # the explorer's script, and the items that it reads


def scripts(page: Page) -> set[str | None]:
    """The types of the page's scripts, of which only one has none: it is run."""
    found = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    assert found.count(None) == 1
    return set(found)


def test_the_page_is_well_formed_and_asks_for_nothing_outside_itself(finished: tuple[Fiction, Path]) -> None:
    html, page = read(finished[1])
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"link", "img", "iframe", "object", "embed", "form", "base"}
    urls = [v or "" for _, attrs in page.tags for k, v in attrs.items() if k in ("href", "src", "xlink:href")]
    assert urls
    assert all(url.startswith("#") for url in urls)
    assert set(re.findall(r"url\(([^)]*)", html)) <= {f"#{attrs.get('id')}" for _, attrs in page.tags}
    assert not re.findall(r"https?://(?!www\.w3\.org/)", html)


def test_the_policy_allows_our_script_alone_and_no_connection(finished: tuple[Fiction, Path]) -> None:
    html, page = read(finished[1])
    [policy] = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy
    assert policy.startswith("default-src 'none'")
    [script] = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert script == (TEMPLATES / "explorer.js").read_text(encoding="utf-8")
    assert "</" not in script and "<!--" not in script  # would end it early
    [css] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert f"style-src-elem 'sha256-{base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()}';" in policy
    assert {"base-uri 'none'", "form-action 'none'"} <= set(policy.split("; "))


def test_ids_are_unique_and_every_link_finds_one(finished: tuple[Fiction, Path]) -> None:
    _, page = read(finished[1])
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert links == {f"#{section}" for section in ids if f"{section}-title" in ids}


def test_hostile_text_is_shown_as_text(finished: tuple[Fiction, Path]) -> None:
    _, page = read(finished[1])
    assert scripts(page) == OURS
    assert HOSTILE in page.words


def test_hostile_names_are_escaped_wherever_they_appear(fiction: Fiction) -> None:
    fiction.name, fiction.about = HOSTILE, HOSTILE
    fiction.missing = (MissingRun(arm=HOSTILE, seed=0, reason=HOSTILE),)
    html, page = read(fiction.write())
    assert scripts(page) == OURS
    assert html.count("</style>") == 1
    assert page.open == []


def test_the_same_results_give_the_same_bytes(fiction: Fiction) -> None:
    first, again = fiction.write("first"), fiction.write("again")
    files = sorted(f.relative_to(first) for f in first.rglob("*") if f.is_file())
    assert len(files) == 10
    assert all((first / f).read_bytes() == (again / f).read_bytes() for f in files)


def test_no_path_of_this_machine_is_in_the_page(finished: tuple[Fiction, Path]) -> None:
    fiction, report = finished
    assert str(fiction.folder) not in read(report)[0]


def test_every_arm_benchmark_and_group_is_in_the_page(finished: tuple[Fiction, Path]) -> None:
    _, page = read(finished[1])
    for name in ("careful-upvotes", "careless", "stories", "truth", "Lantern keepers", "upvotes", "crowd upvotes"):
        assert name in page.words
    assert "Something is missing" not in page.words


def test_what_is_missing_is_named_before_any_finding(fiction: Fiction) -> None:
    fiction.missing = (MissingRun(arm="careless", seed=2, reason="sft failed: out of memory"),)
    _, page = read(fiction.write())
    assert "careless, seed 2: sft failed: out of memory" in page.words
    assert page.words.index("sft failed") < page.words.index("Of the study's 3 claims")


def test_a_held_out_loss_that_rose_is_a_caution(finished: tuple[Fiction, Path], fiction: Fiction) -> None:
    assert "loss on held-out examples rose" not in (finished[1] / "report.html").read_text()
    file = fiction.inputs[fiction.stages[0].input] / "training.json"
    counts = json.loads(file.read_text())
    file.write_text(json.dumps({**counts, "held_out_loss_last": counts["held_out_loss_first"] + 9}))
    page = (fiction.write() / "report.html").read_text()
    assert "loss on held-out examples rose from" in page
    assert "Training shows signs of trouble, named there: SFT on careless_notes (careless)." in page


def test_scores_near_chance_and_constant_answers_are_marked(finished: tuple[Fiction, Path]) -> None:
    _, page = read(finished[1])
    assert "≈ chance" in page.words
    assert "Scores near chance" in page.words
    assert "Nearly always the same answer position, whatever the question: careless on truth." in page.words


def test_a_study_in_a_fictional_world_is_called_a_toy_whatever_it_says_of_itself(
    finished: tuple[Fiction, Path], fiction: Fiction
) -> None:
    assert "toy" not in finished[0].about
    assert "This is a toy: a fictional world" in read(finished[1])[1].words
    for named in fiction.data:
        path = fiction.inputs[named.input] / "card.json"
        card = json.loads(path.read_text())
        path.write_text(json.dumps({**card, "source": {**card["source"], "origin": "valley/notes"}}))
    fiction.about = "A toy?"
    assert "This is a toy" not in read(fiction.write())[1].words


def test_the_fictional_world_of_the_sources_is_known_by_its_origin() -> None:
    assert MicroWorld(part="opinions").read({}).card.source.origin.startswith(FICTIONAL)


def test_a_study_with_scores_alone_makes_a_report(fiction: Fiction) -> None:
    for name in list(fiction.inputs):
        (fiction.inputs[name] / "record.json").unlink(missing_ok=True)
    fiction.declared = ()
    fiction.compare(resamples=100)
    (fiction.inputs["contrasts"] / "record.json").unlink()
    report = Report(name="bare", baseline="base", arms=(ReportArm(name="base"),), runs=tuple(fiction.runs))
    out = fiction.folder / "bare"
    out.mkdir()
    report.run(fiction.inputs, out, Runtime())
    _, page = read(out)
    sections = {attrs["id"] for tag, attrs in page.tags if tag == "section"}
    assert sections == {"summary", "benchmarks", "safety", "contrasts", "tradeoff", "explorer", "provenance"}
    assert not (out / "tables" / "claims.md").exists()


def test_a_report_is_a_task_of_kind_report_with_a_plain_identity(fiction: Fiction) -> None:
    report = fiction.report()
    assert report.kind == "report"
    assert json.loads(json.dumps(report.identity())) == report.identity()
    assert Report.model_validate({k: v for k, v in report.identity().items() if k not in ("kind", "version")}) == report


def test_the_page_says_how_wide_it_is_and_in_which_language(finished: tuple[Fiction, Path]) -> None:
    _, page = read(finished[1])
    assert page.tags[0] == ("html", {"lang": "en"})
    assert any("width=device-width" in (attrs.get("content") or "") for tag, attrs in page.tags if tag == "meta")


def test_primary_benchmarks_are_marked_wherever_they_matter(finished: tuple[Fiction, Path], fiction: Fiction) -> None:
    assert "primary" not in read(finished[1])[1].words
    fiction.primary = ("truth", "safety")
    out = fiction.write()
    _, page = read(out)
    assert "The study's main question is about truth and safety (primary): 6 declared contrasts" in page.words
    assert "What is declared on science, subjects, physical and stories is exploratory" in page.words
    assert page.text.count("primary") == 2 + 6  # columns of the benchmark table, rows of the claims
    assert "truth (acc, primary)" in (out / "tables" / "benchmarks.md").read_text()


def difference(low: float, high: float, **declared: Any) -> Contrast:
    return Contrast("a", "base", "truth", (low + high) / 2, low, high, 9, 3, 0.5, 0.5, **declared)


@pytest.mark.parametrize(("low", "high"), [(-0.031, 0.047), (0.0, 0.05), (0.02, 0.5), (-0.3, -0.1), (0, 0), (-9, 0.7)])
def test_an_axis_has_room_at_its_ends_and_zero_is_labelled(low: float, high: float) -> None:
    axis = Axis.over([difference(low, high)], 100)
    assert axis.low < min(0.0, 100 * low) <= max(0.0, 100 * high) < axis.high
    assert (axis.at(0), "0") in axis.ticks


def test_a_margin_lies_within_the_axis() -> None:
    axis = Axis.over([difference(0.01, 0.02, expect="not_worse", margin=0.04, null=-0.04)], 100)
    assert axis.low < -4


def test_a_margin_is_where_the_claim_was_tested_and_equivalence_has_two() -> None:
    lower_is_better = difference(0.01, 0.02, expect="not_worse", margin=0.04, null=0.04)
    assert margins(lower_is_better) == (0.04,)
    assert margins(difference(0.01, 0.02, expect="equivalent", margin=0.03, null=0.03)) == (-0.03, 0.03)
    assert margins(difference(0.01, 0.02, expect="better")) == ()
