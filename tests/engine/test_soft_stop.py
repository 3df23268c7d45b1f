"""A run in a process of its own that is stopped by another, and gone on with from a copy of its store elsewhere."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datatrial.engine import schedule
from datatrial.engine.live import LiveRun, ask_to_stop, live_runs
from datatrial.engine.local import LocalExecutor
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.records import Runtime
from tests.engine.tasks import GoOn, Refer, Sleep, Write

SCRIPT = """
import sys
from pathlib import Path
from datatrial.engine.live import About
from datatrial.engine.local import LocalExecutor
from datatrial.engine.presence import registered
from datatrial.engine.schedule import all_of, run
from datatrial.engine.step import upstream_first
from datatrial.engine.store import Store
from datatrial.engine.time_left import TimeLeft
from tests.engine.test_soft_stop import goals
store = Store(Path(sys.argv[1])); store.open()
wanted = goals(sys.argv[2], float(sys.argv[3]))
time_left = TimeLeft(list(upstream_first(*wanted)), store, 1)
with registered(store.board, About("owls"), upstream_first(*wanted), time_left) as presence:
    with LocalExecutor(store, jobs=1, device="cpu") as executor:
        outcome = run(wanted, store, executor, all_of(time_left, presence), presence.look_around)
print(len(outcome.done), len(outcome.left), len(outcome.failed))
"""


def goals(began: str, seconds: float) -> list[Step]:
    """A chain of four, the second of which takes its time."""
    first = Step(Write("first", runs=f"{began}-first"), label="first")
    long = Step(Sleep(seconds, began), {"x": first}, label="long")
    return [Step(Refer("last"), {"base": Step(Refer("third"), {"base": long})}, label="last")]


def start(store: Path, began: Path, seconds: float) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SCRIPT, str(store), str(began), str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def at_work(store: Store, process: "subprocess.Popen[str]", label: str) -> LiveRun:
    """The run once it says that it is at the step of that label."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        for run in live_runs(store.board):
            if [step.label for step in run.running] == [label]:
                return run
        time.sleep(0.05)
    raise AssertionError(f"the run never was at {label}")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.open()
    return store


def test_a_stopped_run_finishes_what_it_is_at_and_goes_on_in_a_copy_elsewhere(store, tmp_path):
    began = tmp_path / "began"
    run = start(store.root, began, 2.0)
    assert ask_to_stop(store.board, at_work(store, run, "long")) is False
    assert run.communicate(timeout=60)[0].split() == ["2", "2", "0"]
    assert live_runs(store.board) == []

    elsewhere = tmp_path / "another disk" / "store"
    shutil.copytree(store.root, elsewhere)
    shutil.rmtree(store.root)
    assert start(elsewhere, began, 2.0).communicate(timeout=60)[0].split() == ["2", "0", "0"]
    assert len(began.read_text().split()) == 1
    assert len(Path(f"{began}-first").read_text().split()) == 1


def test_a_run_that_is_asked_twice_ends_at_once(store, tmp_path):
    run = start(store.root, tmp_path / "began", 60.0)
    seen = at_work(store, run, "long")
    ask_to_stop(store.board, seen)
    assert ask_to_stop(store.board, seen) is True
    assert run.wait(timeout=20) != 0
    assert store.has(Step(Write("first")))
    assert live_runs(store.board) == []


def test_a_run_that_is_killed_is_gone_at_once(store, tmp_path):
    run = start(store.root, tmp_path / "began", 60.0)
    at_work(store, run, "long")
    run.kill()
    run.wait()
    assert live_runs(store.board) == []


def test_what_an_interrupted_step_goes_on_from_is_in_a_copy_of_the_store(store, tmp_path):
    step = Step(GoOn())
    with pytest.raises(ValueError, match="the first attempt"):
        store.build(store.work(step), Runtime())
    assert store.is_interrupted(step)
    elsewhere = Store(shutil.copytree(store.root, tmp_path / "elsewhere"))
    with LocalExecutor(elsewhere, jobs=1, device="cpu") as executor:
        schedule.run([step], elsewhere, executor, lambda event, step: None)
    assert (elsewhere.path(step) / "attempts").read_text() == "3"  # it went on from the first, was killed, and went on
    assert not elsewhere.is_interrupted(step)
