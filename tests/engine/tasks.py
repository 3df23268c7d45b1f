"""Tasks small enough to see through, for the engine's tests. Workers import them by name."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datatrial.errors import DataError, DivergedError
from datatrial.records import ModelRef, Runtime
from datatrial.training.sft import Sft


@dataclass(frozen=True)
class Write:
    """Writes a text; each run also leaves a mark in `runs`, if given, so that tests can count them."""

    text: str
    runs: str = ""
    kind: str = "write"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "text": self.text}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        if self.runs:
            with Path(self.runs).open("a") as file:
                file.write(f"{os.getpid()}\n")
        (out / "text").write_text(self.text + "".join((inputs[n] / "text").read_text() for n in sorted(inputs)))
        runtime.progress(1, 1, "texts")


@dataclass(frozen=True)
class Fail:
    """Fails as told."""

    how: str
    once: str = ""  # a file: the first run makes it and fails, the next succeeds
    kind: str = "fail"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "how": self.how, "once": self.once}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        (out / "half").write_text("half a result")
        if self.once and Path(self.once).exists():
            return
        if self.once:
            Path(self.once).write_text("")
        if self.how == "data":
            raise DataError("rows.jsonl, line 3: no column 'chosen'; add it")
        if self.how == "disk":
            raise OSError(28, "No space left on device", str(out))
        if self.how == "kill":
            print("the last words of the worker", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("an unexpected value\nwith a second line")


@dataclass(frozen=True)
class Leak:
    """Says a secret in every way: in Python, past it, from another process, and in an error; it may die of that."""

    secret: str
    dies: bool = False
    kind: str = "leak"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "dies": self.dies}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        print(f"in Python {self.secret}", flush=True)
        os.write(2, f"past it {self.secret}\n".encode())
        os.system(f"echo elsewhere '{self.secret}'")
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError(f"401 for {self.secret}")


@dataclass(frozen=True)
class GoOn:
    """Notes its attempts in its scratch folder: the first fails, the second is killed, the third writes them down."""

    kind: str = "go-on"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        assert runtime.scratch is not None
        attempts = len(list(runtime.scratch.iterdir())) + 1
        (runtime.scratch / f"attempt {attempts}").write_text("")
        if attempts == 1:
            raise ValueError("the first attempt")
        if attempts == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        (out / "attempts").write_text(str(attempts))


@dataclass(frozen=True)
class Sleep:
    """Takes its time, and says when it began."""

    seconds: float
    began: str
    kind: str = "sleep"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "seconds": self.seconds}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        with Path(self.began).open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(self.seconds)


@dataclass(frozen=True)
class Hang:
    """Says nothing for a while: for ever in the first attempt, unless it computes, which ends by itself."""

    how: str
    once: str
    kind: str = "hang"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "how": self.how}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        if Path(self.once).exists():
            return
        other = subprocess.Popen(["sleep", "600"]) if self.how == "has started another" else None
        Path(self.once).write_text(str(other.pid) if other else "")
        if self.how == "computes":
            until = time.process_time() + 3
            while time.process_time() < until:
                pass
        elif self.how == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            waits_for_ever()


def waits_for_ever() -> None:
    threading.Event().wait()


@dataclass(frozen=True)
class Flood:
    """Prints as fast as it can for so many seconds, as processes of its own do; then says its last words."""

    seconds: float
    killed: bool = False  # at the end
    others: int = 1
    kind: str = "flood"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "seconds": self.seconds, "killed": self.killed}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        print("the first words", flush=True)
        deadline = time.monotonic() + self.seconds
        others = [subprocess.Popen(["yes", "another process says this"]) for _ in range(self.others)]
        while time.monotonic() < deadline:
            print("a library says this again and again\n" * 1000, flush=True)
        for other in others:
            other.kill()
            other.wait()
        print("the last words", flush=True)
        if self.killed:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Content:
    """An external for tests."""

    path: Path
    digest: str = field(default="content")

    def locate(self) -> Path:
        return self.path


@dataclass(frozen=True)
class Where:
    """Writes down the Ray node and the task's name there, and its environment.

    With a file `began`, where each attempt writes its node, the first attempt never ends.
    """

    text: str
    began: str = ""
    kind: str = "where"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "text": self.text}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        import ray

        context = ray.get_runtime_context()
        (out / "node").write_text(context.get_node_id())
        (out / "task").write_text(context.get_task_name() or "")
        (out / "environment").write_text("\n".join(f"{k}={v}" for k, v in os.environ.items() if "\n" not in v))
        if self.began:
            with Path(self.began).open("a") as file:
                file.write(f"{context.get_node_id()}\n")
        while self.began and len(Path(self.began).read_text().split()) == 1:
            time.sleep(0.05)


@dataclass(frozen=True)
class Refer:
    """A model whose weights are those of its input."""

    text: str
    kind: str = "refer"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "text": self.text}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        ModelRef(str(inputs["base"])).relative_to(out).write(out)


@dataclass(frozen=True)
class Given:
    """What lies in a folder."""

    folder: Path
    kind: str = "given"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "folder": str(self.folder)}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        shutil.copytree(self.folder, out, dirs_exist_ok=True)


class TrainedHere(Sft):
    """A stage whose processes each say which node they are on."""

    def train(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        (out / f"process-{os.environ['RANK']}").write_text(os.environ["DATATRIAL_CACHE"])
        super().train(inputs, out, runtime)


class FailsElsewhere(Sft):
    """A stage that fails in its last process, while the first goes on."""

    def train(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        if os.environ["RANK"] == "1":
            raise DivergedError("the second process is out of order")
        time.sleep(600)
