"""The page in a browser: the explorer as a reader uses it, hostile texts everywhere, narrow and dark screens."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import polars as pl
import pytest

from datatrial.effects import EvaluationRun
from datatrial.records import read_json
from datatrial.report import _items
from datatrial.report._findings import Findings
from datatrial.report._html import page as page_of
from datatrial.report.page import MissingRun, NamedInput, ReportArm, ReportVariant
from datatrial.report.sections import ORDER
from datatrial.statistics.declared import DeclaredContrast
from tests.report.conftest import copied
from tests.report.fiction import Fiction
from tests.report.fictional_items import HOSTILE_TEXTS
from tests.report.packed import flipped, values

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = Path("/usr/bin/chromium")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield launched
        launched.close()


@contextmanager
def opened(browser: "Browser", report: Path, chosen: dict[str, str] | None = None, **context: Any) -> Iterator["Page"]:
    """The report at its file:// address; fails on an error, a dialog, or a request for anything but the file."""
    with browser.new_context(**{"viewport": DESK, "reduced_motion": "reduce", **context}) as screen:
        page, wrong = screen.new_page(), list[str]()
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith("file:") else None)
        page.goto((report / "report.html").as_uri() + (f"#explorer?{urlencode(chosen)}" if chosen else ""))
        if chosen and chosen.get("on"):
            page.locator("#explorer-ways button").first.wait_for()
        yield page
        assert wrong == []


def counts(page: "Page") -> list[int]:
    """How many items changed: both ways, and each way."""
    texts = page.locator("#explorer-ways button").all_text_contents()
    return [int(text.rpartition(": ")[2]) for text in texts]


def wait(page: "Page", what: Callable[[], bool]) -> None:
    for _ in range(100):
        if what():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it never came to be")


def unfold(items: "Locator") -> None:
    """Open these items of the explorer: a browser says that one was opened, and the page fills it, a moment later."""
    for item in items.all():
        item.locator("summary").first.click()
        item.locator(".item").wait_for()


@pytest.mark.parametrize("seed", ["", "1"])
def test_the_items_shown_are_those_that_flipped(browser: "Browser", finished: tuple[Fiction, Path], seed: str) -> None:
    up, down = flipped(finished[0], "science", "careful", "careless", int(seed) if seed else None)
    chosen = {"a": "careful", "b": "careless", "on": "science", "seed": seed}
    with opened(browser, finished[1], chosen) as page:
        assert counts(page) == [len(up) + len(down), len(up), len(down)]
        page.get_by_role("button", name="right in careful, wrong in careless").click()
        wait(page, lambda: page.locator("#explorer-list > li").count() == min(50, len(up)))
        unfold(page.locator("#explorer-list > li"))
        names = page.locator("#explorer-list .item > p:first-child").all_text_contents()
        assert {name.split(" ")[0] for name in names} == up


def test_a_reader_chooses_filters_opens_an_item_and_shares_it(
    browser: "Browser", finished: tuple[Fiction, Path]
) -> None:
    changed = set.union(*flipped(finished[0], "subjects", "careful", "base"))
    numbers = [number for item in changed if (number := int(item.partition(":")[2])) % 6 == 3]
    sought = f"Subjects {numbers[0]} for"
    with opened(browser, finished[1]) as page:
        assert page.locator("#explorer-count").text_content() == "Choose a benchmark."
        page.get_by_label("Arm", exact=True).select_option("careful")
        page.get_by_label("on", exact=True).select_option("subjects")
        page.locator("#explorer-ways button").first.wait_for()
        assert counts(page)[0] == len(changed)
        page.get_by_label("subject", exact=True).select_option("subjects_3")
        wait(page, lambda: counts(page)[0] == len(numbers) < len(changed))
        page.get_by_label("containing").press_sequentially(sought)
        wait(page, lambda: counts(page)[0] == 1)
        unfold(page.locator("#explorer-list > li").first)
        item = page.locator("#explorer-list .item").first
        assert item.locator("tbody tr").count() == 4
        assert "right answer" in (item.text_content() or "")
        assert "mean of 3 seeds" in (item.text_content() or "")
        name = (item.locator("p").first.text_content() or "").split(" ")[0]
        wait(page, lambda: urlencode({"item": name}) in page.url)
        shared = str(item.get_by_role("link").get_attribute("href"))
        page.reload()
        page.locator("#explorer-list .item").wait_for()
        assert page.url.endswith(shared)
        assert page.get_by_label("containing").input_value() == sought
        assert (page.locator("#explorer-list .item").text_content() or "").startswith(name)
        assert page.locator("#explorer-list .item").is_visible()


def test_back_and_forward_go_through_what_was_chosen(browser: "Browser", finished: tuple[Fiction, Path]) -> None:
    first = {"a": "careful", "b": "base", "on": "truth"}
    with opened(browser, finished[1], first) as page:
        on, before = page.get_by_label("on", exact=True), counts(page)
        on.select_option("subjects")
        wait(page, lambda: "on=subjects" in page.url and counts(page) != before)
        after = counts(page)
        page.go_back()
        wait(page, lambda: counts(page) == before)
        assert on.input_value() == "truth"
        page.go_forward()
        wait(page, lambda: counts(page) == after)
        assert on.input_value() == "subjects"


def test_sentences_are_ordered_by_change_and_filtered_by_group(
    browser: "Browser", finished: tuple[Fiction, Path]
) -> None:
    one, other = (values(finished[0], "safety", arm) for arm in ("careful-careful", "base"))
    mean = {item: pl.Series(of).log().mean() for item, of in one.items()}
    change = {item: float(mean[item]) - float(pl.Series(other[item]).log().mean()) for item in one}  # type: ignore[arg-type]
    chosen = {"a": "careful-careful", "b": "base", "on": "safety"}
    with opened(browser, finished[1], chosen) as page:
        up = sum(value > 0 for value in change.values())
        assert counts(page) == [384, up, 384 - up]
        assert page.locator("#explorer-list > li").count() == 50
        unfold(page.locator("#explorer-list > li").first)
        first = page.locator("#explorer-list .item > p").first.text_content() or ""
        assert first.split(" ")[0] == max(change, key=lambda item: abs(change[item]))
        page.get_by_role("button", name="Show more").click()
        assert page.locator("#explorer-list > li").count() == 100
        page.get_by_label("group", exact=True).select_option("Tinkers")
        wait(page, lambda: counts(page)[0] == 48)


def test_an_item_beyond_the_first_ones_is_shown_from_its_link(
    browser: "Browser", finished: tuple[Fiction, Path]
) -> None:
    chosen = {"a": "careful-careful", "b": "base", "on": "safety"}
    with opened(browser, finished[1], chosen) as page:
        for _ in range(7):
            page.get_by_role("button", name="Show more").click()
        unfold(page.locator("#explorer-list > li").nth(200))
        link = page.locator("#explorer-list .item a").get_attribute("href")
    with opened(browser, finished[1]) as page:
        page.goto((finished[1] / "report.html").as_uri() + str(link))
        page.locator("#explorer-list .item").wait_for()
        assert page.locator("#explorer-list > li").count() == 250
        assert page.locator("#explorer-list > li").nth(200).locator(".item").is_visible()


def test_contaminated_items_can_be_shown_alone(browser: "Browser", fiction: Fiction) -> None:
    up, down = flipped(fiction, "science", "careful", "base")
    some = sorted(up | down)[:3]
    findings = Findings.read(fiction.report(), fiction.inputs)
    findings = replace(findings, contaminated={"careful": frozenset(f"science/{item}" for item in some)})
    (fiction.folder / "report.html").write_text(page_of(findings), encoding="utf-8")
    chosen = {"a": "careful", "b": "base", "on": "science"}
    with opened(browser, fiction.folder, {**chosen, "contaminated": "yes"}) as page:
        assert counts(page)[0] == 3
        unfold(page.locator("#explorer-list > li").first)
        assert "in the training data of careful" in (page.locator(".item").text_content() or "")
        page.get_by_label("training data", exact=True).select_option("no")
        wait(page, lambda: counts(page)[0] == len(up | down) - 3)


def test_a_choice_without_results_is_said_to_have_none(browser: "Browser", fiction: Fiction) -> None:
    fiction.lose("science", "careless", 1)
    fiction.compare(resamples=100)
    report = fiction.write()
    with opened(browser, report, {"a": "careless", "b": "base", "on": "science"}) as page:
        page.get_by_label("seed").select_option("1")
        wait(
            page,
            lambda: (
                "No results on science with seed 1: careless" in (page.locator("#explorer-count").text_content() or "")
            ),
        )
        page.get_by_label("Arm", exact=True).select_option("base")
        wait(page, lambda: page.locator("#explorer-count").text_content() == "Choose two different arms.")


def test_of_more_items_than_a_page_has_room_for_it_says_how_many_it_shows(
    browser: "Browser", fiction: Fiction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_items, "MOST", 12_000)
    with opened(browser, fiction.write(), {"a": "careful", "b": "careless", "on": "science"}) as page:
        said = page.locator("#explorer-count").inner_text()
    assert re.search(r"The page has room for \d+ of 40 items that not all runs answered alike, evenly spread", said)


def test_a_redacted_page_shows_names_and_numbers(browser: "Browser", fiction: Fiction) -> None:
    fiction.redact = True
    with opened(browser, fiction.write(), {"a": "careful", "b": "base", "on": "science"}) as page:
        unfold(page.locator("#explorer-list > li").first)
        shown = page.locator("#explorer-list > li").first.text_content() or ""
        assert shown.startswith("science:")
        assert "option 1" in shown
        assert re.search(r"−\d\.\d\d", shown)


@pytest.fixture(scope="module")
def hostile(finished: tuple[Fiction, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the study with hostile texts in every name and description that results or a study can hold."""
    evil = " ".join(HOSTILE_TEXTS)
    fiction = copied(finished[0], tmp_path_factory.mktemp("hostile") / "store")
    named = lambda name: f"{name} {evil}"  # noqa: E731
    for run in fiction.runs:
        file = fiction.inputs[run.input] / "scores.parquet"
        frame = pl.read_parquet(file)
        if "groups" in frame.columns:
            groups = pl.col("groups").list.eval(pl.element() + f" {evil}")
            frame.with_columns(groups, text=pl.col("text") + evil).write_parquet(file)
        summary = read_json(file.parent / "summary.json")
        (file.parent / "summary.json").write_text(json.dumps({**summary, "notes": [evil]}))
    for path in fiction.folder.glob("*/*/audit.json"):
        found = read_json(path)
        for audit in found.values():
            audit |= {"title": named(audit["title"]), "notes": [evil]}
            for table in audit["tables"]:
                table["note"] = evil
                table["rows"] = [[named(v) if isinstance(v, str) else v for v in row] for row in table["rows"]]
        path.write_text(json.dumps(found))
    for path in fiction.folder.glob("*/*/card.json"):
        card = read_json(path)
        source = {k: named(v) if isinstance(v, str) else v for k, v in card["source"].items()}
        path.write_text(
            json.dumps(
                {**card, "source": source, "notes": [evil], "drops": [{"reason": evil, "rows": 2, "sample": [evil]}]}
            )
        )
    for path in fiction.folder.glob("*/*/record.json"):
        about = {"machine": evil, "platform": evil, "device": evil, "packages": {"trl": evil}}
        path.write_text(json.dumps({**read_json(path), **about}))
    fiction.runs = [replace_names(run, named) for run in fiction.runs]
    fiction.declared = tuple(
        DeclaredContrast(arm=named(c.arm), against=named(c.against), on=tuple(map(named, c.on)), claim=named(c.claim))
        for c in fiction.declared
    )
    fiction.compare(resamples=100, baseline=named("base"))
    plain = fiction.report()
    report = plain.model_copy(
        update={
            "name": evil,
            "about": evil,
            "baseline": named("base"),
            "arms": tuple(ReportArm(name=named(a.name), description=named(a.description)) for a in plain.arms),
            "stages": tuple(s.model_copy(update={"arm": named(s.arm), "data": named(s.data)}) for s in plain.stages),
            "data": tuple(NamedInput(name=named(d.name), input=d.input) for d in plain.data),
            "audits": tuple(NamedInput(name=named(d.name), input=d.input) for d in plain.audits),
            "missing": (MissingRun(arm=evil, seed=0, reason=evil, benchmark=evil),),
            "assumptions": {evil: evil},
            "study": evil,
            "model": plain.data[0].input,
            "variants": (
                ReportVariant(name=named("careful"), of=named("careless"), what="again", against=(named("careless"),)),
                ReportVariant(name=named("careful"), of=named("base"), what="n", value=1.0),
                ReportVariant(name=named("careless"), of=named("base"), what="n", value=2.0),
            ),
        }
    )
    findings = Findings.read(report, fiction.inputs)
    seen = {named("careful"): frozenset(f"{named('science')}/science:{n}" for n in range(200))}
    (fiction.folder / "report.html").write_text(page_of(replace(findings, contaminated=seen)), encoding="utf-8")
    return fiction.folder


def replace_names(run: EvaluationRun, named: Callable[[str], str]) -> EvaluationRun:
    return replace(run, arm=named(run.arm), benchmark=named(run.benchmark))


def test_hostile_texts_are_shown_as_text_in_every_section(browser: "Browser", hostile: Path) -> None:
    evil = " ".join(HOSTILE_TEXTS)
    arms = {"a": f"careful {evil}", "b": f"careless {evil}"}
    with opened(browser, hostile) as page:
        here = {section.get_attribute("id") for section in page.locator("section").all()}
        assert here == set(ORDER) - {"published"}  # whose texts are ours
        for section in page.locator("section").all():
            assert HOSTILE_TEXTS[1] in (section.text_content() or "")
    for benchmark in ("subjects", "stories", "safety"):
        with opened(browser, hostile, {**arms, "on": f"{benchmark} {evil}"}) as page:
            page.get_by_label("containing").fill("onerror")
            wait(page, lambda page=page: "find=onerror" in page.url)  # type: ignore[misc]
            unfold(page.locator("#explorer-list > li"))
            shown = page.locator("#explorer-list").text_content() or ""
            assert all(text in shown for text in HOSTILE_TEXTS)
            assert page.locator("#explorer img, #explorer script:not([data-benchmark])").count() == 0
            assert page.title().startswith("</script>")


INJECTED = """
<script>window.owned = 1</script>
<img src='data:,' onerror='window.owned = 1'>
<svg onload='window.owned = 1'></svg>
<details open ontoggle='window.owned = 1'><summary>a</summary></details>
<iframe srcdoc='<script>top.owned = 1</script>'></iframe>
<iframe src='https://evil.test/'></iframe>
<style>body { display: none }</style>
<link rel=stylesheet href='https://evil.test/a.css'>
<i style='background: url(https://evil.test/a.png)'>a</i>
<video src='https://evil.test/a.mp4'></video>
<object data='https://evil.test/'></object>
<base href='https://evil.test/'>
<a id=evil href='javascript:window.owned = 1'>a</a>
<form action='https://evil.test/'></form>
"""
FORBIDDEN = {
    *("script-src-elem", "script-src-attr", "style-src-elem", "img-src", "media-src", "frame-src", "object-src"),
    *("base-uri", "form-action"),
}


def test_what_is_injected_into_the_page_does_nothing_and_our_own_script_still_runs(
    browser: "Browser", finished: tuple[Fiction, Path], tmp_path: Path
) -> None:
    html = (finished[1] / "report.html").read_text(encoding="utf-8")
    (tmp_path / "report.html").write_text(html.replace("<main>", f"<main>{INJECTED}"), encoding="utf-8")
    with browser.new_context(viewport=DESK) as screen:
        page, failed, done = screen.new_page(), list[str | None](), list[str]()
        page.on("requestfailed", lambda of: failed.append(of.failure))
        page.on("requestfinished", lambda of: done.append(of.url))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', e => (top.broken ??= []).push(e.effectiveDirective))"
        )
        page.goto((tmp_path / "report.html").as_uri() + "#explorer?" + urlencode({"a": "careful", "on": "science"}))
        page.locator("#explorer-ways button").first.wait_for()
        page.locator("#evil").click()
        page.evaluate("document.forms[0].requestSubmit()")
        wait(page, lambda: set(page.evaluate("window.broken")) >= FORBIDDEN)
        assert page.evaluate("window.owned") is None
        assert page.locator("h1").is_visible()
        assert set(failed) <= {"csp", "net::ERR_BLOCKED_BY_CSP"}
        assert all(url.startswith("file:") for url in (page.url, *done))


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_no_screen_scrolls_sideways_and_every_figure_is_seen(
    browser: "Browser", finished: tuple[Fiction, Path], hostile: Path, size: dict[str, int]
) -> None:
    chosen = {"a": "careful", "b": "base", "on": "subjects"}
    for report in (finished[1], hostile):
        with opened(browser, report, chosen if report == finished[1] else None, viewport=size) as page:
            page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
            page.wait_for_timeout(200)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            for figure in page.locator("figure, svg").all():
                box = figure.bounding_box()
                assert box is not None
                assert min(box["width"], box["height"]) > 0


@pytest.mark.parametrize(("scheme", "size"), [("light", PHONE), ("dark", DESK)], ids=["phone", "desk"])
def test_axe_finds_nothing_serious(
    browser: "Browser", finished: tuple[Fiction, Path], scheme: str, size: dict[str, int]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    chosen = {"a": "careful", "b": "careless", "on": "subjects"}
    with opened(browser, finished[1], chosen, color_scheme=scheme, viewport=size) as page:
        unfold(page.locator("#explorer-list > li:nth-child(-n+3)"))
        found = axe.Axe().run(page).response["violations"]
        serious = [(v["id"], [n["html"] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")]
        assert serious == []


def test_the_page_says_what_the_explorer_needs_where_scripts_are_off(
    browser: "Browser", finished: tuple[Fiction, Path]
) -> None:
    with opened(browser, finished[1], java_script_enabled=False) as page:
        assert page.locator("noscript p").is_visible()
        assert not page.locator("#explorer-panel").is_visible()


def test_a_print_has_a_line_in_place_of_the_explorer(browser: "Browser", finished: tuple[Fiction, Path]) -> None:
    with opened(browser, finished[1], {"a": "careful", "b": "base", "on": "science"}) as page:
        page.emulate_media(media="print")
        assert not page.locator("#explorer-panel").is_visible()
        assert page.locator(".explorer-print").is_visible()
