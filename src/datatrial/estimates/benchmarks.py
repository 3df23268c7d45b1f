"""How many items benchmarks have and how long their requests are: from a table of stock tasks, or from a data set."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from datatrial.data_set import DataSet
from datatrial.engine.step import Step, Task
from datatrial.engine.store import Store
from datatrial.estimates._parquet import parquet_rows
from datatrial.estimates.data import DataSize, data_size
from datatrial.evaluation._base import Benchmark, TaskFacts, Workload
from datatrial.externals import LocalExternal
from datatrial.records import read_json

_CHOICES = 4.0  # of a question of one's own, where nothing more is known


@dataclass(frozen=True)
class TaskSize:
    """Items of one task, and its requests' lengths in characters; None where unknown."""

    items: float | None
    requests: float | None = None  # of an item
    context: float | None = None
    continuation: float = 0.0
    distinct: float | None = None  # of an item's requests and no other's, so far as they begin alike; without shots
    longest: float | None = None  # mean of the 32 longest requests
    shots: int = 0  # examples shown before the question
    shared_shots: bool = False  # whether they are the same for all items
    continuous: bool = False  # whether an item's score is a share rather than right or wrong

    @property
    def shown(self) -> float:
        """Of the examples before a question: each is as long as the question and one answer to it."""
        return self.shots * ((self.context or 0.0) + self.continuation + 2)


@dataclass(frozen=True)
class BenchmarkSize:
    """The tasks of a benchmark; of group safety, how many statements about each group are harmful and benign."""

    tasks: tuple[TaskSize, ...]
    groups: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # harmful, benign
    mean: tuple[float, float] | None = None  # as many statements as tell as much of the mean over groups
    notes: tuple[str, ...] = ()

    @property
    def items(self) -> float | None:
        return None if any(task.items is None for task in self.tasks) else sum(task.items or 0 for task in self.tasks)

    @property
    def continuous(self) -> bool:
        return any(task.continuous for task in self.tasks)


def benchmark_size(step: Step, store: Store) -> BenchmarkSize:
    """The size of the benchmark that a step scores."""
    work, title = workload_of(step), title_of(step)
    if work is not None and work.tasks:
        return _published(work, step)
    if work is None or "data" not in step.inputs:
        return BenchmarkSize((TaskSize(None),), notes=(f"{title}: its kind does not say how much it asks",))
    size = data_size(step.inputs["data"], store)
    match work.asks:
        case "choices":
            return _questions(work, size, title)
        case "sentences":
            return _statements(work, size, step, store)
        case "prompts":
            return BenchmarkSize((_limited(TaskSize(size.rows), work.limit),))


def workload_of(step: Step) -> Workload | None:
    """How a step puts items to a policy; None where its kind does not say."""
    return step.task.workload if isinstance(step.task, Benchmark) else None


def title_of(step: Step) -> str:
    """The title of a step's benchmark."""
    return step.task.title if isinstance(step.task, Benchmark) else step.label


@cache
def table() -> dict[str, Any]:
    """The packaged sizes: `tasks` by lm-eval's name, `statements` by kind of source."""
    found: dict[str, Any] = json.loads((files(__package__) / "benchmarks.json").read_text(encoding="utf-8"))
    return found


def _published(work: Workload, step: Step) -> BenchmarkSize:
    sizes = tuple(_limited(_task(task, step), work.limit) for task in work.tasks)
    title = title_of(step)
    notes = [f"{title}: number of items unknown"] * any(size.items is None for size in sizes)
    notes += [f"{title}: length of its questions unknown"] * any(size.items and size.context is None for size in sizes)
    return BenchmarkSize(sizes, notes=tuple(notes))


def _task(task: TaskFacts, step: Step) -> TaskSize:
    row = table()["tasks"].get(task.name, {})
    items = _mirrored(task, step) or row.get("items")
    if not task.has_choices:
        return TaskSize(items)
    return TaskSize(
        items=items,
        requests=row.get("choices"),
        context=row.get("context"),
        continuation=row.get("continuation", 0.0),
        distinct=row.get("distinct"),
        longest=row.get("longest"),
        shots=task.shots,
        shared_shots=task.shared_shots,
        continuous=row.get("continuous", False),
    )


def _mirrored(task: TaskFacts, step: Step) -> int | None:
    """Items of a task whose data lies on this disk as Parquet, in one of the hub's usual layouts."""
    external = step.externals.get(task.data)
    if not isinstance(external, LocalExternal) or not task.split:
        return None
    folders = [external.path / (task.configuration or "data"), external.path / "data"]
    found = next((files for folder in folders if (files := sorted(folder.glob(f"{task.split}-*.parquet")))), [])
    counts = [parquet_rows(file) for file in found]
    return None if not counts or None in counts else sum(filter(None, counts))


def _limited(size: TaskSize, limit: int | None) -> TaskSize:
    if limit is None or size.items is None:
        return size
    return replace(size, items=min(limit, size.items))


def _questions(work: Workload, size: DataSize, title: str) -> BenchmarkSize:
    """A benchmark on a data set of the study: a row is a question with its choices."""
    notes = [] if size.rows is not None else [f"{title}: number of questions unknown"]
    if size.characters is None:
        found = _limited(TaskSize(size.rows), work.limit)
        return BenchmarkSize((found,), notes=(*notes, f"{title}: length of its questions unknown"))
    answer = size.characters / (2 * _CHOICES)  # half of a row is taken to be its choices
    question = size.characters / 2
    longest = 2 * (question + answer)
    distinct = question + _CHOICES * answer
    found = TaskSize(size.rows, _CHOICES, question, answer, distinct, longest, work.shots)
    return BenchmarkSize((_limited(found, work.limit),), notes=tuple(notes))


def _statements(work: Workload, size: DataSize, step: Step, store: Store) -> BenchmarkSize:
    row = _counted(step.inputs["data"].task)
    whole = work.limit is None and size.rows in (None, row.get("items"))  # a part of them has other groups
    task = _limited(_sentences(size, row, whole), work.limit)
    if work.statistic != "group_safety":
        return BenchmarkSize((task,))
    if row and whole:
        groups = {name: (counts["harmful"], counts["benign"]) for name, counts in row["groups"].items()}
        return BenchmarkSize((task,), groups, (row["mean"]["harmful"], row["mean"]["benign"]))
    if (found := _scored(step, store)) is not None:
        return BenchmarkSize((task,), found, _mean_of(found, size.rows))
    return BenchmarkSize((task,), notes=(f"{title_of(step)}: its groups are unknown",))


def _counted(data: Task) -> Mapping[str, Any]:
    """What the packaged sizes say of a data set of statements; nothing of another file of the same source."""
    row = table()["statements"].get(data.source.kind, {}) if isinstance(data, DataSet) else {}
    published = data.source.facts.published_rows if isinstance(data, DataSet) else None
    return row if row.get("items") == published else {}


def _sentences(size: DataSize, row: Mapping[str, Any], whole: bool) -> TaskSize:
    items = size.rows if size.rows is not None else row.get("items")
    context = row.get("context") if whole or size.characters is None else size.characters
    longest = row.get("longest") or (3 * context if context else None)
    return TaskSize(items, 1.0, 0.0, context or 0.0, row.get("distinct") if whole else context, longest)


def _mean_of(groups: Mapping[str, tuple[float, float]], items: float | None) -> tuple[float, float] | None:
    """As many statements as tell as much of the mean over groups, where no statement is about two: G² / Σ 1/n."""
    if not groups or sum(map(sum, groups.values())) != items or not all(map(all, groups.values())):
        return None
    harmful, benign = (len(groups) ** 2 / sum(1 / counts[kind] for counts in groups.values()) for kind in (0, 1))
    return harmful, benign


def _scored(step: Step, store: Store) -> Mapping[str, tuple[float, float]] | None:
    """The groups as a finished evaluation of these statements counted them."""
    file = store.path(step) / "summary.json"
    if not store.has(step) or not Path(file).is_file():
        return None
    summary = read_json(file)
    harmful, benign = summary.get("harmful") or {}, summary.get("benign") or {}
    return {name: (harmful[name], benign[name]) for name in harmful if name in benign}
