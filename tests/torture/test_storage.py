"""Disks that are full, read-only, slow, or that lose and change what was written."""

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.torture.conftest import Figure, Patch
from tests.torture.runs import ONE_THREAD, Run, contents, finished

pytestmark = [pytest.mark.torture, pytest.mark.timeout(900)]


def with_a_small_disk(folder: Path, script: str, size: str) -> "subprocess.CompletedProcess[str]":
    """Run a script in a name space of its own, in which a folder is a disk of that size."""
    folder.mkdir()
    whole = f"mount -t tmpfs -o size={size} tmpfs {folder} && {script}"
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", whole],
        capture_output=True,
        text=True,
        env={**os.environ, **ONE_THREAD, "COLUMNS": "300"},
        timeout=600,
    )


needs_name_spaces = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True).returncode != 0,
    reason="this system lets nobody mount a small disk of their own",
)


@needs_name_spaces
def test_a_disk_that_is_full_is_said_and_once_there_is_room_the_run_goes_on(
    study: Path, tmp_path: Path, undisturbed: Path, figure: Figure
) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    run = f"{sys.executable} -m datatrial.cli run {study} --store {disk}/store --jobs 2 --device cpu"
    script = f"for size in 1 3; do {run}; echo rc $?; mount -o remount,size=${{size}}m {disk}; done; "
    script += f"mount -o remount,size=2g {disk} && {run}; echo rc $?; cp -r {disk}/store {kept}"
    done = with_a_small_disk(disk, script, size="200k")
    said = done.stdout + done.stderr
    codes = [line for line in said.splitlines() if line.startswith("rc ")]
    assert codes[0] in ("rc 1", "rc 2")
    assert codes[-1] == "rc 0", said
    assert "Traceback" not in said
    assert "the disk is full" in said or "No space left on device" in said
    assert contents(kept) == contents(undisturbed)
    figure("runs that ended on a full disk before one had room", sum(code != "rc 0" for code in codes))


@needs_name_spaces
def test_a_store_that_becomes_read_only_is_said(study: Path, tmp_path: Path, undisturbed: Path) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    run = f"{sys.executable} -m datatrial.cli run {study} --store {disk}/store --jobs 2 --device cpu"
    script = (  # nobody may be writing while a disk becomes read-only
        f"timeout --signal INT 10 {run}; until mount -o remount,ro {disk}; do sleep 0.1; done; {run}; echo rc $?; "
        f"mount -o remount,rw {disk}; {run}; echo rc $?; cp -r {disk}/store {kept}"
    )
    done = with_a_small_disk(disk, script, size="2g")
    said = done.stdout + done.stderr
    codes = [line for line in said.splitlines() if line.startswith("rc ")]
    assert codes == ["rc 2", "rc 0"], said
    assert "cannot write to the store" in said
    assert "Traceback" not in said
    assert contents(kept) == contents(undisturbed)


def test_files_that_change_on_the_disk_are_found_and_made_again(
    study: Path, tmp_path: Path, undisturbed: Path, dice: random.Random, share: float, figure: Figure
) -> None:
    expected, broken = contents(undisturbed), Counter[str]()
    for number in range(max(1, round(2 * share))):
        store = tmp_path / f"store-{number}"
        shutil.copytree(undisturbed, store)
        assert Run(study, store).wait() == 0  # which finds that a copy is whole
        victims = dice.sample(sorted(finished(store)), 8)
        for key in victims:
            broken[damaged(store / key, dice)] += 1
        run = Run(study, store)
        assert run.wait() == 0
        said = run.log.read_text()
        assert len(list((store / "damaged").iterdir())) == len(victims)
        assert said.count("a run makes it again, and what was there is in") == len(victims)
        assert contents(store) == expected
    for how, times in sorted(broken.items()):
        figure(f"results with a file that was {how}, each found, set aside and made again", times)


def damaged(result: Path, dice: random.Random) -> str:
    """Damage a file of a result; how."""
    found = sorted(path for path in result.rglob("*") if path.is_file() and "runs" not in path.parts)
    files = [file for file in found if file.stat().st_size]
    file, how = dice.choice(files), dice.choice(["flipped", "cut", "removed"])
    if how == "removed" and file.name == "record.json":
        how = "cut"  # without its record it would be none, rather than a damaged one
    if how == "removed":
        file.unlink()
    elif how == "cut":
        os.truncate(file, dice.randrange(file.stat().st_size))
    else:
        place = file if file.name != "record.json" else next(f for f in files if f.name != "record.json")
        content = bytearray(place.read_bytes())
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        place.write_bytes(content)
    return how


def test_two_runs_on_one_store_do_each_step_once(
    study: Path, tmp_path: Path, undisturbed: Path, patched: Patch, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """Where renames are slow, too."""
    notes = tmp_path / "notes"
    monkeypatch.setenv("DATATRIAL_TORTURE_NOTES", str(notes))
    patched("builds_are_noted", "renames_are_slow")
    runs = [Run(study, tmp_path / "store", jobs=1, log=tmp_path / f"{n}.log") for n in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    built = Counter(notes.read_text().split())
    assert set(built) == set(finished(tmp_path / "store"))
    assert set(built.values()) == {1}
    assert contents(tmp_path / "store") == contents(undisturbed)
    figure("steps that two runs at once did, each once", built.total())


def test_clocks_may_jump_and_paths_be_as_long_as_the_system_allows(
    study: Path, tmp_path: Path, undisturbed: Path, patched: Patch
) -> None:
    deep = tmp_path
    while len(str(deep)) < 3400:
        deep = deep / ("d" * 200)
    deep.mkdir(parents=True)
    patched("clock_jumps")
    assert Run(study, deep / "store", log=tmp_path / "log").wait() == 0, (tmp_path / "log").read_text()
    assert contents(deep / "store") == contents(undisturbed)
