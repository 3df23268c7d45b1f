import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from filelock import FileLock

from datatrial.engine.garbage import Garbage, Item, Survey
from datatrial.engine.live import About, live_keys, noted_studies
from datatrial.engine.presence import registered
from datatrial.engine.remote import RemoteStore
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.engine.time_left import TimeLeft
from datatrial.errors import StoreError
from datatrial.records import Runtime
from tests.engine.tasks import GoOn, Refer, Write


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.open()
    return store


def made(store: Store, *steps: Step) -> set[str]:
    """The keys of these steps, which now have results."""
    for step in steps:
        store.build(store.work(step), Runtime())
        store.log(step).write_text("words")
    return {step.key for step in steps}


def ran(store: Store, name: str, *steps: Step) -> None:
    with registered(store.board, About(name), steps, TimeLeft(steps, store, 1)):
        made(store, *steps)


def results(items: "list[Item]") -> set[str]:
    return {item.key for item in items if item.sort == "results"}


def files(store: Store) -> dict[str, bytes]:
    return {str(p.relative_to(store.root)): p.read_bytes() for p in store.root.rglob("*") if p.is_file()}


def gone(found: Survey, sort: str) -> list[Path]:
    return [item.path for item in found.free if item.sort == sort]


A, B, C = (Step(Write(text)) for text in "abc")


def test_results_that_no_study_needs_go_with_their_logs_and_the_named_stay(store):
    made(store, A, B)
    found = Garbage(store, {A.key}, others=False).remove()
    assert results(found.free) == {B.key}
    assert [item.key for item in found.kept] == [A.key]
    assert store.has(A)
    assert store.log(A).exists()
    assert not store.path(B).exists()
    assert not store.log(B).exists()
    assert not (store.root / "locks" / f"{B.name}.lock").exists()
    assert (store.root / "locks" / f"{A.name}.lock").exists()
    assert list((store.root / "trash").iterdir()) == []
    assert next(item for item in found.free if item.key == B.key).size > len("b")


def test_a_dry_run_changes_nothing(store):
    ran(store, "owls", A)
    made(store, B)
    before = files(store)
    assert results(Garbage(store, set(), others=True).survey().free) == {A.key, B.key}
    assert files(store) == before


def test_results_of_studies_that_were_run_here_stay_unless_it_is_said_that_they_may_go(store):
    ran(store, "owls", A, B)
    ran(store, "tools", B, C)
    found = Garbage(store, {A.key}, others=False).remove()
    assert not results(found.free)
    assert {held.study.about.study: held.results for held in found.others} == {"owls": 1, "tools": 2}
    found = Garbage(store, {A.key, B.key}, others=True).remove()
    assert results(found.free) == {C.key}
    assert [study.about.study for study in noted_studies(store.board)] == ["owls"]  # the other has lost results


def test_results_of_before_studies_were_noted_stay_unless_it_is_said_that_they_may_go(store):
    made(store, A, B)
    for step in (A, B):
        os.utime(store.path(step) / "record.json", (1e9, 1e9))  # older than the store's format
    found = Garbage(store, {A.key}, others=False).remove()
    assert not results(found.free)
    [held] = found.others
    assert (held.study.about.study, held.results) == ("studies of before there were notes of them", 1)
    assert results(Garbage(store, {A.key}, others=True).remove().free) == {B.key}


def test_a_note_that_cannot_be_read_stops_it(store):
    ran(store, "study", A)
    [note] = (store.root / "studies").iterdir()
    note.write_text("{")
    with pytest.raises(StoreError, match=rf"studies/{note.name} in the store cannot be read: delete it"):
        Garbage(store, {B.key}, others=False).remove()
    assert store.has(A)


def test_what_one_that_was_killed_left_goes_with_the_next(store):
    made(store, A)
    left = store.root / "trash" / "x"
    left.mkdir(parents=True)
    Garbage(store, {A.key}, others=False).remove()
    assert list(left.parent.iterdir()) == []


def test_what_a_live_run_needs_stays_whatever_is_said(store):
    made(store, A, B)
    (store.root / "cache" / "0123456789abcdef").mkdir()
    with registered(store.board, About("owls"), [A], TimeLeft([A], store, 1)):
        found = Garbage(store, set(), others=True).remove()
        assert found.live
        assert results(found.free) == {B.key}
        assert store.has(A)
        assert (store.root / "cache" / "0123456789abcdef").exists()
        assert (store.root / "locks" / f"{B.name}.lock").exists()
    Garbage(store, {A.key}, others=True).remove()
    assert not (store.root / "cache" / "0123456789abcdef").exists()


def test_what_is_being_built_stays(store):
    made(store, A)
    for step in (A, B):
        (store.root / "write" / f".part-{step.digest}").mkdir()
        (store.root / "scratch" / step.name).mkdir(parents=True)
        (store.root / "scratch" / step.name / "checkpoint").write_text("x")
    with FileLock(store.root / "locks" / f"{A.name}.lock"):
        found = Garbage(store, set(), others=True).remove()
    assert {item.key for item in found.free} == {B.key}
    assert store.has(A)
    assert (store.root / "write" / f".part-{A.digest}").exists()
    assert (store.root / "scratch" / A.name).exists()


def test_what_a_kept_model_has_its_weights_in_stays(store):
    base = Step(Write("weights"))
    tuned = Step(Refer("tuned"), {"base": base})
    twice = Step(Refer("twice"), {"base": tuned})
    made(store, base, tuned, twice)
    found = Garbage(store, {twice.key}, others=False).remove()
    assert not results(found.free)
    assert all(store.has(step) for step in (base, tuned, twice))


def test_an_interrupted_step_keeps_what_it_goes_on_from_while_a_study_needs_it(store):
    needed, unneeded = Step(GoOn()), Step(GoOn(kind="go-on-otherwise"))
    for step in (needed, unneeded):
        with pytest.raises(ValueError, match="first attempt"):
            store.build(store.work(step), Runtime())
    found = Garbage(store, {needed.key}, others=False).remove()
    assert gone(found, "interrupted steps") == [store.root / "scratch" / unneeded.name]
    assert len(gone(found, "half results")) == 2  # what they had begun to write
    assert store.is_interrupted(needed)
    assert not store.is_interrupted(unneeded)


def test_half_results_damaged_ones_and_the_cache_go_and_what_is_no_part_of_a_store_stays(store):
    made(store, A)
    for folder in ("write/0123456789abcdef", "damaged/write-1", "cache/rows", "notes/mine", "write/mine"):
        (store.root / folder).mkdir(parents=True)
        (store.root / folder / "file").write_text("x")
    (store.root / "README").write_text("x")
    found = Garbage(store, {A.key}, others=True).remove()
    assert {item.sort for item in found.free} == {"half results", "damaged results", "cache"}
    left = files(store).keys()
    assert {"notes/mine/file", "write/mine/file", "README"} <= left
    assert not any(path.startswith(("damaged/", "cache/", "write/0123")) for path in left)


def test_a_run_that_begins_meanwhile_finds_either_all_of_a_result_or_nothing(store, tmp_path):
    """A run in another process registers again and again, and looks at what there is, while results are removed."""
    steps = [Step(Write(str(n))) for n in range(40)]
    made(store, *steps)
    script = (
        "import sys; from pathlib import Path\n"
        "from datatrial.engine.live import About\n"
        "from datatrial.engine.presence import registered\n"
        "from datatrial.engine.step import Step\n"
        "from datatrial.engine.store import Store\n"
        "from datatrial.engine.time_left import TimeLeft\n"
        "from tests.engine.tasks import Write\n"
        "store, steps = Store(Path(sys.argv[1])), [Step(Write(str(n))) for n in range(40)]\n"
        "with registered(store.board, About('owls'), steps[:20], TimeLeft(steps, store, 1)):\n"
        "    seen = [step for step in steps[:20] if store.has(step)]\n"
        "    print(len(seen), flush=True); input()\n"
        "    assert all((store.path(step) / 'text').exists() for step in seen)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    while not live_keys(store.board):
        Garbage(store, {step.key for step in steps[:39]}, others=True).remove()
    Garbage(store, set(), others=True).remove()
    assert run.stdout is not None
    seen = int(run.stdout.readline())
    run.communicate("go on\n", timeout=60)
    assert run.returncode == 0
    assert (seen, sum(store.has(step) for step in steps)) == (20, 20)


def test_what_cannot_be_removed_is_named(store, monkeypatch):
    made(store, A)

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreError, match=f"cannot remove .*{A.digest}: Permission denied"):
        Garbage(store, set(), others=False).remove()
    assert store.has(A)


def test_a_store_at_a_url_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("DATATRIAL_CACHE", str(tmp_path))
    with pytest.raises(StoreError, match="nothing can be locked at a URL"):
        Garbage(RemoteStore(f"memory://{uuid4().hex}"), set(), others=False)


def test_what_goes_while_the_store_is_looked_through_counts_nothing(store, monkeypatch):
    made(store, A, B)
    size, asked = store.log(A).stat().st_size, Path.lstat

    def going(path):
        if path == store.log(B):
            path.unlink(missing_ok=True)
        return asked(path)

    monkeypatch.setattr(Path, "lstat", going)
    found = Garbage(store, {C.key}, others=False).survey()
    assert {
        item.path: item.size for item in found.free if item.sort == "logs and locks" and item.path.suffix == ".log"
    } == {
        store.log(A): size,
        store.log(B): 0,
    }
