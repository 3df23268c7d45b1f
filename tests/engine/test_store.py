import json
import os
import pickle
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from datatrial.engine.step import Step, differences
from datatrial.engine.store import Store
from datatrial.errors import StoreError
from datatrial.explain import nearest
from datatrial.records import Runtime
from tests.engine.tasks import Content, Fail, GoOn, Write


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.open()
    return store


def test_a_result_has_a_record_of_how_it_came_about(store, tmp_path):
    (tmp_path / "file").write_text("outside")
    source = Step(Write("a"), label="the source")
    store.build(store.work(source), Runtime())
    step = Step(Write("b"), {"x": source}, {"y": Content(tmp_path)}, label="b")
    (tmp_path / "text").write_text("!")
    result = store.build(store.work(step), Runtime(device="cpu"))
    record = json.loads((result / "record.json").read_text())
    assert (result / "text").read_text() == "ba!"
    assert record["recipe"] == step.recipe
    assert record["label"] == "b"
    assert record["device"] == "cpu"
    assert record["files"].keys() == {"text"}
    assert len(record["files"]["text"]) == 64
    assert record["packages"]["torch"]
    assert record["peak_memory_mib"]["host"] > 0


def test_a_failed_step_leaves_no_result_and_its_leftovers_do_no_harm(store, tmp_path):
    step = Step(Fail("data", once=str(tmp_path / "tried")))
    with pytest.raises(Exception, match="line 3"):
        store.build(store.work(step), Runtime())
    assert not store.has(step)
    assert store.has(step) is store.path(step).exists()
    result = store.build(store.work(step), Runtime())
    assert sorted(p.name for p in result.iterdir()) == ["half", "record.json"]


def test_what_a_step_could_go_on_from_goes_when_it_was_killed_right_after_its_result(store):
    done, begun = Step(Write("a")), Step(GoOn())
    store.build(store.work(done), Runtime())
    left = store.root / "scratch" / done.name
    left.mkdir()
    (left / "checkpoint").write_text("large")
    with FileLock(store.root / store.lock_of(done.key)):  # by who is at the step on this machine
        Store(store.root).open()
    assert left.exists()
    with pytest.raises(ValueError, match="the first attempt"):
        store.build(store.work(begun), Runtime())
    Store(store.root).open()
    assert [path.name for path in (store.root / "scratch").iterdir()] == [begun.name]


def test_whether_a_step_was_interrupted_can_be_asked_while_its_run_ends(store, monkeypatch):
    step, listed = Step(GoOn()), os.scandir
    checkpoint = store.root / "scratch" / step.name / "trl" / "checkpoint-5"
    checkpoint.mkdir(parents=True)
    (checkpoint / "sums.json").write_text("{}")
    assert store.is_interrupted(step)

    def vanishing(path):
        if Path(path) == checkpoint.parent:
            checkpoint.parent.rename(store.root / "away")
        return listed(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert not store.is_interrupted(step)


def test_each_step_has_a_scratch_folder_of_its_own_which_is_forgotten_with_it(store):
    step, other = Step(GoOn()), Step(GoOn(kind="go-on-otherwise"))
    for one in (step, other):
        with pytest.raises(ValueError, match="the first attempt"):
            store.build(store.work(one), Runtime())
    assert len(list((store.root / "scratch").iterdir())) == 2
    store.forget(step)
    with pytest.raises(ValueError, match="the first attempt"):
        store.build(store.work(step), Runtime())


def test_what_a_run_left_that_was_killed_after_its_result_is_cleared_away(store):
    step = Step(Write("a"))
    store.build(store.work(step), Runtime())
    left = store.root / "scratch" / step.name
    left.mkdir(parents=True)
    store.build(store.work(step), Runtime())
    assert not left.exists()


def test_a_folder_without_a_record_is_no_result(store):
    step = Step(Write("a"))
    store.path(step).mkdir(parents=True)
    (store.path(step) / "text").write_text("stale")
    assert not store.has(step)
    assert (store.build(store.work(step), Runtime()) / "text").read_text() == "a"


def test_an_entry_is_built_once_however_many_ask_for_it(store, tmp_path):
    work = store.work(Step(Write("a", runs=str(tmp_path / "runs"))))
    threads = [threading.Thread(target=store.build, args=(work, Runtime())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len((tmp_path / "runs").read_text().splitlines()) == 1


def test_a_worker_gets_the_place_of_the_store_and_not_all_that_was_found_there(store):
    step = Step(Write("x"))
    store.build(store.work(step), Runtime())
    assert list(store.check([step])) == []
    sent = pickle.loads(pickle.dumps(store))
    assert vars(sent) == {"root": store.root}
    assert sent.has(step)


def test_an_unwritable_store_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to the store .*/file/store.*--store"):
        Store(tmp_path / "file" / "store").open()


def test_the_nearest_record_is_the_one_that_differs_least(store):
    def step(text: str, x: str) -> Step:
        return Step(Write(text), {}, {"x": Content(Path(), x)})

    for old in (step("one", "1"), step("two", "2")):
        (store.root / "x").mkdir(exist_ok=True)
        store.build(store.work(Step(old.task)), Runtime())
    found = nearest(Step(Write("two")), store)
    assert found is not None
    assert found[1]["recipe"]["task"]["text"] == "two"


def test_differences_name_each_changed_setting():
    old = {"task": {"lr": 1, "lora": {"r": 8}, "ops": [{"n": 1}, {"n": 2}]}, "inputs": {}}
    new = {"task": {"lr": 1, "lora": {"r": 16}, "ops": [{"n": 1}, {"n": 3}], "extra": True}, "inputs": {}}
    assert differences(old, new) == [
        "task.extra: null -> true",
        "task.lora.r: 8 -> 16",
        "task.ops[1].n: 2 -> 3",
    ]
