"""What a result was made with: versions, machine, memory."""

import platform
import resource
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("datatrial", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "lm_eval", "polars", "scipy")


@cache
def environment() -> dict[str, Any]:
    """Python, operating system, processor, and the versions of the packages that results depend on."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": _processor(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def reset_memory_peak() -> None:
    """Begin to measure the process' peak memory anew, where the system can (Linux) and for GPUs."""
    with suppress(OSError):  # elsewhere the peak is the process' own so far
        Path("/proc/self/clear_refs").write_text("5")
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def memory_peak() -> dict[str, int]:
    """Peak memory since `reset_memory_peak`, in MiB: of the process, and of the GPU where there is one."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")]
    scale = 1 if sys.platform == "darwin" else 1024  # macOS gives bytes, others KiB
    host = peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale // 2**20
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        return {"host": host, "gpu": torch.cuda.max_memory_allocated() // 2**20}
    return {"host": host}
