"""What an lm-eval task name or YAML file stands for: its leaf tasks, read without importing lm-eval.

Groups follow lm-eval 0.4.13 (`tasks/_factory.py`): settings of a group, and of a member in its list, override those
of the member's own file, the outermost last.
"""

import difflib
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from datatrial.errors import DataError
from datatrial.evaluation._stock import Entry, Function, Kind, find, index_of, load_yaml, names, tasks_folder

# What of a group's file is about the group; everything else in it overrides its members' settings.
_OF_GROUPS = frozenset({"group", "group_alias", "task", "aggregate_metric_list", "metadata"})
_NO_SETTING = frozenset({"tag", "group", "task_list"})  # says where a task belongs, not what it is


@dataclass(frozen=True)
class Leaf:
    """One task: its file, what its groups changed, and all its settings together (`!function` left as `Function`)."""

    name: str
    file: Path
    overrides: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Identifies the settings and the code of the task's own functions; comments and file names do not count."""
        code = {function.name: _code(function) for function in _functions(self.settings)}
        text = json.dumps([self.settings, code], sort_keys=True, default=_as_text)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Group:
    """Tasks and groups under one name, with the group's own settings (how lm-eval aggregates its members)."""

    name: str
    settings: Mapping[str, Any]
    members: "tuple[Leaf | Group, ...]"


@dataclass(frozen=True)
class Tasks:
    """What a name stands for: one task, one group, or the several tasks that carry a tag."""

    name: str
    members: tuple[Leaf | Group, ...]

    @property
    def leaves(self) -> list[Leaf]:
        """The tasks at the bottom, each once, in the order of lm-eval."""
        return list({leaf.name: leaf for leaf in _flat(self.members) if isinstance(leaf, Leaf)}.values())

    @property
    def identity(self) -> dict[str, Any]:
        """What the scores depend on, as JSON values."""
        groups = {group.name: group.settings for group in _flat(self.members) if isinstance(group, Group)}
        return {
            "name": self.name,
            "tasks": {leaf.name: leaf.digest for leaf in self.leaves},
            "groups": json.loads(json.dumps(groups, default=_as_text)),
        }


def read_tasks(task: str) -> Tasks:
    """What a stock name, or the path of a YAML file, stands for.

    Raises: DataError naming the task or the file, and what is wrong with it.
    """
    if not is_file(task):
        return Tasks(task, tuple(_Reader({}).named(task, {})))
    file = Path(task)
    if not file.is_file():
        raise DataError(f"{file}: there is no such file; `task` names a task of lm-eval or a YAML file")
    settings = _settings(file)
    kind: Kind = "class" if "class" in settings else "group" if "group" in settings else "task"
    name = settings.get("group" if kind == "group" else "task")
    if not isinstance(name, str):
        raise DataError(f"{file}: a task needs `task: NAME`, a group `group: NAME` and a list of tasks under `task`")
    beside = {} if kind == "task" else index_of(str(other) for other in file.parent.glob("*.yaml") if other.is_file())
    return Tasks(name, tuple(_Reader({**beside, name: Entry(kind, file)}).named(name, {})))


def is_file(task: str) -> bool:
    """Whether a benchmark's `task` is the path of a YAML file rather than a stock name."""
    return task.endswith((".yaml", ".yml"))


def _unknown(task: str) -> str:
    close = difflib.get_close_matches(task, names(), n=3)
    suggestion = f"did you mean {' or '.join(close)}?" if close else "`lm-eval ls tasks` lists what there is"
    return f"lm-eval {importlib.metadata.version('lm_eval')} has no task, group or tag {task!r}; {suggestion}"


class _Reader:
    """Follows names to leaf tasks; `own` are the entries of the user's files, which go before the stock ones."""

    def __init__(self, own: Mapping[str, Entry]):
        self.own = own
        self.open: list[str] = []  # the groups being read

    def named(self, name: str, overrides: Mapping[str, Any]) -> Iterator[Leaf | Group]:
        entry = self.own.get(name) or find(name)
        if entry is None:
            raise DataError(_unknown(name))
        if entry.path is None:
            for member in entry.members:
                yield from self.named(member, overrides)
        elif entry.kind == "class":
            raise DataError(f"{name}: a task written as a Python class cannot be run; {entry.path} says `class:`")
        elif entry.kind == "group":
            yield self.group(name, entry.path, _settings(entry.path), overrides)
        else:
            settings = {**_settings(entry.path), **overrides, "task": name}
            yield Leaf(name, entry.path, overrides, {k: v for k, v in settings.items() if k not in _NO_SETTING})

    def group(self, name: str, file: Path, settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> Group:
        members = settings.get("task")
        if not isinstance(members, list) or not members:
            raise DataError(f"{file}: the group {name!r} lists no tasks under `task`")
        if name in self.open:
            raise DataError(f"{file}: the group {name!r} contains itself")
        own = {k: v for k, v in settings.items() if k in _OF_GROUPS - {"task"}}
        below = {**{k: v for k, v in settings.items() if k not in _OF_GROUPS}, **overrides}
        self.open.append(name)
        read = tuple(member for item in members for member in self.member(item, name, file, below))
        self.open.pop()
        return Group(name, own, read)

    def member(self, item: Any, group: str, file: Path, overrides: Mapping[str, Any]) -> Iterator[Leaf | Group]:
        if not isinstance(item, dict):
            yield from self.named(str(item), overrides)
        elif isinstance(name := item.get("group"), str) and isinstance(item.get("task"), list):
            yield self.group(f"{group}::{name}", file, item, overrides)
        elif isinstance(name := item.get("group", item.get("task")), str):
            if not (self.own.get(name) or find(name)):
                raise DataError(f"{file}: the group {group!r} defines {name!r} in its own list; give it its own file")
            further = {k: v for k, v in item.items() if k not in {"group", "task"}}
            yield from self.named(name, {**overrides, **further})
        else:
            raise DataError(f"{file}: the group {group!r} lists {item!r}, which names no task")


def _flat(members: tuple[Leaf | Group, ...]) -> Iterator[Leaf | Group]:
    for member in members:
        yield member
        if isinstance(member, Group):
            yield from _flat(member.members)


def _settings(file: Path, including: tuple[Path, ...] = ()) -> dict[str, Any]:
    if file.resolve() in including:
        raise DataError(f"{file}: includes itself")
    try:
        own = dict(_read(file, file.stat().st_mtime_ns))
    except OSError as problem:
        raise DataError(f"{file}: cannot be read: {problem.strerror}") from problem
    included = own.pop("include", None) or []
    settings: dict[str, Any] = {}
    for template in included if isinstance(included, list) else [included]:
        settings.update(_settings(file.parent / str(template), (*including, file.resolve())))
    return {**settings, **own}


@lru_cache(maxsize=1024)
def _read(file: Path, changed: int) -> Mapping[str, Any]:
    try:
        own = load_yaml(file)
    except yaml.YAMLError as problem:
        raise DataError(f"{file}: not valid YAML: {' '.join(str(problem).split())}") from problem
    if not isinstance(own, dict):
        raise DataError(f"{file}: an lm-eval task is a mapping of settings")
    return own


def _functions(value: Any) -> Iterator[Function]:
    if isinstance(value, Function):
        yield value
    elif isinstance(value, Mapping):
        for below in value.values():
            yield from _functions(below)
    elif isinstance(value, list):
        for below in value:
            yield from _functions(below)


def _code(function: Function) -> str:
    # lm-eval looks beside the YAML file first, then among installed modules; of those, its own are tasks' code.
    module = function.name.rpartition(".")[0].replace(".", "/") + ".py"
    for folder in (function.folder, tasks_folder().parents[1]):
        if (folder / module).is_file():
            # What a task of one's own imports from beside it counts too; lm-eval's folders change with its version.
            own = folder == function.folder and tasks_folder() not in folder.parents
            files = sorted(folder.glob("*.py")) if own else [folder / module]
            return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    return "installed"


def _as_text(value: Any) -> str:
    return f"!function {value.name}" if isinstance(value, Function) else str(value)
