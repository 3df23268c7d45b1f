"""The schedule, with an executor that works on the spot; `test_local` has real processes."""

from collections.abc import Iterable

import pytest

from datatrial.engine.schedule import Event, run
from datatrial.engine.step import Step
from datatrial.engine.store import Store, Work
from datatrial.records import Runtime
from tests.engine.tasks import Fail, Write


class InProcess:
    def __init__(self, store: Store, slots: int = 1):
        self.store, self.slots, self.queue = store, slots, []

    def submit(self, work: Work) -> None:
        self.queue.append(work)
        assert len(self.queue) <= self.slots

    def withdraw(self) -> Iterable[str]:
        return ()

    def wait(self) -> Iterable[Event]:
        work = self.queue.pop(0)
        started = Event("started", work.digest)
        try:
            self.store.build(work, Runtime())
        except Exception as error:
            return [started, Event("failed", work.digest, str(error))]
        return [started, Event("done", work.digest)]


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.open()
    return store


def go(store, *goals, slots=1):
    events = []
    outcome = run(goals, store, InProcess(store, slots), lambda e, s: events.append((e.change, s.label)))
    return outcome, events


def test_every_step_is_built_once_after_its_inputs(store):
    a = Step(Write("a"), label="a")
    b = Step(Write("b"), {"a": a}, label="b")
    c = Step(Write("c"), {"a": Step(Write("a"), label="a"), "b": b}, label="c")
    outcome, events = go(store, c, slots=3)
    assert [label for change, label in events if change == "done"] == ["a", "b", "c"]
    assert outcome.done == {a.digest, b.digest, c.digest}


def test_a_second_run_does_nothing(store):
    goal = Step(Write("b"), {"a": Step(Write("a"))}, label="goal")
    go(store, goal)
    outcome, events = go(store, goal)
    assert {change for change, _ in events} == {"cached"}
    assert not outcome.done
    assert len(outcome.cached) == 2


def test_a_failure_stops_only_what_depends_on_it(store):
    bad = Step(Fail("data"), label="bad")
    below = Step(Write("x"), {"bad": bad}, label="below")
    far_below = Step(Write("y"), {"below": below, "bad": bad}, label="far below")
    good = Step(Write("z"), label="good")
    outcome, _ = go(store, far_below, good)
    assert outcome.failed.keys() == {bad.digest}
    assert outcome.skipped == {s.digest: "needs bad, which failed" for s in (below, far_below)}
    assert store.has(good)
    assert "line 3" in store.failure(bad)


def test_a_success_forgets_the_earlier_failure(store, tmp_path):
    step = Step(Fail("data", once=str(tmp_path / "tried")))
    go(store, step)
    assert store.failure(step)
    go(store, step)
    assert store.failure(step) is None


def test_of_equally_urgent_steps_the_one_that_was_ready_first_comes_first(store):
    labels = [str(n) for n in range(12)]
    _, events = go(store, *(Step(Write(label), label=label) for label in labels), slots=3)
    assert [label for change, label in events if change == "started"] == labels


def test_what_depends_on_two_failures_is_skipped_once(store):
    one, two = Step(Fail("data"), label="one"), Step(Fail("odd"), label="two")
    below = Step(Write("x"), {"one": one, "two": two}, label="below")
    outcome, events = go(store, below)
    assert outcome.failed.keys() == {one.digest, two.digest}
    assert [label for change, label in events if change == "skipped"] == ["below"]


def test_what_stands_on_a_result_that_is_made_again_waits_for_it(store):
    model = Step(Write("model"), label="model")
    adapter = Step(Write("adapter"), {"model": model}, label="adapter")
    go(store, adapter)
    store.forget(model)  # as if it had been damaged
    score = Step(Write("score"), {"adapter": adapter}, label="score")
    mean = Step(Write("mean"), {"score": score}, label="mean")
    _, events = go(store, Step(Write("all"), {"mean": mean, "model": model}, label="all"))
    assert [label for change, label in events if change == "done"] == ["model", "score", "mean", "all"]


def test_what_the_longest_chain_waits_for_comes_first(store):
    short = Step(Write("short"), label="short")
    first = Step(Write("first"), label="first")
    chain = Step(Write("last"), {"x": Step(Write("next"), {"x": first}, label="next")}, label="last")
    _, events = go(store, short, chain)
    started = [label for change, label in events if change == "started"]
    assert started.index("first") < started.index("short")


def test_a_run_that_is_to_begin_no_more_finishes_what_it_is_at_and_says_what_is_left(store):
    first, second = Step(Write("a"), label="a"), Step(Write("b"), label="b")
    below, alone = Step(Write("c"), {"x": first}, label="c"), Step(Write("d"), label="d")
    asked = iter([False, True, True, True])
    executor = InProcess(store, slots=2)
    outcome = run([below, second, alone], store, executor, lambda event, step: None, lambda: next(asked))
    assert outcome.done == {first.digest, second.digest}
    assert outcome.left == {below.digest, alone.digest}
    assert list(asked) == [True]  # it looked around to the end, as it may be asked to end at once


def test_what_an_executor_has_not_begun_is_taken_back_when_no_more_is_to_begin(store):
    class Queue(InProcess):
        def withdraw(self) -> list[str]:
            left, self.queue = [work.digest for work in self.queue], []
            return left

    steps = [Step(Write(text)) for text in "abc"]
    asked = iter([False, True, True])
    outcome = run(steps, store, Queue(store, slots=3), lambda event, step: None, lambda: next(asked))
    assert (len(outcome.done), len(outcome.left)) == (1, 2)


def test_a_step_that_is_tried_again_has_not_failed_any_more(store):
    step = Step(Fail("data"))
    go(store, step)
    assert store.failure(step)

    class Killed(InProcess):
        def wait(self) -> Iterable[Event]:
            if not self.queue:
                raise KeyboardInterrupt
            return [Event("started", self.queue.pop().digest)]

    with pytest.raises(KeyboardInterrupt):
        run([step], store, Killed(store), lambda event, step: None)
    assert store.failure(step) is None
