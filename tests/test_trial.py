"""How a run is got ready, and how it ends when it is stopped; `end_to_end` has whole runs."""

import shutil
from pathlib import Path

import pytest

from datatrial import trial
from datatrial.engine import schedule
from datatrial.engine.garbage import Garbage
from datatrial.engine.schedule import Outcome
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.errors import StoppedError
from datatrial.records import Runtime
from datatrial.trial import Trial, prepare
from tests.end_to_end.conftest import TINY
from tests.engine.tasks import Write


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def ready(study: Path) -> Trial:
    return prepare(study, study.parent / "store", jobs=1, device="cpu")


def test_it_is_known_beforehand_how_long_each_step_should_take(study):
    found = ready(study)
    assert found.times.seconds.keys() == {step.digest for step in found.plan.steps}
    assert all(seconds is not None and seconds > 0 for seconds in found.times.seconds.values())
    assert found.time_left.seconds() > 1


def test_on_a_device_that_nobody_knows_it_is_only_known_which_steps_take_longer(study, monkeypatch):
    monkeypatch.setattr(trial, "_device", lambda place: None)
    found = ready(study)
    kinds = {step.digest: step.task.kind for step in found.plan.steps}
    assert {kinds[digest] for digest, seconds in found.times.seconds.items() if seconds is not None} >= {"data_set"}
    assert {kinds[digest] for digest, seconds in found.times.seconds.items() if seconds is None} >= {"sft", "lm_eval"}
    assert found.time_left.seconds() is None
    assert all(seconds is not None for seconds in found.times.warm.values())


def test_a_study_whose_time_cannot_be_estimated_runs_all_the_same(study, monkeypatch):
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(trial, "expected", fails)
    found = ready(study)
    assert found.times.seconds == {}
    assert found.time_left.seconds() is None


def place(study: Path) -> Path:
    """Puts a result of one of the study's steps into the store."""
    step = next(step for step in ready(study).plan.steps if step.label == "data careful")
    store = Store(study.parent / "store")
    placed = Step(Write("x", kind=step.task.kind))
    return store.build(store.work(placed), Runtime()).rename(store.path(step))


def test_what_the_steps_read_is_fetched_again_when_results_went_meanwhile(study, monkeypatch):
    placed = place(study)
    fetched: list[object] = []
    monkeypatch.setattr(trial, "_fetch", lambda plan, store: fetched.append(plan))
    monkeypatch.setattr(schedule, "run", lambda *_: Outcome(left={"something"}))
    for removed, times in ((False, 0), (True, 1)):
        found = ready(study)
        if removed:
            shutil.rmtree(placed)
        fetched.clear()
        with pytest.raises(StoppedError):
            found.run()
        assert len(fetched) == times


def test_results_stay_as_long_as_they_are_looked_at(study, monkeypatch):
    placed = place(study)
    monkeypatch.setattr(schedule, "run", lambda *_: Outcome())
    found = ready(study)
    garbage = Garbage(found.store, named=set(), others=True)
    with found.running():
        garbage.remove()
        assert placed.exists()
    garbage.remove()
    assert not placed.exists()


def test_a_run_that_was_stopped_says_what_is_left_and_is_no_result(study, monkeypatch):
    monkeypatch.setattr(schedule, "run", lambda *_: Outcome(done={"a"}, left={"b", "c"}))
    found = ready(study)
    with pytest.raises(KeyboardInterrupt, match=f"stopped: 1 steps were done, {len(found.steps) - 1} are left"):
        found.run()  # statistics and report, too
