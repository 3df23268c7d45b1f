"""What became of results on the disk, and what a run makes of it."""

import errno
import json
import os
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from datatrial.engine import integrity
from datatrial.engine import store as stores
from datatrial.engine.local import LocalExecutor
from datatrial.engine.remote import store_at
from datatrial.engine.schedule import Event, run
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.errors import StoreError
from datatrial.records import Runtime
from tests.engine.tasks import Write


@pytest.fixture
def steps(tmp_path):
    """Two steps, the second of which reads the first; each notes when it runs."""
    first = Step(Write("first", runs=str(tmp_path / "first-runs")), label="the first")
    return first, Step(Write("second", runs=str(tmp_path / "second-runs")), {"x": first}, label="the second")


def done(root: Path, *steps: Step) -> list[tuple[str, str]]:
    """What a run on the store, by a process that knows nothing of earlier ones, says of its steps."""
    store, heard = Store(root), list[tuple[str, str]]()

    def listen(event: Event, step: Step) -> None:
        if event.change in ("damaged", "cached", "done", "failed"):
            heard.append((event.change, event.message or step.label))

    store.open()
    with LocalExecutor(store, jobs=1, device="cpu") as executor:
        run(steps, store, executor, listen)
    return heard


def flipped(file: Path) -> None:
    """One bit is another, and the file's size and date are as before, as a disk that ages would do it."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def changed_recipe(file: Path) -> None:
    file.write_text(file.read_text().replace('"second"', '"secund"'))


BREAKS = {
    "a bit": ("text", flipped, "text is not what was written"),
    "cut": ("text", lambda file: os.truncate(file, 3), "text is not what was written"),
    "empty": ("text", lambda file: os.truncate(file, 0), "text is not what was written"),
    "missing": ("text", Path.unlink, "text is missing"),
    "a record cut": ("record.json", lambda file: os.truncate(file, 99), "record.json cannot be read"),
    "a record of nothing": ("record.json", lambda file: os.truncate(file, 0), "record.json cannot be read"),
    "a record of something else": ("record.json", changed_recipe, "record.json is not what was written"),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_damaged_result_is_said_set_aside_and_made_again(tmp_path, steps, how):
    name, damage, said = BREAKS[how]
    root, second = tmp_path / "store", steps[1]
    assert done(root, second) == [("done", "the first"), ("done", "the second")]
    whole = (Store(root).path(second) / "text").read_bytes()
    damage(Store(root).path(second) / name)
    (what, reason), *others = done(root, second)
    assert what == "damaged"
    assert reason.startswith(said)
    assert others == [("cached", "the first"), ("done", "the second")]
    assert (Store(root).path(second) / "text").read_bytes() == whole
    [aside] = (root / "damaged").iterdir()
    assert str(aside) in reason
    assert done(root, second) == [("cached", "the first"), ("cached", "the second")]


def test_what_was_not_written_to_since_it_was_compared_is_not_read_again(tmp_path, steps, monkeypatch):
    root = tmp_path / "store"
    done(root, *steps)
    monkeypatch.setattr("datatrial.engine.integrity.file_digest", lambda file: pytest.fail(f"read {file}"))
    assert [what for what, _ in done(root, *steps)] == ["cached", "cached"]


def test_a_store_that_was_copied_is_compared_once(tmp_path, steps):
    done(tmp_path / "store", *steps)
    (tmp_path / "store").rename(tmp_path / "moved")
    (tmp_path / "moved" / "cache" / "sound.json").unlink()
    flipped(Store(tmp_path / "moved").path(steps[0]) / "text")
    assert [what for what, _ in done(tmp_path / "moved", *steps)] == ["damaged", "cached", "done"]


def test_a_memory_of_sound_results_that_is_itself_damaged_does_no_harm(tmp_path, steps):
    root = tmp_path / "store"
    done(root, *steps)
    (root / "cache" / "sound.json").write_text('["no mapping')
    flipped(Store(root).path(steps[1]) / "text")
    assert [what for what, _ in done(root, *steps)] == ["damaged", "cached", "done"]


def test_a_result_that_is_seen_late_is_waited_for(tmp_path, steps, monkeypatch):
    store = Store(tmp_path / "store")
    store.open()
    store.build(store.work(steps[0]), Runtime())
    hidden = store.path(steps[0]).rename(tmp_path / "hidden")
    monkeypatch.setattr(time, "sleep", lambda _: hidden.exists() and hidden.rename(store.path(steps[0])))
    assert (store.build(store.work(steps[1]), Runtime()) / "text").read_text() == "secondfirst"


def test_a_rename_that_the_file_system_lost_is_no_result(tmp_path, steps, monkeypatch):
    store = Store(tmp_path / "store")
    store.open()
    monkeypatch.setattr(stores, "VISIBLE_SECONDS", 0.1)
    with monkeypatch.context() as lossy:
        lossy.setattr(Path, "rename", lambda self, target: target)
        with pytest.raises(StoreError, match="is not there: the file system lost it"):
            store.build(store.work(steps[0]), Runtime())
    assert not store.has(steps[0])
    assert (store.build(store.work(steps[0]), Runtime()) / "text").read_text() == "first"


def test_what_a_loss_of_power_could_take_is_on_the_disk_before_the_result_has_its_name(tmp_path, steps, monkeypatch):
    store, order = Store(tmp_path / "store"), list[str]()
    store.open()
    fsync, rename = os.fsync, Path.rename

    def settled(number: int) -> None:
        order.append(Path(f"/proc/self/fd/{number}").readlink().name)
        fsync(number)

    def renamed(self: Path, target: Path) -> Path:
        order.append("renamed")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", settled)
    monkeypatch.setattr(Path, "rename", renamed)
    store.build(store.work(steps[0]), Runtime())
    assert sorted(order[:3]) == sorted(["record.json", "text", f".part-{steps[0].digest}"])
    assert order[3:] == ["renamed", "write"]


def test_a_store_has_a_format_which_later_versions_may_raise(tmp_path):
    root = tmp_path / "store"
    Store(root).open()
    assert json.loads((root / "store.json").read_text()) == {"format": stores.FORMAT}
    (root / "store.json").write_text(json.dumps({"format": stores.FORMAT + 1}))
    with pytest.raises(StoreError, match=r"has format 2, and this version of datatrial reads 1: use the version"):
        store_at(root)
    (root / "store.json").write_text("{}")
    with pytest.raises(StoreError, match=r"store\.json cannot be read"):
        store_at(root)


def test_a_store_of_before_there_were_formats_is_read_and_gets_one(tmp_path, steps):
    root = tmp_path / "store"
    done(root, *steps)
    (root / "store.json").unlink()
    assert store_at(root).has(steps[1])
    assert [what for what, _ in done(root, *steps)] == ["cached", "cached"]
    assert (root / "store.json").exists()


def test_a_store_that_every_user_can_write_to_is_refused(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(StoreError, match=r"every user of this machine can write .*`chmod o-w"):
        Store(tmp_path / "open").open()
    before = os.umask(0)
    try:
        done(tmp_path / "made", Step(Write("x")))
    finally:
        os.umask(before)
    assert not [path for path in (tmp_path / "made").rglob("*") if path.stat().st_mode & 0o002]


def test_what_another_run_made_again_meanwhile_stays(tmp_path, steps):
    """Two runs find the same damage; one has made the result again before the other comes to set it aside."""
    store, first = Store(tmp_path / "store"), steps[0]
    done(store.root, first)
    flipped(store.path(first) / "text")
    assert store.integrity.damage(first.key, store.path(first))
    done(store.root, first)
    assert store._set_aside(first) == ""
    assert store.has(first)
    assert len(list((store.root / "damaged").iterdir())) == 1


def test_what_another_run_is_making_again_is_left_to_it(tmp_path, steps):
    store, first = Store(tmp_path / "store"), steps[0]
    done(store.root, first)
    flipped(store.path(first) / "text")
    assert store.integrity.damage(first.key, store.path(first))
    with FileLock(store.root / store.lock_of(first.key)):  # as who makes it again holds it
        store.path(first).rename(tmp_path / "set aside")
        assert store._set_aside(first) == "it was damaged, and another run makes it again"
    assert not (store.root / "damaged").exists()


def test_who_only_looks_keeps_no_damaged_result_in_its_place(tmp_path, steps):
    store, first = Store(tmp_path / "store"), steps[0]
    done(store.root, first)
    flipped(store.path(first) / "text")
    lock = FileLock(store.root / store.lock_of(first.key), thread_local=False)
    lock.acquire()
    threading.Timer(0.3, lock.release).start()
    [(_, said)] = store.check([first])
    assert "what was there is in" in said
    assert not store.has(first)


def test_what_cannot_be_read_for_now_is_not_set_aside(tmp_path, steps, monkeypatch):
    store, first = Store(tmp_path / "store"), steps[0]
    done(store.root, first)
    (store.root / "cache" / "sound.json").unlink()

    def stale(path: Path) -> str:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(integrity, "file_digest", stale)
    with pytest.raises(StoreError, match=r"cannot read .*text: Stale file handle"):
        list(store.check([first]))
    assert store.has(first)


@pytest.mark.parametrize(
    "record", ['{"files": ["text"], "recipe": {}}', '{"files": {}, "recipe": {"task": NaN}}', "[]"]
)
def test_a_record_of_another_form_is_damaged(tmp_path, steps, record):
    store, first = Store(tmp_path / "store"), steps[0]
    done(store.root, first)
    (store.path(first) / "record.json").write_text(record)
    [(_, said)] = store.check([first])
    assert said.startswith("record.json cannot be read")
