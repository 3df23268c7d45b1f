import io

import pytest
from rich.console import Console

from datatrial.engine import progress
from datatrial.engine.progress import Estimate, ProgressDisplay, clock
from datatrial.engine.schedule import Event
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.records import Runtime
from tests.engine.tasks import Fail, Write


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.open()
    return store


@pytest.fixture
def now(monkeypatch):
    """A clock that tests set."""

    class Clock:
        time = 100.0

        def monotonic(self) -> float:
            return self.time

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def shown(store, steps, events, terminal=False) -> str:
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=terminal, color_system=None)
    with ProgressDisplay(steps, store, 2, console) as display:
        for event, step in events:
            display(event, step)
    return text.getvalue()


def test_the_time_left_follows_from_steps_of_the_same_kind(store, now):
    steps = [Step(Write(str(n))) for n in range(5)]
    estimate = Estimate(steps, store)
    assert estimate.left(1) is None  # nothing is known yet
    estimate.note(Event("started", steps[0].digest))
    now.time += 10
    estimate.note(Event("done", steps[0].digest))
    assert estimate.left(1) == pytest.approx(40)
    assert estimate.left(2) == pytest.approx(20)
    estimate.note(Event("started", steps[1].digest))
    now.time += 4
    assert estimate.left(1) == pytest.approx(36)
    estimate.note(Event("progress", steps[1].digest, "rows", 1, 5))  # slower than the first: 16 s more
    assert estimate.left(1) == pytest.approx(16 + 30)


def test_a_step_that_begins_anew_is_counted_once_and_from_the_beginning(store, now):
    steps = [Step(Write(str(n))) for n in range(3)]
    estimate = Estimate(steps, store)
    for change in ("started", "done"):
        estimate.note(Event(change, steps[0].digest))
        now.time += 10
    now.time = 110.0
    estimate.note(Event("started", steps[1].digest))
    estimate.note(Event("progress", steps[1].digest, "rows", 9, 10))
    estimate.note(Event("retried", steps[1].digest, "its node was lost"))
    now.time += 3
    estimate.note(Event("started", steps[1].digest))
    assert estimate.left(1) == pytest.approx(2 * 10)


def test_a_step_that_was_not_planned_does_no_harm(store, now):
    planned, other = Step(Write("planned")), Step(Write("other"), label="other")
    text = shown(store, [planned], [(Event("started", other.digest), other), (Event("done", other.digest), other)])
    assert "other" in text


def test_a_kind_of_which_nothing_is_known_is_taken_for_an_average_one(store, now):
    known, unknown = Step(Write("x")), Step(Fail("data"))
    estimate = Estimate([known, unknown], store)
    estimate.note(Event("started", known.digest))
    now.time += 8
    estimate.note(Event("done", known.digest))
    assert estimate.left(1) == pytest.approx(8)


def test_what_earlier_runs_took_counts_too(store, now):
    store.build(store.work(Step(Write("earlier"))), Runtime())
    estimate = Estimate([Step(Write("now"))], store)
    assert estimate.left(1) is not None


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


def test_on_a_terminal_a_line_of_a_step_that_ended_stays(store):
    step, other = Step(Write("x"), label="sft lima"), Step(Write("y"))
    events = [(Event("started", step.digest), step), (Event("done", step.digest), step)]
    lines = shown(store, [step, other], events, terminal=True).replace("\x1b[2K", "\n").splitlines()
    assert any("✓ 1/2 sft lima" in line for line in lines)


@pytest.mark.parametrize(("seconds", "text"), [(3.2, "3 s"), (65, "1 min 05 s"), (7800, "2 h 10 min")])
def test_durations_are_written_as_people_read_them(seconds, text):
    assert clock(seconds) == text
