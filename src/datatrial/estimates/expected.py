"""How long each step of a run should take, for whoever watches it."""

from dataclasses import dataclass, field

from datatrial.engine.store import Store
from datatrial.estimates.devices import Device, device_of
from datatrial.estimates.estimate import Estimates, StepEstimate
from datatrial.steps import Plan

COMPUTING = ("model", "training", "scoring")
_SMALL_SECONDS = 0.5  # of a step that computes little, in a worker that has imported what it takes
_WARM = 0.2  # of the seconds around a model's scoring, where the worker has loaded it and asked another the same before
_YARDSTICK = "h200"  # stands for a device that is in no table: what is long on it is long there


@dataclass(frozen=True)
class Expected:
    """Seconds of each step, by digest; None where they are not known."""

    seconds: dict[str, float | None] = field(default_factory=dict)
    # The same in workers that keep from step to step what they loaded. If not `absolute`, they are another device's.
    warm: dict[str, float | None] = field(default_factory=dict)
    absolute: bool = False


def expected(plan: Plan, store: Store, device: Device | None) -> Expected:
    """What a plan's steps should take on a device; None is one that nothing is known of."""
    estimates = Estimates(plan, store, device or device_of(_YARDSTICK)).steps
    seconds = {
        digest: one.seconds if device or one.sort not in COMPUTING else None for digest, one in estimates.items()
    }
    return Expected(seconds, {digest: _warm(one) for digest, one in estimates.items()}, device is not None)


def _warm(one: StepEstimate) -> float | None:
    if one.sort not in COMPUTING:
        return _SMALL_SECONDS
    if one.sort == "scoring" and one.seconds is not None and one.busy is not None:
        return one.busy + _WARM * (one.seconds - one.busy)
    return one.seconds
