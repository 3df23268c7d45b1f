"""What `status`, `stop` and `gc` see of a run and ask of it. The run is this process; some commands are others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datatrial import planner
from datatrial.cli import app
from datatrial.engine import schedule
from datatrial.engine.live import About
from datatrial.engine.presence import Presence, registered
from datatrial.engine.schedule import Event, Outcome
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.engine.time_left import TimeLeft
from datatrial.records import Runtime
from tests.engine.tasks import Write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / ".datatrial")
    store.open()
    return store


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs the command line in this process; what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*args: object, expect: int = 0) -> str:
        done = CliRunner().invoke(app, [*map(str, args)], catch_exceptions=False)
        assert done.exit_code == expect, done.output
        return done.output

    return call


@contextmanager
def running(study: Path, store: Store, *overrides: str) -> Iterator[tuple[Presence, dict[str, Step]]]:
    """A run of the study, at its first SFT stage: 3 of 9 training steps are done."""
    steps = planner.plan(study, store.root, overrides).steps
    by_label = {step.label: step for step in steps}
    about = About("tiny", str(study), overrides)
    left = TimeLeft(steps, store, 2, {step.digest: 60.0 for step in steps})
    with registered(store.board, about, steps, left) as presence:
        stage = by_label["sft careful, seed 0"]
        for event in (Event("started", stage.digest), Event("progress", stage.digest, "training steps", 3, 9)):
            left(event, stage)
            presence(event, stage)
        presence.tell()
        yield presence, by_label


def made(store: Store, step: Step) -> None:
    """A result in the place of the step's own, which would take long to make."""
    placed = Step(Write(step.digest, kind=step.task.kind))
    store.build(store.work(placed), Runtime()).rename(store.path(step))


def test_status_shows_what_a_live_run_is_at_and_for_how_long_yet(datatrial, said, tiny, store):
    with running(tiny, store):
        told = datatrial("status", tiny).stdout
        assert f"run of {tiny} by " in told
        assert "0 done · 1 running · 29 waiting · about 1" in told
        assert "sft careful, seed 0  ███████░░░░░░░░░░░░░  33%  3/9 training steps" in told
        assert told.split("careful+pairs")[1].split()[:2] == ["0", "1"]
        other = tiny.with_name("other.yaml")
        other.write_text(tiny.read_text().replace("kind: micro_world", "kind: micro_world, seed: 7"))
        assert "run of" not in said("status", other)  # it has no step in common with it
    assert "run of" not in said("status", tiny)


def test_status_and_explain_tell_what_will_be_gone_on_with(said, tiny, store):
    stage = next(step for step in planner.plan(tiny).steps if step.label == "sft careful, seed 0")
    (store.root / "scratch" / stage.name / "trl").mkdir(parents=True)
    (store.root / "scratch" / stage.name / "trl" / "checkpoint").write_text("x")
    assert "interrupted: sft careful, seed 0: the next run goes on from where it was" in said("status", tiny)
    assert "was interrupted, and goes on" in said("explain", tiny, "sft careful, seed 0")
    store.note_failure(stage, "the disk is full")
    assert "failed: sft careful, seed 0: the disk is full" in said("status", tiny)


def test_stop_asks_the_runs_of_a_study_and_says_what_they_finish(datatrial, said, tiny, store):
    assert "no run is going on in the store" in said("stop")
    with running(tiny, store) as (presence, _):
        other = tiny.with_name("other.yaml")
        other.write_text(tiny.read_text().replace("name: tiny", "name: other"))
        assert "no run of other is going on" in said("stop", other)
        assert presence.look_around() is False
        told = datatrial("stop", tiny).stdout
        assert "it finishes sft careful, seed 0 (about " in told
        assert presence.look_around() is True
        presence.tell()
        assert "stopping: it begins no more" in said("status", tiny)
        assert "now ends at once" in said("stop")
        with pytest.raises(KeyboardInterrupt):
            presence.look_around()


def test_gc_keeps_what_a_study_needs_and_says_what_would_go(said, tiny, store):
    with running(tiny, store, "seeds=[0]"):
        pass  # it was run, and is noted
    kept = planner.plan(tiny, store.root, ["seeds=[1]"]).steps
    noted = planner.plan(tiny, store.root, ["seeds=[0]"]).steps
    unneeded = planner.plan(tiny, store.root, ["seeds=[2]"]).steps
    for step in {step.digest: step for step in (*kept, *noted, *unneeded)}.values():
        if step.task.kind in ("data_set", "sft"):
            made(store, step)
    sft = {seed: next(s for s in steps if s.task.kind == "sft") for seed, steps in enumerate((noted, kept, unneeded))}

    told = said("gc", tiny, "seeds=[1]")
    assert "nothing was removed: add --delete" in told
    assert f"{tiny} seeds=[0]: 1 results that no study named needs" in " ".join(told.replace("'", "").split())
    assert all(store.has(step) for step in sft.values())

    told = said("gc", tiny, "seeds=[1]", "--delete")
    assert "6 of its 21 steps have results here" in told
    assert {seed: store.has(step) for seed, step in sft.items()} == {0: True, 1: True, 2: False}
    said("gc", tiny, "seeds=[1]", "--others", "--delete")
    assert {seed: store.has(step) for seed, step in sft.items()} == {0: False, 1: True, 2: False}
    assert all(store.has(step) for step in kept if step.task.kind == "data_set")


def test_gc_refuses_what_it_cannot_do(said, tiny):
    assert "name a study before seeds=[0]" in said("gc", "seeds=[0]", expect=2)
    assert "there is no file nowhere.yaml" in said("gc", "nowhere.yaml", expect=2)
    assert "nothing can be locked at a URL" in said("gc", tiny, "--store", "memory://x/y", expect=2)


def test_a_store_that_is_not_there_is_named(said, tiny):
    assert "there is no store at /nowhere" in said("gc", tiny, "--store", "/nowhere", expect=2)
    assert "there is no store at /nowhere yet" in said("status", tiny, "--store", "/nowhere")


def test_a_run_that_was_stopped_ends_as_one_that_was_interrupted(said, tiny, monkeypatch):
    monkeypatch.setattr(schedule, "run", lambda *_: Outcome(done={"a"}, left={"b", "c"}))
    told = said("run", tiny, expect=130)
    assert "stopped: 1 steps were done, 31 are left: run the same command again to go on" in told
