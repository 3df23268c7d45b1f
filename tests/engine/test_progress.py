import io
import re

import pytest
from rich.console import Console

from datatrial.engine.progress import ProgressDisplay
from datatrial.engine.schedule import Event, all_of
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.engine.time_left import TimeLeft
from datatrial.records import Runtime
from tests.engine.tasks import Fail, Write


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.open()
    return store


def shown(store, steps, events, terminal=False, expected=None) -> str:
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=terminal, color_system=None)
    time_left = TimeLeft(steps, store, 2, expected)
    with ProgressDisplay(time_left, store, console) as display:
        tell = all_of(time_left, display)
        for event, step in events:
            tell(event, step)
    return text.getvalue()


def test_a_step_that_was_not_planned_counts_as_well(store):
    planned, other = Step(Write("planned")), Step(Write("other"), label="other")
    text = shown(store, [planned], [(Event("started", other.digest), other), (Event("done", other.digest), other)])
    assert "✓ 1/2 other" in text


def test_without_a_terminal_each_step_that_ends_is_one_line(store):
    good, bad, below = (
        Step(Write("x"), label="good [x]"),
        Step(Fail("data"), label="bad"),
        Step(Write("y"), label="below"),
    )
    text = shown(
        store,
        [good, bad, below],
        [
            (Event("started", good.digest), good),
            (Event("progress", good.digest, "steps", 1, 2), good),
            (Event("done", good.digest), good),
            (Event("started", bad.digest), bad),
            (Event("retried", bad.digest, "its worker died"), bad),
            (Event("failed", bad.digest, "line 3: no column 'chosen'"), bad),
            (Event("skipped", below.digest, "needs bad, which failed"), below),
        ],
    )
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[0].startswith("✓ 1/3 good [x]")
    assert "↻ bad" in text
    assert "✗ 2/3 bad" in text
    assert "line 3: no column 'chosen'" in text
    assert str(store.log(bad)) in text.replace("\n", "")
    assert "– 3/3 below" in text


def test_on_a_terminal_counts_and_bars_are_live(store):
    step = Step(Write("x"), label="sft lima")
    events = [(Event("started", step.digest), step), (Event("progress", step.digest, "training steps", 3, 9), step)]
    text = shown(store, [step, Step(Write("y"))], events, terminal=True)
    assert "0 done · 1 running · 1 waiting" in text
    assert "sft lima" in text
    assert "3/9 training steps" in text


def test_the_bar_of_a_step_that_is_tried_once_more_begins_anew(store):
    step = Step(Write("x"), label="sft lima")
    events = [(Event("started", step.digest), step), (Event("progress", step.digest, "training steps", 3, 9), step)]
    events.append((Event("retried", step.digest, "its worker died"), step))
    *_, last = shown(store, [step], events, terminal=True).split("its worker died")
    assert "sft lima" in last
    assert "3/9" not in last


def test_on_a_terminal_a_line_of_a_step_that_ended_stays(store):
    step, other = Step(Write("x"), label="sft lima"), Step(Write("y"))
    events = [(Event("started", step.digest), step), (Event("done", step.digest), step)]
    lines = shown(store, [step, other], events, terminal=True).replace("\x1b[2K", "\n").splitlines()
    assert any("✓ 1/2 sft lima" in line for line in lines)


def test_the_time_left_is_said_as_soon_as_it_is_known(store):
    step, other = Step(Write("x"), label="sft lima"), Step(Write("y"), label="sft shp")
    events = [(Event("started", step.digest), step), (Event("done", step.digest), step)]
    expected = {step.digest: 600.0, other.digest: 1200.0}
    assert re.search("sft lima 0 s · about .* left", shown(store, [step, other], events, expected=expected))
    assert "about 20 min" in shown(store, [step, other], events[:1], terminal=True, expected=expected)
    assert "left" not in shown(store, [step, other], events[:1], terminal=True)


def test_what_another_run_has_done_by_now_is_not_counted(store):
    ours, theirs = Step(Write("x"), label="ours"), Step(Write("y"), label="theirs")
    events = [(Event("cached", theirs.digest), theirs)]
    events += [(Event(change, ours.digest), ours) for change in ("started", "done", "cached")]
    assert shown(store, [ours, theirs], events).startswith("✓ 1/1 ours")


def test_a_damaged_result_is_said_and_counts_as_to_be_done(store):
    there, other = Step(Write("there"), label="there"), Step(Write("other"), label="other")
    store.build(store.work(there), Runtime())
    damaged = Event("damaged", there.digest, "text is not what was written; a run makes it again")
    text = shown(
        store,
        [there, other],
        [
            (damaged, there),
            (Event("started", there.digest), there),
            (Event("done", there.digest), there),
        ],
    )
    assert "! there\n  text is not what was written" in text
    assert "✓ 1/2 there" in text
