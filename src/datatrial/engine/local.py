"""The local executor: one long-lived worker process per slot."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import psutil

from datatrial import machine
from datatrial.engine.schedule import Change, Event
from datatrial.engine.store import Store, Work
from datatrial.engine.worker import Greeting, Reply, last_words
from datatrial.errors import DatatrialError
from datatrial.redaction import redact_file

DEVICES = ("auto", "cpu", "cuda", "mps")
ATTEMPTS = 2  # of a step whose worker died
WORKER_MEMORY = 1.5 * 2**30  # bytes of the machine's memory that a worker on a CPU is counted with


@dataclass(frozen=True)
class Here:
    """This machine as the place where steps run."""

    jobs: int | None = None
    device: str = "auto"
    processes: int = 1  # of a training step: a worker has as many GPUs, or is counted as so many cores
    per_gpu: int = 1  # workers, where it is not said how many there are

    def check(self) -> str:
        """Make sure that there is such a device; nothing is to be watched anywhere.

        Raises: DatatrialError when there is none.
        """
        check_device(self.device)
        return ""

    @property
    def gpus(self) -> list[str]:
        """The GPUs that steps run on, by the names that CUDA has for them."""
        return _devices(self.device)[1]

    @property
    def slots(self) -> int:
        """How many steps run at once."""
        return slots(self.jobs, self.device, self.processes, self.per_gpu)

    def executor(self, store: Store) -> "LocalExecutor":
        return LocalExecutor(store, self.slots, self.device, self.processes)


class LocalExecutor:
    """Runs steps in worker processes on this machine.

    A worker that dies (out of memory, a crash in C code) is replaced, and its step is tried once more. Where there are
    more workers than GPUs, those of one GPU have equal shares of its memory.
    """

    def __init__(self, store: Store, jobs: int | None = None, device: str = "auto", processes: int = 1):
        self.store = store
        self.jobs = slots(jobs, device, processes)
        device, found = _devices(device)
        gpus = [",".join(found[n : n + processes]) for n in range(0, len(found) - processes + 1, processes)]
        self.workers = []
        for n in range(self.jobs):
            place = n % len(gpus) if gpus else 0
            share = 1 / len(range(place, self.jobs, len(gpus))) if gpus else 1.0
            self.workers.append(_Worker(store, device, gpus[place] if gpus else None, share))
        self.begun: list[Event] = []

    @property
    def slots(self) -> int:
        return self.jobs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for worker in self.workers:
            worker.stop()
        redact_file(_log_of_workers(self.store))

    def submit(self, work: Work) -> None:
        worker = next(w for w in self.workers if w.work is None)
        worker.attempt = 1
        worker.start(work)
        self.begun.append(Event("started", work.digest))

    def wait(self) -> Iterable[Event]:
        if self.begun:
            begun, self.begun = self.begun, []
            return begun
        busy = {w.conn: w for w in self.workers if w.work is not None and w.conn is not None}
        return [self._event(busy[cast("Connection[object, Reply]", conn)]) for conn in wait(list(busy))]

    def _event(self, worker: "_Worker") -> Event:
        work, conn = worker.work, worker.conn
        assert work is not None
        assert conn is not None
        try:
            reply = conn.recv()
        except (EOFError, ConnectionResetError):
            return self._dead(worker, work)
        if reply.change != "progress":
            worker.work = None
        return Event(cast(Change, reply.change), work.digest, reply.message, reply.done, reply.total)

    def _dead(self, worker: "_Worker", work: Work) -> Event:
        reason = f"its worker died ({worker.exit_reason()})"
        worker.stop()
        if worker.attempt < ATTEMPTS:
            worker.attempt += 1
            worker.start(work)
            return Event("retried", work.digest, reason)
        redact_file(self.store.log(work))
        self.store.keep_log(work)
        words = last_words(self.store.read_log(work), _log_of_workers(self.store).read_text(errors="replace"))
        return Event("failed", work.digest, f"{reason}, twice; the end of its log:\n{words}")


class _Worker:
    """A slot: the step it has, and the process that does it (started with the first step)."""

    def __init__(self, store: Store, device: str, gpu: str | None, share: float):
        self.store, self.device, self.gpu, self.share = store, device, gpu, share
        self.process: subprocess.Popen[bytes] | None = None
        self.conn: Connection[object, Reply] | None = None
        self.work: Work | None = None
        self.attempt = 1

    def start(self, work: Work) -> None:
        if self.process is None or self.process.poll() is not None:
            self._spawn()
        assert self.conn is not None
        self.work = work
        with suppress(BrokenPipeError, ConnectionResetError):  # it died while idle: the next `wait` finds out
            self.conn.send(work)

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs, _log_of_workers(self.store).open("ab") as log:
            # A process of its own session, not multiprocessing's: Ctrl-C does not reach it, and a script that uses
            # the Python API is not imported again.
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"from datatrial.engine.worker import main; main({theirs.fileno()})"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **worker_environment(self.device, self.gpu)},
            )
        self.conn = Connection(ours.detach())
        self.conn.send(Greeting(self.store, self.device, self.share, sys.path, os.getpid()))

    def exit_reason(self) -> str:
        assert self.process is not None
        code = self.process.wait()
        if code == -9:
            return "killed: most often the system ran out of memory; try fewer --jobs"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.conn is not None:
            self.conn.close()
        self.process = self.conn = self.work = None


def _log_of_workers(store: Store) -> Path:
    """Where workers print what is no step's."""
    return store.root / "logs" / "workers.log"


def worker_environment(device: str, gpu: str | None) -> dict[str, str]:
    """Environment variables of a worker: what it needs was fetched before, so it never asks the network."""
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "WANDB_DISABLED": "true"}
    # One thread a worker: results must not depend on how many cores happen to be free.
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"} if device == "cpu" else {}
    return {**offline, **quiet, **threads, **({"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {})}


def slots(jobs: int | None, device: str, processes: int = 1, per_gpu: int = 1) -> int:
    """How many workers run at once: as many as asked for, or `per_gpu` of each GPU, or as many as cores and memory
    allow.

    processes: of a training step, each of which has a GPU or a core.
    """
    device, gpus = _devices(device)
    if gpus and len(gpus) < processes:
        raise DatatrialError(f"launch.num_processes is {processes}, and there are {len(gpus)} GPUs here")
    if jobs and processes > 1 and gpus and jobs > len(gpus) // processes:
        raise DatatrialError(f"--jobs {jobs}: each has {processes} GPUs (launch.num_processes), of {len(gpus)} here")
    if jobs or device == "mps":
        return jobs or 1
    fitting = _cpu_jobs()
    shared = max(len(gpus), min(len(gpus) * per_gpu, fitting))  # each needs a core, too
    return max(1, (shared or fitting) // processes)


def _devices(device: str) -> tuple[str, list[str]]:
    """The kind of device meant by `device`, and the GPUs where it is CUDA."""
    gpus = visible_gpus() if device in ("auto", "cuda") else []
    on_mac = sys.platform == "darwin" and os.uname().machine == "arm64"
    return device if device != "auto" else "cuda" if gpus else "mps" if on_mac else "cpu", gpus


def check_device(device: str) -> None:
    """Make sure that there is such a device.

    Raises: DatatrialError when it is none of `DEVICES`, or CUDA without a GPU or without a build of torch for it.
    """
    if device not in DEVICES:
        raise DatatrialError(f"the device should be one of {', '.join(DEVICES)}, not {device!r}")
    if device == "cuda" and not visible_gpus():
        raise DatatrialError(
            "there is no GPU that CUDA may use here, or torch is built without CUDA; try --device auto"
        )


@cache
def visible_gpus() -> list[str]:
    """The names by which CUDA may use this machine's GPUs; none when there are none."""
    if version("torch").endswith("+cpu"):
        return []
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(number) for number, _ in enumerate(x for x in listed.splitlines() if x.startswith("GPU "))]


def _cpu_jobs() -> int:
    """As many workers as there are cores this process may use and memory to hold them."""
    cores = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count() or 1
    return max(1, min(cores, int(machine.memory() / WORKER_MEMORY)))
