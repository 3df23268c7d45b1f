"""Wall time and peak memory of a whole study, all its processes together, and of its rerun.

    python measurements/whole_study.py studies/quickstart.yaml [store]

Memory is the sum of the processes' proportional set sizes (PSS: a page shared by n processes counts 1/n for each),
sampled every second. Times depend on the machine and on what else it does: they say whether a limit is kept.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

SECONDS_BETWEEN_SAMPLES = 1.0


def memory(process: psutil.Process) -> int:
    """Bytes that a process and all its descendants occupy now."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def measured(study: str, store: str) -> tuple[int, float, int]:
    """Exit code, wall seconds and peak bytes of `datatrial run`."""
    started, peak = time.monotonic(), 0
    run = subprocess.Popen([sys.executable, "-m", "datatrial.cli", "run", study, "--store", store])
    process = psutil.Process(run.pid)
    while run.poll() is None:
        if process.is_running():
            peak = max(peak, memory(process))
        time.sleep(SECONDS_BETWEEN_SAMPLES)
    return run.returncode, time.monotonic() - started, peak


def main(study: str, store: str) -> None:
    first, again = measured(study, store), measured(study, store)
    minutes, gib = first[1] / 60, first[2] / 2**30
    print(f"\n{Path(study).name}: {minutes:.1f} min on {psutil.cpu_count()} cores, {gib:.2f} GiB at most")
    print(f"again: {again[1]:.1f} s (exit codes {first[0]} and {again[0]})")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
