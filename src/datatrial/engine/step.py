"""A step: a task and what it reads. Knows nothing of models."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from datatrial.records import Resources, Runtime


class Task(Protocol):
    """The work of a step. `identity` is all that its result depends on, besides what it reads."""

    @property
    def kind(self) -> str: ...
    def identity(self) -> dict[str, Any]: ...
    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None: ...


class External(Protocol):
    """Something a step reads that no step made, such as a file; `digest` identifies its content."""

    @property
    def digest(self) -> str: ...
    def locate(self) -> Path: ...
    def __str__(self) -> str: ...


@dataclass(frozen=True, eq=False)
class Step:
    """One unit of work with a content-addressed result."""

    task: Task
    inputs: Mapping[str, "Step"] = field(default_factory=dict)
    externals: Mapping[str, External] = field(default_factory=dict)
    label: str = ""  # for people; never hashed, so two arms share what they have in common
    resources: Resources = field(default_factory=Resources)  # never hashed either
    counts: str = ""  # what its progress counts for most of its time, where it counts other things before; nor this

    @cached_property
    def recipe(self) -> dict[str, Any]:
        return {
            "task": self.task.identity(),
            "inputs": {name: step.digest for name, step in sorted(self.inputs.items())},
            "externals": {name: external.digest for name, external in sorted(self.externals.items())},
        }

    @cached_property
    def digest(self) -> str:
        return digest_of(self.recipe)

    @property
    def name(self) -> str:
        return f"{self.task.kind}-{self.digest}"

    @property
    def key(self) -> str:
        """Where its result lies in a store."""
        return f"{self.task.kind}/{self.digest}"


def digest_of(recipe: Mapping[str, Any]) -> str:
    """What identifies a result: 16 hexadecimal digits."""
    # No default=str: a value that cannot be written exactly must fail, not fork the cache.
    text = json.dumps(recipe, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def upstream_first(*goals: Step) -> list[Step]:
    """Every distinct step below the goals, each after its inputs."""
    seen: set[str] = set()
    found: list[Step] = []

    def visit(step: Step) -> None:
        if step.digest not in seen:
            seen.add(step.digest)
            for dep in step.inputs.values():
                visit(dep)
            found.append(step)

    for goal in goals:
        visit(goal)
    return found


def differences(old: Any, new: Any, at: str = "") -> list[str]:
    """What changed between two recipes, one line per setting: `task.learning_rate: 0.001 -> 0.01`."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(f"{at}.{key}" if at else key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(f"{at}[{i}]", a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    else:
        return [] if old == new else [f"{at}: {json.dumps(old)} -> {json.dumps(new)}"]
    return [line for place, a, b in pairs for line in differences(a, b, place)]
