"""An hour's worth of executions of the fuzzer, over all that reads files; `--share` of them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris")
pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]
FUZZ = Path(__file__).with_name("fuzz.py")
RUNS = {  # together an hour of one core
    "yaml": 100_000,
    "override": 40_000,
    "card": 40_000,
    "jsonl": 100_000,
    "json": 100_000,
    "csv": 100_000,
    "gzip": 50_000,
    "parquet": 60_000,
    "lm_eval": 40_000,
}


@pytest.mark.parametrize("reader", RUNS)
def test_whatever_the_bytes_they_are_read_or_there_is_one_clear_error(
    reader: str, share: float, tmp_path: Path
) -> None:
    runs = max(100, int(RUNS[reader] * share))
    done = subprocess.run(
        [sys.executable, str(FUZZ), reader, f"-atheris_runs={runs}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    executed = re.search(r"Done (\d+) (?:runs )?in (\d+) second", done.stderr)
    assert executed and int(executed[1]) >= runs, done.stderr[-3000:]
    print(f"{reader}: {executed[1]} executions in {executed[2]} s")
