"""Runs of a study as people start them, seen from outside: what each process is at, and what the store has."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

PHASES = {
    "data": {"data_set", "data_audit", "benchmark_texts"},
    "base model": {"from_scratch"},
    "training": {"sft", "dpo"},
    "evaluation": {"lm_eval", "group_safety", "drift", "reference_log_probs"},
    "statistics": {"contrasts"},
    "report": {"report"},
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class At:
    """What a worker is at."""

    worker: psutil.Process
    kind: str
    digest: str
    checkpoint: int = 0  # the optimizer step of the latest whole checkpoint of its step
    written: bool = False  # whether its result is being written

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.digest}"

    @property
    def phase(self) -> str:
        [phase] = [name for name, kinds in PHASES.items() if self.kind in kinds]
        return "after training" if phase == "training" and self.written else phase


class Run:
    """`datatrial run` in a process of its own."""

    def __init__(self, study: Path, store: Path, *overrides: str, jobs: int = 2, log: Path | None = None):
        self.store = store
        command = [sys.executable, "-m", "datatrial.cli", "run", study, *overrides, "--store", store]
        self.log = log or store.with_suffix(".log")
        with self.log.open("a") as file:
            self.process = subprocess.Popen(
                [*map(str, command), "--jobs", str(jobs), "--device", "cpu"],
                stdout=file,
                stderr=file,
                env={**os.environ, **ONE_THREAD, "COLUMNS": "200"},
            )

    @property
    def ended(self) -> int | None:
        """Its exit code, once it has one."""
        return self.process.poll()

    def workers(self) -> list[psutil.Process]:
        return processes(children(self.process.pid))

    def family(self) -> list[psutil.Process]:
        """Its workers, and what those have started."""
        return [one for worker in self.workers() for one in (worker, *processes(descendants(worker.pid)))]

    def at(self) -> list[At]:
        """What its workers are at, as far as they have a step."""
        return [at for worker in self.workers() if (at := self._of(worker))]

    def _of(self, worker: psutil.Process) -> At | None:
        try:
            log = Path(f"/proc/{worker.pid}/fd/1").readlink().name  # what a step prints goes to its log
        except OSError:
            return None
        named = re.fullmatch(r"(.+)-([0-9a-f]{16})\.log", log)
        if named is None:
            return None
        kind, digest = named.groups()
        part = self.store / kind / f".part-{digest}"
        at = At(worker, kind, digest, written=(part / "adapter").exists())
        return replace(at, checkpoint=self.checkpoint(at.key))

    def checkpoint(self, key: str) -> int:
        """The optimizer step of the latest whole checkpoint of a step; 0 if it has none."""
        found = [0]
        with suppress(FileNotFoundError):  # it ends in this moment
            whole = (self.store / "scratch" / key.replace("/", "-") / "trl").glob("checkpoint-*/sums.json")
            found += [int(path.parent.name.rpartition("-")[2]) for path in whole]
        return max(found)

    def wait(self, seconds: float = 600) -> int:
        return self.process.wait(seconds)

    def kill(self, *others: psutil.Process) -> None:
        """As a loss of power would: the run, and others with it, at one moment."""
        self.process.send_signal(signal.SIGKILL)
        for other in others:
            killed(other)
        self.process.wait()


def children(pid: int) -> list[int]:
    """The processes that one has started; to look through all that run, as psutil does, would keep a core busy."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            found += map(int, path.read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    return [one for child in children(pid) for one in (child, *descendants(child))]


def processes(pids: Sequence[int]) -> list[psutil.Process]:
    """Those of them that are still there."""
    found: list[psutil.Process] = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def killed(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)


def gone(processes: list[psutil.Process], seconds: float = 20) -> bool:
    """Whether all of them end by themselves."""
    until = time.monotonic() + seconds
    while any(map(_lives, processes)):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # it ends in this moment
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def collect_garbage(study: Path, store: Path, *overrides: str) -> None:
    command = [sys.executable, "-m", "datatrial.cli", "gc", study, *overrides, "--store", store, "--delete"]
    subprocess.run(command, check=True, capture_output=True)


def records(store: Path) -> list[Path]:
    """Of every result that is there; what was set aside is none."""
    return [path for path in store.glob("*/[!.]*/record.json") if path.parts[-3] != "damaged"]


def finished(store: Path) -> dict[str, tuple[int, int]]:
    """Every result that is there, by kind and digest, with what changes if it is made again."""
    found = {}
    for record in records(store):
        stat = record.stat()
        found[f"{record.parent.parent.name}/{record.parent.name}"] = (stat.st_ino, stat.st_mtime_ns)
    return found


def contents(store: Path) -> dict[str, str]:
    """SHA-256 of every file of every result, read from the disk and compared with its record.

    Records are left out, and of reports what is about the computing.
    """
    found = {}
    for record in records(store):
        for name, digest in json.loads(record.read_text())["files"].items():
            file = record.parent / name
            assert hashlib.sha256(file.read_bytes()).hexdigest() == digest, f"{file} is not what its record says"
            if file.name == "report.html":
                digest = hashlib.sha256(timeless(file.read_text()).encode()).hexdigest()
            found[file.relative_to(store).as_posix()] = digest
    return found


def timeless(page: str) -> str:
    """A report without what is about the computing: how long things took, the memory they had, and when that was."""
    page = re.sub(r'<section id="provenance".*?</section>', "", page, flags=re.DOTALL)
    took = r"\d[\d.,\s]*(?:s|min|h|MiB)\b"
    return re.sub(rf"(?:(?:{took}|\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?)\s*)+", "·", page)


def resumed(store: Path, key: str) -> set[int]:
    """The optimizer steps of the checkpoints from which attempts at a step went on."""
    log = (store / "logs" / f"{key.replace('/', '-')}.log").read_text(errors="replace")
    # Of two processes that write at once, lines may be run together.
    return {int(step) for step in re.findall(r"going on from checkpoint-(\d+)", log)}
