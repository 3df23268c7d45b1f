"""The fuzzer over all that reads files: a hundredth of an hour's worth of executions, and all of it by `make fuzz`."""

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from datatrial.engine.environment import reset_memory_peak
from tests.torture.conftest import Figure

pytest.importorskip("atheris")
pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]
FUZZ = Path(__file__).with_name("fuzz.py")
RUNS = {  # together more than an hour of one core, of which a share of 1 is a hundredth
    "yaml": 500_000,
    "override": 200_000,
    "card": 400_000,
    "jsonl": 800_000,
    "json": 800_000,
    "csv": 800_000,
    "gzip": 500_000,
    "parquet": 200_000,
    "lm_eval": 600_000,
}


@pytest.mark.parametrize("reader", RUNS)
def test_whatever_the_bytes_they_are_read_or_there_is_one_clear_error(
    reader: str, share: float, figure: Figure, tmp_path: Path
) -> None:
    runs = max(100, int(RUNS[reader] * share / 100))
    pa.default_memory_pool().release_unused()  # of tests that were here before
    reset_memory_peak()  # a fuzzer would take it for its own
    options = [f"-atheris_runs={runs}", *(["-seed=1"] if share < 1 else [])]  # a part, as CI has, is the same each time
    done = subprocess.run([sys.executable, str(FUZZ), reader, *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    executed = re.search(r"Done (\d+) (?:runs )?in (\d+) second", done.stderr)
    assert executed and int(executed[1]) >= runs, done.stderr[-3000:]
    figure(f"executions of {reader}", executed[1])
