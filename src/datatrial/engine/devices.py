"""The devices of this machine, and how many steps it does at once."""

import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import version

import psutil

from datatrial import machine
from datatrial.errors import DatatrialError

DEVICES = ("auto", "cpu", "cuda", "mps")
WORKER_MEMORY = 1.5 * 2**30  # bytes of the machine's memory that a worker on a CPU is counted with


def slots(jobs: int | None, device: str, processes: int = 1, per_gpu: int = 1) -> int:
    """How many workers run at once: as many as asked for, or `per_gpu` of each GPU, or as many as cores and memory
    allow.

    processes: of a training step, each of which has a GPU or a core.
    """
    device, gpus = devices(device)
    if gpus and len(gpus) < processes:
        raise DatatrialError(f"launch.num_processes is {processes}, and there are {len(gpus)} GPUs here")
    if jobs and processes > 1 and gpus and jobs > len(gpus) // processes:
        raise DatatrialError(f"--jobs {jobs}: each has {processes} GPUs (launch.num_processes), of {len(gpus)} here")
    if jobs or device == "mps":
        return jobs or 1
    fitting = _cpu_jobs()
    shared = max(len(gpus), min(len(gpus) * per_gpu, fitting))  # each needs a core, too
    return max(1, (shared or fitting) // processes)


def devices(device: str) -> tuple[str, list[str]]:
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
