"""A store that fsspec reaches: in memory, or in a folder that is no machine's cache."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest

from datatrial.engine import schedule
from datatrial.engine.local import LocalExecutor
from datatrial.engine.remote import RemoteStore, store_at
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.errors import StoreError
from datatrial.explain import nearest
from datatrial.records import ModelRef, Runtime
from tests.engine.tasks import Fail, GoOn, Refer, Write


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Makes this process one of several machines, each with a cache of its own."""

    def machine(name: str, url: str) -> RemoteStore:
        monkeypatch.setenv("DATATRIAL_CACHE", str(tmp_path / name))
        store = RemoteStore(url)
        store.open()
        return store

    return machine


@pytest.fixture
def url():
    return f"memory://bucket-{uuid4().hex}/studies"


def made(store: Store, step: Step) -> Path:
    result = store.build(store.work(step), Runtime())
    store.note_success(step)
    return result


def remote_files(url: str) -> dict[str, bytes]:
    system, base = fsspec.core.url_to_fs(url)
    files = {path.removeprefix(base + "/"): system.cat_file(path) for path in system.find(base)}
    assert files.pop("store.json", b'{"format": 1}') == b'{"format": 1}'
    return files


def test_what_a_step_could_go_on_from_goes_where_another_machine_has_done_it(machine, url):
    one, step = machine("one", url), Step(GoOn())
    with pytest.raises(ValueError, match="the first attempt"):
        made(one, step)
    assert list(one.root.glob("scratch/*"))
    two = machine("two", url)
    attempts = two.root / "scratch" / step.name
    attempts.mkdir(parents=True)
    for number in (1, 2):  # the third one succeeds
        (attempts / f"attempt {number}").touch()
    made(two, step)
    made(one, step)
    assert not list(one.root.glob("scratch/*"))


def test_a_place_with_a_scheme_is_a_url(tmp_path):
    assert isinstance(store_at("memory://bucket/x"), RemoteStore)
    assert str(store_at("memory://bucket/x/")) == "memory://bucket/x"
    assert type(store_at(tmp_path)) is type(store_at(str(tmp_path))) is Store


def test_what_one_machine_made_another_reads(machine, url):
    first, second = Step(Write("a")), Step(Write("b"), {"x": Step(Write("a"))})
    made(machine("one", url), first)
    other = machine("two", url)
    assert other.has(first)
    assert not other.has(second)
    assert (made(other, second) / "text").read_text() == "ba"
    third = machine("three", url)
    assert (third.path(second) / "text").read_text() == "ba"
    assert third.record(second) == json.loads((third.path(second) / "record.json").read_text())
    assert not (third.root / first.key).exists()  # nothing that was not asked for


def test_the_record_is_written_last_so_that_half_a_result_is_none(machine, url, monkeypatch):
    store, step = machine("one", url), Step(Write("a"))
    system, _ = fsspec.core.url_to_fs(url)
    put, seen = type(system).put_file, []

    def put_and_break(self, here, there, **options):
        if there.endswith("record.json"):
            raise ConnectionError("the network is down")
        seen.append(there)
        put(self, here, there, **options)

    monkeypatch.setattr(type(system), "put_file", put_and_break)
    with pytest.raises(ConnectionError):
        made(store, step)
    assert [Path(path).name for path in seen] == ["text"]
    assert not machine("two", url).has(step)

    monkeypatch.setattr(type(system), "put_file", put)
    made(machine("one", url), step)
    assert machine("two", url).has(step)


@dataclass(frozen=True)
class Differ:
    """Writes other files each time, as training may on another kind of GPU."""

    kind: str = "differ"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        for name in ("adapter", "history", "summary"):
            (out / name).write_text(uuid4().hex)


@pytest.mark.parametrize("sent", range(4))  # files that the slower machine has sent when the faster one begins
def test_two_machines_that_send_one_result_at_once_leave_a_whole_one(machine, url, monkeypatch, sent):
    slow, fast, step = machine("slow", url), machine("fast", url), Step(Differ())
    system, _ = fsspec.core.url_to_fs(url)
    put, calls = type(system).put_file, []

    def put_and_be_overtaken(self, here, there, **options):
        calls.append(there)
        if len(calls) == sent + 1:
            made(fast, step)
        put(self, here, there, **options)

    monkeypatch.setattr(type(system), "put_file", put_and_be_overtaken)
    made(slow, step)
    monkeypatch.undo()
    found = machine("reader", url).path(step)
    contents = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in (
        found, fast.root / step.key, slow.root / step.key
    )]  # fmt: skip
    assert contents[0] in contents[1:]
    assert contents[0].keys() == {"adapter", "history", "summary", "record.json"}


def test_of_two_machines_the_first_whose_result_is_whole_is_heard(machine, url, monkeypatch):
    slow, fast, step = machine("slow", url), machine("fast", url), Step(Differ())
    with monkeypatch.context() as overtaken:
        build = Store._build_once
        overtaken.setattr(Store, "_build_once", lambda *of: (build(*of), of[0] is slow and made(fast, step)))
        made(slow, step)
    first = (fast.root / step.key / "record.json").read_bytes()
    assert (machine("reader", url).path(step) / "record.json").read_bytes() == first


def test_a_result_that_could_not_be_sent_is_sent_later_and_not_made_again(machine, url, monkeypatch, tmp_path):
    step = Step(Write("a", runs=str(tmp_path / "runs")))
    with monkeypatch.context() as broken:
        broken.setattr(RemoteStore, "_send", lambda self, key: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made(machine("one", url), step)
    made(machine("one", url), step)
    assert len((tmp_path / "runs").read_text().split()) == 1
    assert machine("two", url).has(step)


def test_a_step_that_another_machine_has_done_since_is_not_done_again(machine, url, tmp_path):
    step = Step(Write("a", runs=str(tmp_path / "runs")))
    early = machine("one", url)
    assert not early.has(step)  # it has looked, and will not look again
    made(machine("two", url), step)
    late = pickle.loads(pickle.dumps(early))  # as a worker gets it
    made(late, step)
    assert len((tmp_path / "runs").read_text().split()) == 1


def test_the_store_is_listed_once_however_many_steps_are_asked_for(machine, url, monkeypatch):
    store = machine("one", url)
    for n in range(3):
        made(store, Step(Write(str(n))))
    system, _ = fsspec.core.url_to_fs(url)
    calls: list[str] = []

    def counted(name: str) -> Any:
        real = getattr(type(system), name)
        return lambda *args, **options: calls.append(name) or real(*args, **options)

    for name in ("find", "exists"):
        monkeypatch.setattr(type(system), name, counted(name))
    reader = RemoteStore(url)
    assert [reader.has(Step(Write(str(n)))) for n in range(50)] == [True] * 3 + [False] * 47
    assert calls == ["find"]


def test_what_a_model_refers_to_in_the_store_comes_with_it(machine, url):
    weights, store = Step(Write("weights")), machine("one", url)
    made(store, weights)
    adapter = Step(Refer("adapter"), {"base": weights})
    made(store, adapter)
    other = machine("two", url)
    model = ModelRef.read(other.path(adapter))
    assert (Path(model.weights) / "text").read_text() == "weights"
    assert Path(model.weights).is_relative_to(other.root)


def test_a_result_that_was_forgotten_is_made_anew_on_every_machine(machine, url, tmp_path):
    step, runs = Step(Write("a", runs=str(tmp_path / "runs"))), tmp_path / "runs"
    made(machine("one", url), step)
    machine("two", url).path(step)
    driver = machine("driver", url)
    driver.forget(step)
    assert not driver.has(step)
    assert remote_files(url) == {}
    made(machine("two", url), step)
    assert len(runs.read_text().split()) == 2


def test_a_damaged_result_is_named_set_aside_and_made_again(machine, url):
    step = Step(Write("a"))
    made(machine("one", url), step)
    system, base = fsspec.core.url_to_fs(url)
    [text] = [path for path in system.find(f"{base}/{step.key}") if path.endswith("/text")]
    system.pipe_file(text, b"something else")
    with pytest.raises(StoreError, match=rf"{step.key}: text is not what was written; .* run again"):
        machine("two", url).path(step)
    assert not machine("three", url).has(step)
    assert [name for name in remote_files(url) if name.startswith("damaged/")]
    made(machine("four", url), step)
    assert (machine("five", url).path(step) / "text").read_text() == "a"


def test_what_was_cut_off_on_its_way_is_fetched_once_more(machine, url, monkeypatch):
    step = Step(Write("a long text"))
    made(machine("one", url), step)
    other = machine("two", url)
    system, _ = other._files
    whole, calls = system.get_file, list[str]()

    def cut_off_once(path, file):
        whole(path, file)
        calls.append(path)
        if len(calls) == 1:
            Path(file).write_text("a lo")

    monkeypatch.setattr(system, "get_file", cut_off_once)
    assert (other.path(step) / "text").read_text() == "a long text"
    assert len(calls) == 2


def test_a_copy_that_changed_on_this_machine_is_fetched_anew(machine, url):
    step = Step(Write("a long text"))
    made(machine("one", url), step)
    text = machine("two", url).path(step) / "text"
    text.write_text("a lo")
    assert (machine("two", url).path(step) / "text").read_text() == "a long text"


def test_what_was_not_sent_and_changed_on_this_machine_is_made_again(machine, url, monkeypatch, tmp_path):
    step = Step(Write("a long text", runs=str(tmp_path / "runs")))
    store = machine("one", url)
    monkeypatch.setattr(store, "_send", lambda key: None)  # the connection is lost
    unsent = store.root / "unsent" / step.name
    result = store.build(store.work(step), Runtime())
    unsent.touch()
    (result / "text").write_text("a lo")
    made(machine("one", url), step)
    assert (machine("two", url).path(step) / "text").read_text() == "a long text"
    assert len((tmp_path / "runs").read_text().split()) == 2


def test_a_result_that_was_made_again_meanwhile_is_not_set_aside(machine, url):
    step = Step(Write("a"))
    store = machine("one", url)
    made(store, step)
    store._set_aside_there(step.key, b"the record of the damaged one")
    assert machine("two", url).has(step)


def test_logs_are_read_on_other_machines_and_attempts_add_to_one_log(machine, url):
    step = Step(Write("a"))
    for name in ("one", "two"):
        store = machine(name, url)
        with store.logged(store.work(step)), store.log(step).open("a") as log:
            log.write(f"tried on {name}\n")
    reader = machine("reader", url)
    assert reader.read_log(step) == "tried on one\ntried on two\n"
    assert reader.read_log(Step(Write("never ran"))) == ""
    assert reader.log_place(step) == f"{url}/logs/{step.name}.log"


def test_a_note_that_cannot_be_left_is_no_reason_to_fail(machine, url, monkeypatch):
    store, step = machine("one", url), Step(Write("a"))
    system, _ = store._files

    def unreachable(*_: object) -> None:
        raise OSError("the network is down")

    with monkeypatch.context() as down:
        down.setattr(type(system), "pipe_file", unreachable)
        store.note_failure(step, "line 3: no column")
    assert store.failure(step) is None
    store.note_failure(step, "line 3: no column")
    monkeypatch.setattr(type(system), "rm_file", unreachable)
    store.note_start(step)
    store.note_success(step)


def test_failures_are_read_on_other_machines_until_the_step_succeeds(machine, url):
    step, store = Step(Write("a")), machine("one", url)
    store.note_failure(step, "line 3: no column")
    assert machine("two", url).failure(step) == "line 3: no column"
    store.note_success(step)
    assert machine("two", url).failure(step) is None


def test_records_come_without_their_results(machine, url):
    store = machine("one", url)
    for text in ("one", "two"):
        made(store, Step(Write(text)))
    reader = machine("two", url)
    assert {record["recipe"]["task"]["text"] for _, record in reader.records("write")} == {"one", "two"}
    found = nearest(Step(Write("two"), label="again"), reader)
    assert found is not None
    assert found[0] == Step(Write("two")).digest
    assert not (reader.root / "write").exists()


def test_workers_of_this_machine_use_it_too(machine, tmp_path):
    store = machine("one", f"file://{tmp_path}/bucket/studies")
    bad, goal = Step(Fail("odd")), Step(Write("b"), {"x": Step(Write("a"))})
    with LocalExecutor(store, jobs=2, device="cpu") as executor:
        outcome = schedule.run([goal, bad], store, executor, lambda event, step: None)
    assert len(outcome.done) == 2
    [text] = (tmp_path / "bucket/studies" / goal.key).glob("*/text")
    assert text.read_text() == "ba"
    assert "Traceback" in (tmp_path / "bucket/studies/logs" / f"{bad.name}.log").read_text()
    assert store.has(goal)


def test_a_store_that_cannot_be_used_is_named(machine, tmp_path):
    with pytest.raises(StoreError, match=r"cannot use the store nonsense://x"):
        machine("one", "nonsense://x")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to the store file://.*--store"):
        machine("one", f"file://{tmp_path}/file/store")


@pytest.mark.parametrize("name", ["../../../../planted", "/planted", "a/../../planted"])
def test_no_file_of_a_store_is_written_outside_of_the_cache(machine, url, tmp_path, monkeypatch, name):
    step = Step(Write("a"))
    made(machine("one", url), step)
    system, base = fsspec.core.url_to_fs(url)
    [text] = [path for path in system.find(base) if path.endswith("/text")]
    find = type(system).find
    # An object store has such keys; this file system would make plain paths of them.
    monkeypatch.setattr(type(system), "find", lambda *of, **how: [*find(*of, **how), text.replace("text", name)])
    monkeypatch.setattr(type(system), "get_file", lambda self, there, here: Path(here).write_text("a"))
    with pytest.raises(StoreError, match="names a file outside of itself"):
        machine("two", url).path(step)
    assert not [path for path in tmp_path.rglob("planted*") if path.is_file()]
    assert not Path("/planted").exists()


def test_a_record_that_names_a_file_outside_of_its_result_is_not_believed(machine, url, tmp_path):
    import hashlib

    step = Step(Write("a"))
    made(machine("one", url), step)
    system, base = fsspec.core.url_to_fs(url)
    key = f"{base}/{step.key}"
    (tmp_path / "two" / "outside").parent.mkdir(parents=True)
    (tmp_path / "two" / "outside").write_text("private")
    digest = hashlib.sha256(b"private").hexdigest()
    record = json.loads(system.cat_file(f"{key}/record.json"))
    cache = machine("two", url)
    up = "../" * len(Path(cache.root / step.key).relative_to(tmp_path / "two").parts)
    system.pipe_file(f"{key}/record.json", json.dumps({**record, "files": {f"{up}outside": digest}}).encode())
    with pytest.raises(StoreError, match=r"record\.json names '[./]+outside', which is outside of the result"):
        machine("two", url).path(step)


def test_no_listed_record_is_copied_outside_of_the_cache(machine, url, tmp_path, monkeypatch):
    step = Step(Write("a"))
    made(machine("one", url), step)
    system, base = fsspec.core.url_to_fs(url)
    find = type(system).find
    planted = f"{base}/{step.task.kind}/../../../../../planted/record.json"
    monkeypatch.setattr(type(system), "find", lambda *of, **how: [*find(*of, **how), planted])
    monkeypatch.setattr(type(system), "cat", lambda self, paths: dict.fromkeys(paths, b'{"recipe": {}}'))
    assert [digest for digest, _ in machine("two", url).records(step.task.kind)] == [step.digest]
    assert not list(tmp_path.rglob("planted*"))
