"""Real worker processes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datatrial.engine import local
from datatrial.engine.local import LocalExecutor
from datatrial.engine.schedule import run
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.engine.worker import explain
from tests.engine.tasks import Fail, GoOn, Hang, Sleep, Write


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.open()
    return store


def go(store, *goals, jobs=1):
    events = []
    with LocalExecutor(store, jobs=jobs, device="cpu") as executor:
        outcome = run(goals, store, executor, lambda e, s: events.append((e.change, s.label, e.message)))
    return outcome, events


def test_one_worker_builds_many_steps(store, tmp_path):
    steps = [Step(Write(str(n), runs=str(tmp_path / "pids"))) for n in range(4)]
    outcome, events = go(store, *steps)
    assert len(outcome.done) == 4
    assert len(set((tmp_path / "pids").read_text().split())) == 1
    assert ("progress", "", "texts") in events


def test_errors_for_people_come_without_a_traceback_and_others_have_it_in_the_log(store):
    told, disk, odd = Step(Fail("data")), Step(Fail("disk")), Step(Fail("odd"))
    outcome, _ = go(store, told, disk, odd, jobs=2)
    assert outcome.failed[told.digest] == "rows.jsonl, line 3: no column 'chosen'; add it"
    assert outcome.failed[disk.digest].startswith("the disk is full")
    assert outcome.failed[odd.digest] == "ValueError: an unexpected value"
    assert "Traceback" in store.log(odd).read_text()


LIBRARIES = {
    "safetensors": "Error while serializing: I/O error: No space left on device (os error 28)",
    "torch": "[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534",
    "a quota": "cannot write: Disk quota exceeded",
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_full_disk_is_called_so_whatever_library_meets_it(library):
    error = RuntimeError("saving failed")
    error.__cause__ = ValueError(LIBRARIES[library])
    assert explain(error).startswith("the disk is full (the store), or a quota is reached: free some space")
    assert explain(ValueError("no space between words")) == "ValueError: no space between words"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no file that is always full")
def test_a_log_that_cannot_be_written_fails_the_step_and_not_the_worker(store, tmp_path):
    bad, good = Step(Fail("odd"), label="bad"), Step(Write("good", runs=str(tmp_path / "pids")))
    store.log(bad).symlink_to("/dev/full")
    outcome, events = go(store, bad, good)
    assert outcome.failed[bad.digest] == "ValueError: an unexpected value"
    assert good.digest in outcome.done
    assert "retried" not in [change for change, _, _ in events]


def test_a_step_whose_worker_dies_is_tried_once_more(store, tmp_path):
    step = Step(Fail("kill", once=str(tmp_path / "tried")), label="fragile")
    outcome, events = go(store, step)
    assert step.digest in outcome.done
    assert [change for change, _, _ in events if change == "retried"] == ["retried"]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(local, "QUIET_SECONDS", 1.0)
    monkeypatch.setattr(local, "LOOK_SECONDS", 0.05)


@pytest.mark.parametrize("how", ["waits", "stopped"])
def test_a_step_that_hangs_is_ended_and_tried_once_more(store, tmp_path, impatient, how):
    step = Step(Hang(how, str(tmp_path / "tried")), label="hanging")
    outcome, events = go(store, step, Step(Write("another")), jobs=2)
    assert len(outcome.done) == 2
    [why] = [message for change, _, message in events if change == "retried"]
    assert re.fullmatch(r"its worker said nothing for \d+ s and was ended", why)
    if how == "waits":
        assert "in waits_for_ever" in store.log(step).read_text()


def test_what_a_hanging_step_started_is_ended_with_it(store, tmp_path, impatient):
    step = Step(Hang("has started another", str(tmp_path / "tried")))
    outcome, _ = go(store, step)
    assert step.digest in outcome.done
    deadline, other = time.monotonic() + 10, int((tmp_path / "tried").read_text())
    while _alive(other):
        assert time.monotonic() < deadline, "it outlived the worker"
        time.sleep(0.1)


def test_a_step_that_computes_in_silence_is_left_alone_for_longer(store, tmp_path, impatient, monkeypatch):
    monkeypatch.setattr(local, "TIMES_BUSY", 1000.0)
    outcome, events = go(store, Step(Hang("computes", str(tmp_path / "tried"))))
    assert len(outcome.done) == 1
    assert "retried" not in [change for change, _, _ in events]


def test_a_step_may_be_silent_for_three_times_what_it_is_expected_to_take():
    assert local.quiet_seconds(None) == local.quiet_seconds(600) == 3600
    assert local.quiet_seconds(7200) == 21600


def test_a_step_whose_worker_dies_twice_fails_with_the_end_of_its_log(store):
    bad, good = Step(Fail("kill"), label="bad"), Step(Write("good"))
    outcome, _ = go(store, bad, good)
    assert "killed" in outcome.failed[bad.digest]
    assert "the last words of the worker" in outcome.failed[bad.digest]
    assert good.digest in outcome.done


def test_a_step_that_failed_and_was_killed_goes_on_from_its_scratch_which_then_goes_away(store):
    step = Step(GoOn())
    outcome, _ = go(store, step)
    assert "the first attempt" in outcome.failed[step.digest]
    outcome, events = go(store, step, Step(Write("a")))
    assert [change for change, _, _ in events if change == "retried"] == ["retried"]
    assert (store.path(step) / "attempts").read_text() == "3"
    assert store.record(step)["files"].keys() == {"attempts"}
    assert list((store.root / "scratch").iterdir()) == []


SCRIPT = """
import sys
from pathlib import Path
from datatrial.engine.local import LocalExecutor
from datatrial.engine.schedule import run
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from tests.engine.tasks import Sleep, Write
store = Store(Path(sys.argv[1])); store.open()
first = Step(Write("first"))
with LocalExecutor(store, jobs=1, device="cpu") as executor:
    run([first, Step(Sleep(60, sys.argv[2]), {"x": first})], store, executor, lambda e, s: None)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent_and_what_was_done_is_kept(store, tmp_path, how):
    began = tmp_path / "began"
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(store.root), str(began)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    while not began.exists() or not began.read_text():
        assert parent.poll() is None
        time.sleep(0.05)
    worker = int(began.read_text())
    assert store.is_running(Step(Sleep(60, ""), {"x": Step(Write("first"))}))
    parent.send_signal(how)
    parent.wait(timeout=20)
    deadline = time.monotonic() + 10
    while _alive(worker):
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.1)
    assert store.has(Step(Write("first")))
    assert not store.is_running(Step(Sleep(60, ""), {"x": Step(Write("first"))}))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"  # a zombie is dead


def test_two_runs_on_one_store_build_each_step_once(store, tmp_path):
    runs = tmp_path / "runs"
    steps = [Step(Write(str(n), runs=str(runs))) for n in range(6)]
    script = SCRIPT.split("first =")[0] + (
        "steps = [Step(Write(str(n), runs=sys.argv[2])) for n in range(6)]\n"
        "with LocalExecutor(store, jobs=2, device='cpu') as executor:\n"
        "    run(steps, store, executor, lambda e, s: None)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    both = [subprocess.Popen([sys.executable, "-c", script, str(store.root), str(runs)], env=env) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert len(runs.read_text().splitlines()) == 6
    assert all(store.has(step) for step in steps)
