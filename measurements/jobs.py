"""A study with one worker and with as many as `--jobs auto` starts, alternating, each time from the beginning.

    python measurements/jobs.py studies/quickstart.yaml ['seeds=[0,1]' …] [--rounds 3] [--out FILE]

Prints the ratio of wall times of `datatrial run`, its median and range, and whether all adapters came out the same.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median

from datatrial.engine.devices import slots


def timed(study: list[str], jobs: str) -> tuple[float, dict[str, str]]:
    """Wall seconds of a run into an empty store, and what its adapters are."""
    with tempfile.TemporaryDirectory() as store:
        start = time.monotonic()
        command = [sys.executable, "-m", "datatrial.cli", "run", *study, "--store", store, "--jobs", jobs]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        files = Path(store).glob("**/adapter_model.safetensors")
        return seconds, {str(f.relative_to(store)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="+", help="and overrides")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ratios, same = [], True
    for number in range(options.rounds):
        found = {jobs: timed(options.study, jobs) for jobs in (("1", "auto") if number % 2 else ("auto", "1"))}
        ratios.append(found["1"][0] / found["auto"][0])
        same = same and len(found["1"][1]) > 0 and found["1"][1] == found["auto"][1]
        print(f"round {number + 1}: {ratios[-1]:.2f}", file=sys.stderr, flush=True)
    study, workers = " ".join(options.study), slots(None, "auto")
    lines = [
        f"{date.today()}; {study}, {workers} workers against one, {options.rounds} rounds.",
        "",
        f"Time with one worker over time with `--jobs auto`: **{median(ratios):.2f}** "
        f"({min(ratios):.2f}–{max(ratios):.2f}). All adapters the same, byte for byte: {'yes' if same else 'no'}.",
    ]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
