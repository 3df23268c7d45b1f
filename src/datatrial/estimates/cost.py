"""What work and memory come to on a device."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypedDict

from datatrial.estimates.compute import Work
from datatrial.estimates.devices import Device, Use
from datatrial.memory import Memory


class Cost(TypedDict):
    """The fields of a `StepEstimate` that follow from work and memory."""

    flops: float | None
    seconds: float | None
    busy: float | None
    memory: float | None
    memory_parts: Mapping[str, float]
    fits: bool | None


def cost(
    work: Work | None, memory: Memory | None, device: Device | None, dtype: str, use: Use, further: float = 0.0
) -> Cost:
    """The cost of a step that computes in `dtype`; `further` seconds are neither work nor the start of a process."""
    seconds, busy = None, None
    if work is not None and device is not None:
        busy = replace(work, entered=0.0).seconds(device, dtype, use)
        seconds = work.seconds(device, dtype, use) + further + device.start_seconds[use]
    return {
        "flops": work.flops if work else None,
        "seconds": seconds,
        "busy": busy,
        "memory": memory.total if memory else None,
        "memory_parts": vars(memory) if memory else {},
        "fits": memory.total <= device.memory if memory and device else None,
    }
