"""The time left of runs on a clock that the tests set; `measurements/eta.py` has those of real studies."""

import heapq
import json
from dataclasses import replace
from random import Random

import pytest

from datatrial.engine import schedule, time_left
from datatrial.engine.schedule import Event
from datatrial.engine.step import Step
from datatrial.engine.store import Store, Work
from datatrial.engine.time_left import TimeLeft, clock
from datatrial.records import Resources, Runtime
from tests.engine.tasks import Write

MODEL = Resources(gpus=None)


class Clock:
    time = 100.0

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.open()
    return store


@pytest.fixture
def now(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time_left, "time", clock)
    return clock


def step(name: str, kind: str = "write", resources: Resources | None = None, **inputs: Step) -> Step:
    return Step(Write(name, kind=kind), inputs, label=name, resources=resources or Resources())


def tell(left: TimeLeft, step: Step, *changes: str, share: float | None = None) -> None:
    for change in changes:
        left(Event(change, step.digest), step)  # type: ignore[arg-type]
    if share is not None:
        left(Event("progress", step.digest, "rows", share * 1000, 1000), step)


def did(left: TimeLeft, now: Clock, step: Step, seconds: float) -> None:
    tell(left, step, "started")
    now.time += seconds
    tell(left, step, "done")


def test_without_any_expectation_steps_are_taken_to_be_like_those_before(store, now):
    steps = [step(str(n)) for n in range(5)]
    left = TimeLeft(steps, store, 1)
    assert left.seconds() is None  # nothing is known yet
    did(left, now, steps[0], 10)
    assert left.seconds() == pytest.approx(40)
    tell(left, steps[1], "started")
    now.time += 4
    assert left.seconds() == pytest.approx(36)
    now.time += 16
    assert left.seconds() == pytest.approx(30 + 5)  # it is late


def test_a_kind_of_which_nothing_is_known_is_taken_for_an_average_one(store, now):
    known, unknown = step("known"), step("unknown", kind="odd")
    left = TimeLeft([known, unknown], store, 1)
    did(left, now, known, 8)
    assert left.seconds() == pytest.approx(8)


def test_what_steps_should_take_is_believed_until_they_took_something_else(store, now):
    steps = [step(str(n)) for n in range(3)]
    left = TimeLeft(steps, store, 1, {s.digest: 600.0 for s in steps})
    assert left.seconds() == pytest.approx(1800)
    did(left, now, steps[0], 1200)
    assert left.seconds() == pytest.approx(2 * 1200, rel=0.1)
    did(left, now, steps[1], 1200)
    assert left.seconds() == pytest.approx(1200, rel=0.1)


def test_the_start_of_a_worker_is_not_taken_for_the_pace_of_all_that_follows(store, now):
    """A step of a second that takes ten, as its worker imports libraries, does not make hours of minutes."""
    short = [step(f"short {n}") for n in range(3)]
    long = [step(f"long {n}", kind="odd") for n in range(4)]
    left = TimeLeft(
        [*short, *long], store, 1, dict.fromkeys([s.digest for s in short], 1.0) | {s.digest: 600.0 for s in long}
    )
    did(left, now, short[0], 10)
    assert left.seconds() == pytest.approx(4 * 600, rel=0.2)


def test_a_device_that_is_quicker_than_it_should_be_shows_soon(store, now):
    """No start of a worker makes steps quicker."""
    steps = [step(str(n)) for n in range(4)]
    left = TimeLeft(steps, store, 1, {s.digest: 60.0 for s in steps})
    did(left, now, steps[0], 30)
    assert left.seconds() == pytest.approx(3 * 30, rel=0.1)


def test_a_running_step_tells_its_own_pace_and_that_of_its_kind(store, now):
    steps = [step(str(n)) for n in range(2)]
    left = TimeLeft(steps, store, 1, {s.digest: 1000.0 for s in steps})
    tell(left, steps[0], "started")
    now.time += 20  # before it begins to count
    for share in (0.0, 0.1, 0.2, 0.3):
        tell(left, steps[0], share=share)
        now.time += 200
    now.time -= 200
    assert left.seconds() == pytest.approx(1400 + 2000, rel=0.15)
    left(Event("progress", steps[0].digest, "sentences", 1, 100), steps[0])  # from here on it counts something else
    assert left.seconds() is not None


def test_what_is_late_is_not_soon_done(store, now):
    stage = step("stage")
    left = TimeLeft([stage], store, 1, {stage.digest: 10.0})
    tell(left, stage, "started")
    now.time += 8
    assert left.seconds() == pytest.approx(2)
    now.time += 392
    assert left.seconds() == pytest.approx(100)


def test_the_first_of_many_parts_says_little_of_all(store, now):
    stage = step("stage")
    left = TimeLeft([stage], store, 1, {stage.digest: 10.0})
    tell(left, stage, "started", share=0.0)
    now.time += 8  # libraries are loaded on the way
    tell(left, stage, share=0.01)
    assert left.seconds() < 40


def test_what_is_expected_is_asked_anew_when_more_was_made(store, now):
    data, stages = step("data"), [step(str(n), "sft") for n in range(2)]
    told = {data.digest: 10.0} | {stage.digest: 100.0 for stage in stages}
    left = TimeLeft([data, *stages], store, 1, told, anew=lambda: told)
    assert left.seconds() == pytest.approx(210)
    told = {data.digest: 10.0} | {stage.digest: 300.0 for stage in stages}  # the rows are longer than was thought
    assert left.seconds() == pytest.approx(210)  # which nobody knows yet
    did(left, now, data, 10)
    assert left.seconds() == pytest.approx(600)
    did(left, now, stages[0], 600)
    assert 300 < left.seconds() < 600  # what it took is not forgotten
    assert left.paces.now["sft"].took == 600


def test_where_nothing_can_be_expected_anew_what_was_expected_stays(store, now):
    steps = [step(str(n)) for n in range(3)]
    left = TimeLeft(steps, store, 1, {s.digest: 600.0 for s in steps}, anew=dict)
    did(left, now, steps[0], 600)
    assert left.seconds() == pytest.approx(1200)


def test_what_is_counted_before_the_main_thing_tells_no_pace(store, now):
    stages = [replace(step(name, "dpo"), counts="training steps") for name in ("one", "two")]
    left = TimeLeft(stages, store, 1, {stage.digest: 1000.0 for stage in stages})
    tell(left, stages[0], "started")
    for share in (0.0, 0.5, 1.0):  # what the reference says takes 20 of its seconds
        left(Event("progress", stages[0].digest, "tokens", share * 1000, 1000), stages[0])
        now.time += 10
    assert left.seconds() == pytest.approx(1970)
    for share in (0.1, 0.2):
        left(Event("progress", stages[0].digest, "training steps", share * 100, 100), stages[0])
        now.time += 200
    assert left.seconds() == pytest.approx(2000 * 0.7 + 2000, rel=0.2)


def test_the_pace_of_a_device_that_nobody_knows_is_seen_first(store, now):
    data, stage, further = step("data"), step("sft", "sft", MODEL), step("sft 2", "sft", MODEL)
    expected = {data.digest: 1.0, stage.digest: 100.0, further.digest: 300.0}
    left = TimeLeft([data, stage, further], store, 1, expected, absolute=False)
    did(left, now, data, 0.01)  # what runs no model tells nothing of it
    assert left.seconds() is None
    tell(left, stage, "started")
    for share in (0.0, 0.5):
        tell(left, stage, share=share)
        now.time += 400
    now.time -= 400
    assert left.seconds() == pytest.approx(400 + 2400, rel=0.1)


def test_what_the_plan_does_not_know_is_taken_for_an_average_one_of_its_kind(store, now):
    known, unknown, other = step("known"), step("unknown"), step("other", kind="odd")
    left = TimeLeft([known, unknown, other], store, 1, {known.digest: 30.0, unknown.digest: None, other.digest: 6.0})
    assert left.seconds() == pytest.approx(66)


def test_earlier_runs_tell_how_long_such_steps_take_here(store, now):
    done, to_do = step("done"), step("to do")
    store.build(store.work(done), Runtime())
    record = store.path(done) / "record.json"
    record.write_text(json.dumps({**store.record(done), "seconds": 900.0}))
    left = TimeLeft([done, to_do], store, 1, {done.digest: 300.0, to_do.digest: 600.0})
    assert left.seconds() == pytest.approx(1800, rel=0.2)


def test_the_longest_chain_bounds_it_however_many_work(store, now):
    first = step("first")
    chain = step("third", x=step("second", x=first))
    alone = [step(str(n)) for n in range(3)]
    steps = [first, chain.inputs["x"], chain, *alone]
    left = TimeLeft(steps, store, 8, {s.digest: 100.0 for s in steps})
    assert left.seconds() == pytest.approx(300)
    left = TimeLeft(steps, store, 2, {s.digest: 100.0 for s in steps})
    assert left.seconds() == pytest.approx(300)
    left = TimeLeft(alone, store, 2, {s.digest: 100.0 for s in alone})
    assert left.seconds() == pytest.approx(200)  # three on two: not 150


def test_a_step_that_begins_anew_is_counted_from_the_beginning(store, now):
    steps = [step(str(n)) for n in range(3)]
    left = TimeLeft(steps, store, 1, {s.digest: 10.0 for s in steps})
    tell(left, steps[0], "started", share=0.9)
    now.time += 5
    tell(left, steps[0], "retried")
    assert left.seconds() == pytest.approx(30)


def test_steps_that_failed_or_were_done_by_another_run_are_left_out(store, now):
    steps = [step(str(n)) for n in range(4)]
    left = TimeLeft(steps, store, 1, {s.digest: 10.0 for s in steps})
    for one, change in zip(steps, ("cached", "failed", "skipped"), strict=False):
        tell(left, one, change)
    assert left.seconds() == pytest.approx(10)


def test_the_end_of_what_is_at_hand_is_told_apart(store, now):
    steps = [step(str(n)) for n in range(4)]
    left = TimeLeft(
        steps, store, 2, {s.digest: seconds for s, seconds in zip(steps, (30.0, 50.0, 10.0, 10.0), strict=True)}
    )
    tell(left, steps[0], "started")
    tell(left, steps[1], "started")
    assert left.seconds() == pytest.approx(50)
    assert left.at_hand == pytest.approx(50)


def test_much_is_reckoned_seldom(store, monkeypatch):
    steps = [step(str(n)) for n in range(2000)]
    left = TimeLeft(steps, store, 8, {s.digest: 10.0 for s in steps})
    reckoned = []
    monkeypatch.setattr(left, "_reckon", lambda now, before=left._reckon: reckoned.append(now) or before(now))
    for _ in range(100):
        assert left.seconds() == pytest.approx(2500, rel=0.01)
    assert 1 <= len(reckoned) < 10


class Simulated:
    """An executor whose steps end when the clock has come to it."""

    def __init__(self, now: Clock, slots: int, seconds: dict[str, float]):
        self.now, self.slots, self.seconds = now, slots, seconds
        self.queue: list[tuple[float, int, Event]] = []
        self.begun: list[Event] = []

    def submit(self, work: Work) -> None:
        self.begun.append(Event("started", work.digest))
        whole = self.seconds[work.digest]
        for part in range(1, 11):
            event = Event("progress", work.digest, "steps", part, 10) if part < 10 else Event("done", work.digest)
            heapq.heappush(self.queue, (self.now.time + whole * part / 10, len(self.queue) + part, event))

    def wait(self) -> list[Event]:
        begun, self.begun = self.begun, []
        if begun:
            return begun
        self.now.time, _, event = heapq.heappop(self.queue)
        return [event]

    def withdraw(self) -> list[str]:
        return []


@pytest.mark.parametrize("slots", [1, 4, 16])
def test_it_is_right_within_30_percent_once_a_tenth_is_done(store, now, slots):
    """Kinds that take up to twice or half of what they should, steps that differ among themselves, a slow device."""
    rng, steps = Random(slots), []
    base = step("base", "model", MODEL)
    for arm in range(12):
        stage = step(f"sft {arm}", "sft", MODEL, base=base)
        again = step(f"dpo {arm}", "dpo", MODEL, policy=stage)
        scores = [step(f"{b} of {p.label}", b, MODEL, policy=p) for p in (stage, again) for b in ("mmlu", "safety")]
        steps += [stage, again, *scores]
    means = {"model": 900.0, "sft": 1800.0, "dpo": 2400.0, "mmlu": 300.0, "safety": 120.0}
    off = {"model": 1.6, "sft": 1.4, "dpo": 1.8, "mmlu": 1.0, "safety": 2.0}  # most are slower than they should be
    expected = {s.digest: means[s.task.kind] * rng.lognormvariate(0, 0.4) for s in [base, *steps]}
    real = {s.digest: expected[s.digest] * off[s.task.kind] * rng.lognormvariate(0, 0.15) for s in [base, *steps]}
    left, told = TimeLeft([base, *steps], store, slots, expected), []

    def listen(event: Event, step: Step) -> None:
        left(event, step)
        told.append((now.time, left.seconds()))

    began = now.time
    schedule.run(steps, store, Simulated(now, slots, real), listen)
    whole = now.time - began
    for tenth in (1, 2.5, 5, 7.5):
        time, seconds = next(known for known in told if known[0] - began >= whole * tenth / 10)
        assert seconds == pytest.approx(now.time - time, rel=0.3), f"after {tenth} tenths"


@pytest.mark.parametrize(("seconds", "text"), [(3.2, "3 s"), (65, "1 min 05 s"), (7800, "2 h 10 min")])
def test_durations_are_written_as_people_read_them(seconds, text):
    assert clock(seconds) == text


def test_what_is_damaged_is_to_be_done_again(store, now):
    below = step("below")
    steps = [below, step("above", below=below)]
    for one in steps:
        store.build(store.work(one), Runtime())
    left = TimeLeft(steps, store, 1, {one.digest: 10.0 for one in steps})
    assert list(left.to_do) == []
    tell(left, steps[1], "damaged")
    tell(left, below, "damaged")
    assert list(left.to_do.values()) == steps  # each after its inputs
