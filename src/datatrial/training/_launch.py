"""One stage in several processes, which share each batch: `torchrun` starts them, accelerate makes them one trainer."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from datatrial.errors import ModelError
from datatrial.files import write_at_once
from datatrial.records import Launch, Others, Runtime
from datatrial.reference_log_probs import LogProbs, log_probs_of

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from datatrial.encoding import Example
    from datatrial.training._base import Stage

FOLDER = "launch"  # in a step's scratch, for what its processes tell each other
JOB, PROGRESS, ERROR = "job.pickle", "progress.json", "error.pickle"
_LOOK_SECONDS = 0.2


def train_in_processes(stage: "Stage", inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train a stage in as many processes as its launch says; the first of them writes the result.

    Raises: what went wrong in the first of them that failed; its traceback is in the step's log.
    """
    assert runtime.launch
    assert runtime.scratch
    folder = runtime.scratch / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)  # what is unpickled from it must be this user's own
    quiet = replace(runtime, progress=_nobody, others=None)
    job = pickle.dumps((stage, dict(inputs), out, quiet))  # apart, for it is read with this path only
    (folder / JOB).write_bytes(pickle.dumps((job, sys.path)))
    others, failure, told = runtime.others, "", ""
    commands = [torchrun(runtime.launch, number, others, folder) for number in range(runtime.launch.num_machines)]
    with others.run(commands[1:], folder / JOB) if others else nullcontext():
        process, started = subprocess.Popen([sys.executable, *commands[0], str(os.getpid())]), list[psutil.Process]()
        try:
            while process.poll() is None and not (failure := others.failure() if others else ""):
                if len(started) < runtime.launch.on_each_machine:
                    started = _started_by(process.pid)
                time.sleep(_LOOK_SECONDS)
                told = _tell(folder / PROGRESS, runtime, told)
        finally:
            process.terminate()  # where this one is interrupted, or another machine failed
            process.wait()
            _end(started)
    if process.returncode:
        if (said := folder / ERROR).exists():
            raise pickle.loads(said.read_bytes())
        raise ModelError(failure or "a training process died; the step's log may say why")
    _tell(folder / PROGRESS, runtime, told)


def torchrun(launch: Launch, machine: int, others: Others | None, folder: Path) -> list[str]:
    """Python's arguments to start the processes of one machine; the number of the one that starts them comes last."""
    place = ["--standalone"]
    if others:
        place = [f"--nnodes={launch.num_machines}", f"--node-rank={machine}"]
        place += [f"--master-addr={others.address}", f"--master-port={others.port}"]
    each = f"--nproc-per-node={launch.on_each_machine}"
    return ["-m", "torch.distributed.run", *place, each, "-m", "datatrial.training._process", str(folder)]


def log_probs_together(
    model: "PreTrainedModel | PeftModel", examples: Sequence["Example"], runtime: Runtime, name: str
) -> LogProbs:
    """What a model says of the answers of examples; of several processes each asks about some and reads the others'.

    name: of the folders in the step's scratch where finished work is kept.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    journal = runtime.scratch / (f"{name}-{rank}-of-{world}" if world > 1 else name) if runtime.scratch else None
    ours = log_probs_of(model, examples[rank::world], runtime.progress, journal)
    if world == 1:
        return ours
    assert runtime.scratch
    files = [runtime.scratch / FOLDER / f"{name}-{each}.json" for each in range(world)]
    write_at_once(files[rank], json.dumps(ours))
    while not all(file.exists() for file in files):  # should one of them fail, this one is ended
        time.sleep(_LOOK_SECONDS)
    shares = [json.loads(file.read_text()) for file in files]
    return [tuple(shares[place % world][place // world]) for place in range(len(examples))]


def _nobody(*_: object) -> None:
    pass


def _started_by(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children()
    return []


def _end(processes: Sequence[psutil.Process]) -> None:
    """See to it that none trains on where another attempt may begin: who started them may have been killed alone."""
    _, alive = psutil.wait_procs(processes, timeout=2)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def _tell(file: Path, runtime: Runtime, told: str) -> str:
    """Pass on what the processes say, unless that was told before: who says the same all the while may hang."""
    said = file.read_text() if file.exists() else told
    if said != told:
        runtime.progress(*json.loads(said))
    return said
