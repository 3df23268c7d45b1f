"""Runs that tell of themselves, in a folder and at a URL; `test_soft_stop` has real processes."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from uuid import uuid4

import pytest
from pydantic import TypeAdapter

from datatrial.engine.board import Board, RemoteBoard
from datatrial.engine.live import About, LiveRun, ask_to_stop, keys_of, live_keys, live_runs, noted_studies
from datatrial.engine.presence import Presence, registered
from datatrial.engine.remote import RemoteStore
from datatrial.engine.schedule import Event
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.engine.time_left import TimeLeft
from datatrial.errors import StoreError
from tests.engine.tasks import Write

ABOUT = About("owls", "/studies/owls.yaml", ("seeds=[0]",))
STEPS = [Step(Write("a"), label="first"), Step(Write("b"), label="second")]


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.open()
    return store


@pytest.fixture
def url(tmp_path, monkeypatch):
    """A store at a URL, whose runs tell of themselves often."""
    monkeypatch.setenv("DATATRIAL_CACHE", str(tmp_path))
    monkeypatch.setattr(RemoteBoard, "beat_seconds", 0.1)
    monkeypatch.setattr(RemoteBoard, "look_seconds", 0.1)
    store = RemoteStore(f"memory://bucket-{uuid4().hex}/studies")
    store.open()
    return store


def enter(store: Store):
    return registered(store.board, ABOUT, STEPS, TimeLeft(STEPS, store, 1))


def leave_behind(store: Store) -> Presence:
    """A run that is killed while it is at its first step."""
    presence = Presence(store.board, ABOUT, STEPS, TimeLeft(STEPS, store, 1))
    presence.enter()
    presence(Event("started", STEPS[0].digest), STEPS[0])
    presence.tell()
    return presence


def kept_telling(presence: Presence, ended: Flag) -> None:
    while not ended.wait(0.02):
        presence.look_around()


def test_a_run_tells_what_it_is_at_and_is_gone_when_it_ends(store):
    first, second = STEPS
    with enter(store) as presence:
        presence(Event("cached", second.digest), second)
        presence(Event("started", first.digest), first)
        presence(Event("progress", first.digest, "training steps", 3, 9), first)
        presence.tell()
        [run] = live_runs(store.board)
        assert (run.about, run.done, run.waiting, run.failed, run.stopping) == (ABOUT, 0, 0, 0, False)
        [step] = run.running
        assert (step.label, step.done, step.total, step.counted) == ("first", 3, 9, "training steps")
        assert keys_of(store.board, run) == live_keys(store.board) == {step.key for step in STEPS}
    assert live_runs(store.board) == []
    assert live_keys(store.board) == set()
    assert list((store.root / "live").iterdir()) == []


def test_a_run_that_was_killed_does_not_look_alive_and_the_next_one_clears_it_away(store):
    leave_behind(store)
    assert live_runs(store.board) == []
    assert live_keys(store.board) == set()
    with enter(store):
        assert len(list((store.root / "live").glob("*.json"))) == 1


def test_at_a_url_a_run_is_alive_while_what_it_tells_changes(url):
    killed = leave_behind(url)
    assert live_runs(url.board) == []
    ended = Flag()
    with enter(url) as presence:
        telling = Thread(target=kept_telling, args=(presence, ended))
        telling.start()
        [run] = live_runs(url.board)
        ended.set()
        telling.join()
    assert run.name == presence.name != killed.name


def test_how_the_clocks_of_machines_differ_does_not_matter(url, monkeypatch):
    killed = leave_behind(url)
    shown = json.loads(url.board.read(f"live/{killed.name}.json"))
    shown["time"] += 300  # its clock is fast
    url.board.put(f"live/{killed.name}.json", json.dumps(shown))
    assert live_runs(url.board) == []
    monkeypatch.setattr(time, "time", lambda: 0.0)  # and that of this one slow by decades
    ended = Flag()
    telling = Thread(target=kept_telling, args=(killed, ended))
    telling.start()
    assert [run.name for run in live_runs(url.board)] == [killed.name]
    ended.set()
    telling.join()


def test_what_a_killed_run_left_at_a_url_goes_after_a_day(url, monkeypatch):
    killed, now = leave_behind(url), time.time()
    for later, left in ((3600, True), (2 * 86400, False)):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        with enter(url):
            assert (url.board.read(f"live/{killed.name}.json") is not None) is left


def test_sigterm_ends_a_run_as_ctrl_c_does(store):
    with pytest.raises(KeyboardInterrupt), enter(store):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert live_runs(store.board) == []


def test_what_a_full_disk_cuts_off_is_not_left_there(store, monkeypatch):
    def full(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(text[:1].encode())
        raise OSError(28, "No space left on device")

    with enter(store) as presence:
        monkeypatch.setattr(Path, "write_text", full)
        assert look(presence) is False
        assert list((store.root / "live").glob(".*")) == []


def test_a_step_that_is_tried_once_more_is_shown_from_its_beginning(store):
    first, _ = STEPS
    with enter(store) as presence:
        presence(Event("started", first.digest), first)
        presence(Event("progress", first.digest, "training steps", 3, 9), first)
        presence(Event("retried", first.digest, "its worker died"), first)
        presence.tell()
        [step] = live_runs(store.board)[0].running
        assert (step.done, step.total) == (0, 0)


def test_a_run_of_another_version_is_passed_over(store):
    with enter(store) as presence:
        store.board.put(f"live/{presence.name}.json", json.dumps({"something": "else"}))
        assert live_runs(store.board) == []
        assert live_keys(store.board) == {step.key for step in STEPS}  # its results are its own still


def look(presence: Presence) -> bool:
    presence.told = presence.looked = 0.0
    return presence.look_around()


@pytest.mark.parametrize("kind", ["store", "url"])
def test_a_run_is_asked_to_begin_no_more_and_then_to_end_at_once(kind, request):
    store = request.getfixturevalue(kind)
    with enter(store) as presence:
        assert not look(presence)
        run = TypeAdapter(LiveRun).validate_json(store.board.read(f"live/{presence.name}.json"))
        assert ask_to_stop(store.board, run) is False
        assert look(presence)
        assert TypeAdapter(LiveRun).validate_json(store.board.read(f"live/{presence.name}.json")).stopping
        assert ask_to_stop(store.board, run) is True
        with pytest.raises(KeyboardInterrupt):
            look(presence)


def test_a_store_that_fails_for_a_while_does_not_end_a_run(store, monkeypatch):
    def fails(*_: object) -> None:
        raise ConnectionError("the network is down")

    with enter(store) as presence:
        monkeypatch.setattr(Board, "read", fails)
        monkeypatch.setattr(Board, "put", fails)
        assert look(presence) is False


def test_a_run_tells_of_itself_no_oftener_than_once_a_second(store, monkeypatch):
    with enter(store) as presence:
        told: list[str] = []
        monkeypatch.setattr(Board, "put", lambda self, place, text: told.append(place))
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            presence.look_around()
        assert len(told) == 1


def test_a_store_that_cannot_be_written_is_named(store, monkeypatch):
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Board, "put", fails)
    with pytest.raises(StoreError, match="No space left on device; name another with --store"), enter(store):
        pass


def test_studies_that_were_run_are_noted_once_for_each_way_they_were_asked_for(store):
    further = Step(Write("c"))
    for about in (ABOUT, ABOUT, About("owls", "/studies/owls.yaml")):
        with registered(store.board, about, STEPS, TimeLeft(STEPS, store, 1)) as presence:
            presence.needs([further])
    noted = noted_studies(store.board)
    assert {study.about for study in noted} == {ABOUT, About("owls", "/studies/owls.yaml")}
    assert noted[0].keys == {step.key for step in (*STEPS, further)}


def test_no_run_registers_while_results_are_removed(store):
    registering: Callable[[], object] = enter(store).__enter__
    with store.board.locked("locks/registering.lock"):
        thread = Thread(target=registering, daemon=True)
        thread.start()
        thread.join(timeout=0.3)
        assert thread.is_alive()
        assert live_keys(store.board) == set()
    thread.join(timeout=10)
    assert not thread.is_alive()
