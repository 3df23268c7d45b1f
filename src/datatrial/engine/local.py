"""The local executor: one long-lived worker process per slot."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self, cast

import psutil

from datatrial.engine.devices import check_device, devices, slots
from datatrial.engine.log import shorten
from datatrial.engine.schedule import LOOK_SECONDS, Change, Event
from datatrial.engine.store import Store, Work
from datatrial.engine.time_left import clock
from datatrial.engine.worker import SHOW_WHERE, Greeting, Reply, last_words
from datatrial.redaction import redact_file

Seconds = Mapping[str, float | None]  # seconds that steps take, by their digests, as far as the plan can tell
ATTEMPTS = 2  # of a step whose worker died
QUIET_SECONDS = 3600.0  # for which a step may say nothing, at least: loading a large model over a network is silent
TIMES_EXPECTED = 3.0  # or so many times what the plan reckons it takes in all
TIMES_BUSY = 10.0  # and so many times as long while it computes: not all that computes tells how far it is
IDLE = 0.05  # of a core's time, less than which is no computing


@dataclass(frozen=True)
class Here:
    """This machine as the place where steps run."""

    jobs: int | None = None
    device: str = "auto"
    processes: int = 1  # of a training step: a worker has as many GPUs, or is counted as so many cores
    per_gpu: int = 1  # workers, where it is not said how many there are; each has so much of its memory at most

    def check(self) -> str:
        """Make sure that there is such a device; nothing is to be watched anywhere.

        Raises: DatatrialError when there is none.
        """
        check_device(self.device)
        return ""

    @property
    def kind(self) -> str:
        """What the device is: cpu, cuda or mps."""
        return devices(self.device)[0]

    @property
    def gpus(self) -> list[str]:
        """The GPUs that steps run on, by the names that CUDA has for them."""
        return devices(self.device)[1]

    @property
    def slots(self) -> int:
        """How many steps run at once."""
        return slots(self.jobs, self.device, self.processes, self.per_gpu)

    def executor(self, store: Store, expected: Seconds = MappingProxyType({})) -> "LocalExecutor":
        return LocalExecutor(store, self.slots, self.device, self.processes, self.per_gpu, expected)


class LocalExecutor:
    """Runs steps in worker processes on this machine.

    A worker that dies (out of memory, a crash in C code) or hangs is replaced, and its step is tried once more. Where
    there are more workers than GPUs, all have equal shares of a GPU's memory: what a step computes with must not depend
    on which of them does it.
    """

    def __init__(
        self,
        store: Store,
        jobs: int | None = None,
        device: str = "auto",
        processes: int = 1,
        per_gpu: int = 1,
        expected: Seconds = MappingProxyType({}),
    ):
        self.store, self.expected = store, expected
        self.jobs = slots(jobs, device, processes, per_gpu)
        device, found = devices(device)
        gpus = [",".join(found[n : n + processes]) for n in range(0, len(found) - processes + 1, processes)]
        self.workers = []
        for n in range(self.jobs):
            gpu = gpus[n % len(gpus)] if gpus else None
            share = 1 / max(per_gpu, math.ceil(self.jobs / len(gpus))) if gpus else 1.0
            self.workers.append(_Worker(store, device, gpu, share))
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
        speaking = [busy.pop(cast("Connection[object, Reply]", conn)) for conn in wait(list(busy), LOOK_SECONDS)]
        hanging = [(worker, silent) for worker in busy.values() if (silent := self._too_silent(worker))]
        return [*map(self._event, speaking), *(self._hung(worker, silent) for worker, silent in hanging)]

    def _too_silent(self, worker: "_Worker") -> float:
        """The seconds for which a worker has said nothing, if they are more than it was allowed; else 0."""
        assert worker.work is not None
        limit = quiet_seconds(self.expected.get(worker.work.digest))
        silent = time.monotonic() - worker.heard
        hangs = silent > TIMES_BUSY * limit or (silent > limit and worker.is_idle())
        if silent > limit / 2:
            worker.watch()
        return silent if hangs else 0.0

    def _hung(self, worker: "_Worker", silent: float) -> Event:
        assert worker.work is not None
        worker.kill()
        return self._dead(worker, worker.work, f"its worker said nothing for {clock(silent)} and was ended")

    def withdraw(self) -> Iterable[str]:
        return ()  # what is submitted begins at once

    def _event(self, worker: "_Worker") -> Event:
        work, conn = worker.work, worker.conn
        assert work is not None
        assert conn is not None
        try:
            reply = conn.recv()
        except (EOFError, OSError):  # also in the middle of what it said
            return self._dead(worker, work, f"its worker died ({worker.exit_reason()})")
        worker.is_heard()
        if reply.change != "progress":
            worker.work = None
        return Event(cast(Change, reply.change), work.digest, reply.message, reply.done, reply.total)

    def _dead(self, worker: "_Worker", work: Work, reason: str) -> Event:
        worker.stop()
        self.store.finish_log(work)
        if worker.attempt < ATTEMPTS:
            worker.attempt += 1
            worker.start(work)
            return Event("retried", work.digest, reason)
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
        self.heard = 0.0  # when it last said something
        self.watched: tuple[float, float] | None = None  # since when, and the seconds that it had computed by then

    def start(self, work: Work) -> None:
        self.work = work
        self.is_heard()
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: the next `wait` finds out
            if self.process is None or self.process.poll() is not None:
                self._spawn()
            assert self.conn is not None
            self.conn.send(work)

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        shorten(_log_of_workers(self.store))
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

    def is_heard(self) -> None:
        """It just said something, or was told to begin."""
        self.heard, self.watched = time.monotonic(), None

    def watch(self) -> None:
        """Look from now on whether it computes while it says nothing."""
        self.watched = self.watched or (time.monotonic(), self._computed())

    def is_idle(self) -> bool:
        """Whether it has hardly computed since it is watched."""
        if self.watched is None:
            return False
        since, spent = self.watched
        return self._computed() - spent < IDLE * (time.monotonic() - since)

    def _computed(self) -> float:
        """Seconds that it and its processes have computed."""
        assert self.process is not None
        with suppress(psutil.Error):
            this = psutil.Process(self.process.pid)
            return sum(map(_computed_by, (this, *this.children(recursive=True))))
        return 0.0

    def kill(self) -> None:
        """End it whatever it is at, with where it stood in the step's log."""
        assert self.process is not None
        self.process.send_signal(SHOW_WHERE)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=1)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # with what its stage started

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
                with suppress(subprocess.TimeoutExpired):  # one that waits for a disk cannot be ended
                    self.process.wait(timeout=5)
        if self.conn is not None:
            self.conn.close()
        self.process = self.conn = self.work = None


def _computed_by(process: psutil.Process) -> float:
    """Seconds that a process, and those of its children that have ended, have computed."""
    with suppress(psutil.Error):  # it ended just now
        return float(sum(process.cpu_times()[:4]))
    return 0.0


def _log_of_workers(store: Store) -> Path:
    """Where workers print what is no step's."""
    return store.root / "logs" / "workers.log"


def quiet_seconds(expected: float | None) -> float:
    """How long a step may say nothing that is expected to take so many seconds."""
    return max(QUIET_SECONDS, TIMES_EXPECTED * (expected or 0.0))


def worker_environment(device: str, gpu: str | None) -> dict[str, str]:
    """Environment variables of a worker: what it needs was fetched before, so it never asks the network."""
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "WANDB_DISABLED": "true"}
    # One thread a worker: results must not depend on how many cores happen to be free.
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"} if device == "cpu" else {}
    return {**offline, **quiet, **threads, **({"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {})}
