"""How many steps a GPU should do at once: as many as keep it busy, each within its share of the memory."""

import math
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.estimates.devices import Device
from datatrial.estimates.estimate import Estimates, StepEstimate
from datatrial.steps import Plan

MOST = 8  # each is a process with libraries of its own
_WORTH = 0.9  # of the time with fewer, to which one more must bring it down


def workers_per_gpu(plan: Plan, device: Device | None) -> int:
    """How many workers a GPU should have; 1 where that cannot be told, for a CPU's cores, and where a stage has GPUs
    of its own (`launch`).

    It follows from the study and the kind of device alone, whatever is done already: how much goes through a model at
    a time depends on it, and with that how results are rounded.

    A small model leaves a GPU idle: while its layers are entered one by one, while a step loads and writes. Another
    step can compute in that time, so with n workers all is done after `max(busy, seconds / n)`. But each has an nth of
    the memory only: less goes through its model at a time, or blocks are computed again, or it does not fit.
    """
    if device is None or device.is_cpu or plan.study.launch.num_processes > 1:
        return 1
    most = min(MOST, math.ceil(_side_by_side(plan) / device.workers))
    best, shortest = 1, _seconds(_on_device(plan, device), 1)
    for workers in range(2, most + 1):
        steps = _on_device(plan, replace(device, memory=device.memory / workers))
        if any(step.fits is not True for step in steps):
            break
        if (seconds := _seconds(steps, workers)) < _WORTH * shortest:
            best, shortest = workers, seconds
    return best


def _side_by_side(plan: Plan) -> int:
    """The most steps with a model that can be done at once: as many as have equally many such steps before them."""
    before: dict[str, int] = {}
    for step in plan.steps:  # each after its inputs
        before[step.digest] = max((before[part.digest] for part in step.inputs.values()), default=0) + _runs_model(step)
    at_once = Counter(before[step.digest] for step in plan.steps if _runs_model(step))
    return max(at_once.values(), default=1)


def _runs_model(step: Step) -> bool:
    return step.resources.gpus != 0


def _on_device(plan: Plan, device: Device) -> list[StepEstimate]:
    """The steps with a model, as they are before anything is done."""
    found = Estimates(plan, Store(Path(os.devnull)), device)
    return [step for step in found.steps.values() if step.sort in ("training", "scoring")]


def _seconds(steps: list[StepEstimate], workers: int) -> float:
    return max(sum(step.busy or 0.0 for step in steps), sum(step.seconds or 0.0 for step in steps) / workers)
