"""lm-eval's own tasks, found by name without importing lm-eval (which takes seconds, and its index of them 5 s more).

The rules are those of lm-eval 0.4.13 (`tasks/_index.py`): YAML files in the order of their paths, the first of two
equal names wins, a tag is the set of the tasks that carry it. A test compares the two indexes entry by entry.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from datatrial.errors import DataError
from datatrial.files import write_at_once
from datatrial.foreign.bounded_yaml import LARGEST, bounded
from datatrial.regular_files import text_of

Kind = Literal["task", "group", "tag", "class"]

# A top-level key that says what a file declares, with its value up to the next top-level key.
_HEAD = re.compile(
    r"""^["']?(task|group|tag|include|class)["']?[ \t]*:(.*(?:\n(?:[ \t]+.*|-.*|[ \t]*$))*)""", re.MULTILINE
)
_PLAIN = re.compile(r"""^\s*(["']?)([\w./+-]*[A-Za-z_./][\w./+-]*)\1\s*(?:#.*)?$""")
_NOTHING = {"null", "Null", "NULL", "true", "false", "yes", "no", "on", "off"}


@dataclass(frozen=True)
class Entry:
    """What a name stands for: the file that declares it, or for a tag (which has no file) the tasks that carry it."""

    kind: Kind
    path: Path | None
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Function:
    """A `!function module.name` of a task file, left unread; the module lies in the folder of that file."""

    folder: Path
    name: str


@cache
def tasks_folder() -> Path:
    """The folder of lm-eval's tasks.

    Raises: DataError when lm-eval is not installed.
    """
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("lm-eval is not installed; install it with `pip install lm-eval`")
    return Path(spec.submodule_search_locations[0]) / "tasks"


def find(name: str) -> Entry | None:
    """The stock task, group or tag of that name."""
    # A task mostly lies in a folder that starts its name; a tag may be carried by tasks anywhere.
    for folder in sorted(f.path for f in os.scandir(tasks_folder()) if f.is_dir() and name.startswith(f.name)):
        found = _folder_index(folder).get(name)
        if found and found.kind != "tag":
            return found
    # The index kept from earlier may lack a task that was put into lm-eval's folder since.
    row = _kept_index().get(name) or _read_index().get(name)
    if row is None:
        return None
    kind, path, members = row
    return Entry(kind, tasks_folder() / path if path else None, tuple(members))


def names() -> list[str]:
    """Every stock task, group and tag."""
    return sorted(_read_index())


@cache
def _folder_index(folder: str) -> dict[str, Entry]:
    return index_of(_yaml_files(folder))


def index_of(files: Iterable[str]) -> dict[str, Entry]:
    """What the given YAML files declare, in lm-eval's order of precedence; files that are no tasks are passed over."""
    entries: dict[str, Entry] = {}
    carriers: dict[str, set[str]] = {}
    included: dict[str, dict[str, Any]] = {}
    for path in sorted(files):
        try:
            heads = _heads(path, included)
        except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError):  # the last: it includes itself
            continue
        kind: Kind = "class" if "class" in heads else "group" if "group" in heads else "task"
        name = heads.get("group" if kind == "group" else "task")
        if not isinstance(name, str) or name in entries:
            continue
        entries[name] = Entry(kind, Path(path))
        for tag in _listed(heads.get("tag")) if kind != "group" else []:
            entries.setdefault(tag, Entry("tag", None))
            carriers.setdefault(tag, set()).add(name)
    return {n: replace(e, members=tuple(sorted(carriers[n]))) if e.kind == "tag" else e for n, e in entries.items()}


def load_yaml(path: Path) -> Any:
    """A YAML file as plain values, with every `!function` as a `Function`.

    Raises: OSError; yaml.YAMLError, also when it is not in UTF-8.
    """
    try:
        return yaml.load(bounded(text_of(path, LARGEST)), Loader=_loader(path.parent))
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from error


@lru_cache(maxsize=64)
def _loader(folder: Path) -> Any:
    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    def function(loader: Any, node: Any) -> Function:
        return Function(folder, str(loader.construct_scalar(node)))

    Loader.add_constructor("!function", function)
    return Loader


def _heads(path: str, included: dict[str, dict[str, Any]]) -> dict[str, Any]:
    # Parsing 14,000 files takes 5 s; looking for five keys in them takes a tenth of that.
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - a Path for each file would double the time
        own = {match[1]: _value(match[0], match[2]) for match in _HEAD.finditer(file.read())}
    heads: dict[str, Any] = {}
    for name in _listed(own.pop("include", None)):
        template = os.path.join(os.path.dirname(path), name)  # noqa: PTH118, PTH120
        if template not in included:
            included[template] = _heads(template, included)
        heads.update(included[template])
    return {**heads, **own}


@lru_cache(maxsize=10_000)
def _value(text: str, value: str) -> Any:
    plain = _PLAIN.match(value)
    if plain and (plain[1] or plain[2] not in _NOTHING):
        return plain[2]
    [parsed] = yaml.load(text, Loader=_loader(Path())).values()
    return parsed


def _listed(value: Any) -> list[str]:
    return [] if value is None else [str(v) for v in value] if isinstance(value, list) else [str(value)]


def _yaml_files(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".yaml"):
                yield entry.path
            elif entry.is_dir() and entry.name not in {"__pycache__", ".ipynb_checkpoints"}:
                yield from _yaml_files(entry.path)


def _cache_file() -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    where = hashlib.sha256(str(tasks_folder()).encode()).hexdigest()[:8]
    return caches / "datatrial" / f"lm_eval-{importlib.metadata.version('lm_eval')}-{where}.json"


@cache
def _kept_index() -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(_cache_file().read_text(encoding="utf-8"))
        return kept
    except (OSError, ValueError):
        return {}


@cache
def _read_index() -> dict[str, Any]:
    root = tasks_folder()
    index = index_of(_yaml_files(str(root)))
    rows = {n: (e.kind, e.path.relative_to(root).as_posix() if e.path else None, e.members) for n, e in index.items()}
    try:
        file = _cache_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_at_once(file, json.dumps(rows))
    except OSError:
        pass  # without a place to keep it, the index is read anew each time
    return rows
