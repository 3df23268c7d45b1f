"""One stage in several processes, which share each batch: `torchrun` starts them, accelerate makes them one trainer."""

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from datatrial.errors import ModelError
from datatrial.records import Runtime

if TYPE_CHECKING:
    from datatrial.training._base import Stage

JOB, PROGRESS, ERROR = "job.pickle", "progress.json", "error.txt"
_LOOK_SECONDS = 0.2


def train_in_processes(stage: "Stage", inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train a stage in as many processes as its launch says; the first of them writes the result.

    Raises: ModelError with what went wrong in one of them; its traceback is in the step's log.
    """
    assert runtime.launch
    assert runtime.scratch
    folder = runtime.scratch / "launch"
    folder.mkdir(exist_ok=True)
    for left in (PROGRESS, ERROR):
        (folder / left).unlink(missing_ok=True)
    quiet = replace(runtime, progress=_nobody)
    (folder / JOB).write_bytes(pickle.dumps((stage, dict(inputs), out, quiet, sys.path, os.getpid())))
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={runtime.launch.num_processes}"]
    process = subprocess.Popen([sys.executable, *command, "-m", "datatrial.training._process", str(folder)])
    try:
        while process.poll() is None:
            time.sleep(_LOOK_SECONDS)
            _tell(folder / PROGRESS, runtime)
    finally:
        process.terminate()  # where this one is interrupted
        process.wait()
    if process.returncode:
        said = folder / ERROR
        raise ModelError(said.read_text() if said.exists() else "a training process died; the step's log may say why")
    _tell(folder / PROGRESS, runtime)


def _nobody(*_: object) -> None:
    pass


def _tell(file: Path, runtime: Runtime) -> None:
    if file.exists():
        done, total, what = json.loads(file.read_text())
        runtime.progress(done, total, what)
