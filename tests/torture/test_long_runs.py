"""A whole run: looked at and stopped from another terminal, gone on with on another disk, cleared up beside."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end import conftest

pytestmark = [pytest.mark.torture, pytest.mark.timeout(3000)]
datatrial = conftest.datatrial  # the fixture


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A study whose stages take a while, so that there is something to stop."""
    path = tmp_path / "tiny.yaml"
    path.write_text(conftest.TINY.replace("sft: {learning_rate: 1e-3}", "sft: {learning_rate: 1e-3, epochs: 40}"))
    return path


def start(study: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "datatrial.cli", "run", study.name, "--jobs", "1"]
    return subprocess.Popen(command, cwd=study.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def records(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.glob("*/*/record.json")}


def test_a_run_is_stopped_and_goes_on_on_another_disk_with_nothing_done_twice(datatrial, tiny):
    store, run = tiny.parent / ".datatrial", start(tiny)
    while not re.search(r"sft careful, seed 0 .*\d+/\d+ training steps", told := datatrial("status", tiny).stdout):
        assert run.poll() is None, run.communicate()
    assert "1 running" in told
    assert re.search(r"it finishes sft careful, seed [01] ", datatrial("stop", tiny).stdout)  # another moment later
    output, errors = run.communicate(timeout=250)
    assert run.returncode == 130
    assert re.search(r"stopped: \d+ steps were done, \d+ are left", errors)
    assert output == ""
    assert "run of" not in datatrial("status", tiny).stdout
    assert list(store.glob("sft/*/record.json"))

    elsewhere = tiny.parent / "another disk"
    elsewhere.mkdir()
    shutil.copytree(store, elsewhere / "store")
    shutil.rmtree(store)
    done = records(elsewhere / "store")
    datatrial("run", tiny, "--store", elsewhere / "store")
    assert done.items() <= records(elsewhere / "store").items()
    datatrial("run", tiny, "seeds=[5]", "--store", elsewhere / "store")
    whole = records(elsewhere / "store")
    datatrial("gc", tiny, "--store", elsewhere / "store", "--others", "--delete")
    assert done.items() <= records(elsewhere / "store").items() < whole.items()
    made = {path: (elsewhere / "store" / path).stat().st_mtime_ns for path in records(elsewhere / "store")}
    datatrial("run", tiny, "--store", elsewhere / "store")
    assert made == {path: (elsewhere / "store" / path).stat().st_mtime_ns for path in records(elsewhere / "store")}


def test_gc_frees_space_again_and_again_beside_a_run_which_loses_nothing(datatrial, tiny):
    other = tiny.with_name("other.yaml")
    other.write_text(tiny.read_text().replace("name: tiny", "name: other").replace("n: 300", "n: 310"))
    datatrial("run", other)
    run = start(tiny)
    while run.poll() is None:
        datatrial("gc", other, "--others", "--delete")
        time.sleep(1)
    output, errors = run.communicate()
    assert run.returncode == 0, errors
    assert "report:" in output
    datatrial("gc", other, "--others", "--delete")
    assert len(list((tiny.parent / ".datatrial").glob("report/*"))) == 1
