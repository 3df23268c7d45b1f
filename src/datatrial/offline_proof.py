"""Whether a study can be run without the network: asked of a new process, in which no connection can be made.

`python -m datatrial.offline_proof QUESTION ANSWER`, two JSON files; `datatrial fetch` calls it.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datatrial.engine.remote import store_at
from datatrial.engine.step import External, Step
from datatrial.errors import DatatrialError
from datatrial.evaluation._base import Benchmark
from datatrial.hub import HubExternal
from datatrial.models.hub import ADAPTER, Hub, adapter_problems, weights_problems
from datatrial.planner import plan_of, resolver_of
from datatrial.records import Runtime, read_json
from datatrial.study import Study

_LOOKING_UP = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})
_SENDING = frozenset({"socket.connect", "socket.sendto"})


@dataclass(frozen=True)
class Question:
    """A study, and the files with their sizes in bytes that the hub lists of each repository it reads."""

    study: str
    overrides: list[str]
    store: str
    expected: dict[str, dict[str, int]]  # by `HubExternal.key`


@dataclass(frozen=True)
class Proof:
    """What was found, and read, with the network off; `missing` says in a sentence each what was not."""

    missing: list[str] = field(default_factory=list)
    steps: int = 0
    benchmarks: int = 0  # whose data was read as a run reads it
    items: int = 0  # of those benchmarks


def prove(question: Question) -> Proof:
    """Plan the study from what is on this disk, find all files of all repositories, and read the benchmarks' data."""
    try:
        study, store = Study.load(question.study, question.overrides), store_at(question.store)
        steps = plan_of(study, resolver_of(study, store)).steps
    except DatatrialError as error:
        return Proof([str(error)])
    missing: dict[str, None] = {}  # in order, each once
    located: dict[External, Path | None] = {}
    for external in [e for step in steps for e in step.externals.values()]:
        if external not in located:
            located[external] = _located(external, question.expected, missing)
    sizes: list[int] = []
    for step in _to_be_read(steps):
        inputs = {name: path for name, e in step.externals.items() if (path := located[e])}
        if len(inputs) == len(step.externals):
            sizes += _read(step, inputs, Runtime(cache=store.root / "cache"), missing)
    return Proof(list(missing), len(steps), len(sizes), sum(sizes))


def _located(external: External, expected: Mapping[str, Mapping[str, int]], missing: dict[str, None]) -> Path | None:
    try:
        folder = external.locate()
    except DatatrialError as error:
        missing[str(error)] = None
        return None
    if isinstance(external, HubExternal):
        from huggingface_hub.utils import filter_repo_objects

        listed = expected.get(external.key, {"": 0})  # of all that the study reads of the repository
        for name in filter_repo_objects(listed, allow_patterns=list(external.needs.patterns)):
            file, size = folder / name, listed[name]
            found = file.stat().st_size if file.is_file() else None
            if found != size:
                state = "is missing" if found is None else f"has {found} bytes instead of {size}"
                missing[f"{external}: {name or 'what it holds is not known'} {state}: `datatrial fetch` again"] = None
    return folder


def _to_be_read(steps: list[Step]) -> Iterator[Step]:
    """A step for each distinct benchmark of lm-eval, and for each model of the hub."""
    seen = set()
    for step in steps:
        task = step.task
        if not step.externals or not isinstance(task, Benchmark | Hub):
            continue
        key = json.dumps([task.identity(), step.recipe["externals"]], sort_keys=True)
        if key not in seen:
            seen.add(key)
            yield step


def _read(step: Step, inputs: Mapping[str, Path], runtime: Runtime, missing: dict[str, None]) -> list[int]:
    """The number of items of a benchmark, read as a run reads them; nothing for a model, whose files are looked for."""
    task: Any = step.task
    if isinstance(task, Hub):
        folder = inputs["weights"]
        problems = adapter_problems if (folder / ADAPTER).exists() else weights_problems
        missing.update(dict.fromkeys(f"{step.label}: {problem}" for problem in problems(folder)))
        return []
    if task.data:
        return []
    try:
        return [task.texts(inputs, runtime).height]
    except Exception as error:  # reading is a task's own code over foreign data: it can fail in any way
        reason = str(error) if isinstance(error, DatatrialError) else f"{type(error).__name__}: {error}"
        missing[f"benchmark {task.title}: {reason}"] = None
        return []


def block_network() -> None:
    """Let no connection be made from this process, from now on: Python tells of each before it is made."""

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        # An address that is a name in the file system leads to a process of this machine.
        if event in _LOOKING_UP or (event in _SENDING and not isinstance(args[1], str | bytes)):
            raise ConnectionRefusedError(f"the network is off here ({event} {args})")

    sys.addaudithook(refuse)


def main(asked: Path, answer: Path) -> None:
    """Answer the question in one file with a proof in the other."""
    block_network()
    answer.write_text(json.dumps(asdict(prove(Question(**read_json(asked))))))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
