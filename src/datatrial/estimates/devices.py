"""The devices that estimates are for: their peaks from datasheets, and what share of them is assumed to be reached."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from datatrial.component import did_you_mean
from datatrial.errors import DatatrialError

Use = Literal["training", "scoring"]

_CLOCK = re.compile(r"@ *([\d.]+) *GHz")
_ASSUMED_GHZ = 2.5


@dataclass(frozen=True)
class Device:
    """One GPU, or one core of a CPU: what a worker has. In FLOP/s by dtype, bytes, and bytes a second."""

    name: str
    title: str
    memory: float  # of the whole device
    bandwidth: float
    peak: Mapping[str, float]
    utilization: Mapping[Use, float]  # share of the peak that matrix products are assumed to reach
    layer_seconds: float  # to enter a layer once, however little it has to do
    request_seconds: float  # of a request of lm-eval's outside of the model
    start_seconds: Mapping[Use, float]  # of a step, before and after the model works
    base_memory: float  # bytes that the libraries take
    source: str
    why: str  # where the assumptions are from
    workers: int = 1  # that run at once

    @property
    def is_cpu(self) -> bool:
        return self.name == "cpu"


def device_of(name: str | None = None) -> Device | None:
    """The device of that name, or the one this machine has; None for a GPU that is in no table.

    Raises: DatatrialError for a name that is not known.
    """
    if name is None:
        found = _gpus_here()
        return _cpu() if not found else _gpu(found[0], len(found)) if found[0] in known()[:-1] else None
    if name not in known():
        raise DatatrialError(f"--device: no device {name!r} to plan for; {did_you_mean(name, known())}")
    return _cpu() if name == "cpu" else _gpu(name)


def known() -> list[str]:
    """The names that `device_of` takes."""
    return [*_data()["gpus"], "cpu"]


@cache
def _data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files(__package__) / "devices.json").read_text(encoding="utf-8"))
    return found


def _gpu(name: str, workers: int = 1) -> Device:
    own, shared = _data()["gpus"][name], _data()["gpu"]
    return _device(name, own, shared, workers)


def _cpu() -> Device:
    shared, flags, ghz = _data()["cpu"], *_processor()
    width = next(w for flag, w in shared["floats_per_cycle"].items() if flag in flags or flag == "other")
    peak = width * ghz * 1e9
    low = peak * shared["sixteen_bit"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    own = {
        "title": f"a core of this CPU ({ghz:g} GHz, {width} FLOP a cycle)",
        "memory": memory,
        "bandwidth": shared["bandwidth_per_core"],
        "peak": {"float32": peak, "bfloat16": low, "float16": low},
        "source": shared["source"],
    }
    return _device("cpu", own, shared, cores)


def _device(name: str, own: Mapping[str, Any], shared: Mapping[str, Any], workers: int) -> Device:
    return Device(
        name=name,
        title=own["title"],
        memory=own["memory"],
        bandwidth=own["bandwidth"],
        peak=own["peak"],
        utilization={"training": shared["training"], "scoring": shared["scoring"]},
        layer_seconds=shared["layer_seconds"],
        request_seconds=shared["request_seconds"],
        start_seconds=shared["start_seconds"],
        base_memory=shared["base_memory"],
        source=own["source"],
        why=shared["why"],
        workers=workers,
    )


def _processor() -> tuple[set[str], float]:
    """The instruction sets of this CPU as Linux names them, and its clock in GHz."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    lines = dict(line.partition(":")[::2] for line in text.splitlines() if ":" in line)
    values = {key.strip(): value.strip() for key, value in lines.items()}
    flags = set((values.get("flags") or values.get("Features") or "").split())
    named = _CLOCK.search(values.get("model name", ""))
    ghz = float(named[1]) if named else float(values.get("cpu MHz", 0)) / 1000
    return flags, ghz or _ASSUMED_GHZ


def _gpus_here(folder: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """The names of this machine's GPUs, as in the table where they are in it. The driver tells without being loaded."""
    models = [file.read_text(errors="replace") for file in sorted(folder.glob("*/information"))]
    named = [match[1].strip() for text in models if (match := re.search(r"Model:\s*(.+)", text))]
    table = _data()["gpus"]
    return [
        next((n for n, gpu in table.items() if any(part in model for part in gpu["names"])), model) for model in named
    ]
