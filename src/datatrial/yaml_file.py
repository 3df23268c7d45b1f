"""Study files: YAML 1.2 with the line of every key, and dotted overrides on top."""

import io
import re
import sys
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from datatrial.errors import Problem, StudyError, quoted
from datatrial.foreign.plain_yaml import DEEPEST, Place, loaded
from datatrial.regular_files import text_of

LARGEST = 2**20  # bytes of a study file; one of a thousand arms has a quarter of it
LONGEST_CHAIN = 20  # files, each of which extends the next
LENGTH = ("epochs", "budget")  # how long to train: one setting, said in either way
ABSENT = object()


@dataclass(frozen=True)
class YamlFile:
    """The values of a study file as plain Python objects, and where in the file each stands (1-based lines)."""

    values: dict[str, Any]
    lines: dict[Place, int]
    extended: Path | None = None  # the file that it extends, or that one extends, and so on to the last

    @classmethod
    def read(cls, path: Path) -> "YamlFile":
        """Read a study file, and the one it `extends`, whose values it changes where it names them.

        Raises: StudyError when it is missing or is not a YAML mapping without repeated keys, or when what it extends is
        no other study file of the same folder.
        """
        return cls._read(path, ())

    @classmethod
    def _read(cls, path: Path, above: tuple[Path, ...]) -> "YamlFile":
        own = cls._one(path)
        name = own.values.pop("extends", None)
        if name is None:
            return own
        if not isinstance(name, str) or Path(name).name != name:  # paths in either file are relative to its folder
            raise StudyError([Problem("extends", f"should name a study file of the same folder (got {quoted(name)})")])
        if path.resolve() in above:
            raise StudyError([Problem("extends", f"{path} extends itself")])
        if len(above) == LONGEST_CHAIN:
            raise StudyError([Problem("extends", f"more than {LONGEST_CHAIN} files extend one another")])
        other = path.parent / name
        general = cls._read(other, (*above, path.resolve()))
        values = _merged(general.values, own.values)
        _drop_assumptions(general.values, values, restated=own.values.get("assumptions") or {})
        return cls(values, own.lines, general.extended or other)

    @classmethod
    def _one(cls, path: Path) -> "YamlFile":
        try:
            return cls.parse(text_of(path, LARGEST))
        except FileNotFoundError:
            raise StudyError([Problem("", f"there is no file {path}", "`datatrial init` writes an example")]) from None
        except UnicodeDecodeError as error:
            raise StudyError([Problem("", f"cannot read {path}: it is not in UTF-8 ({error})")]) from error
        except OSError as error:
            raise StudyError([Problem("", f"cannot read {path}: {error.strerror or error}")]) from error

    @classmethod
    def parse(cls, text: str) -> "YamlFile":
        """The values of a study file's text.

        Raises: StudyError with the line of what is not YAML, or more than a study can mean.
        """
        values, lines = loaded(text)
        if not isinstance(values, dict):
            raise StudyError([Problem("", "should be a mapping of keys such as `name`, `model`, `data` and `arms`")])
        return cls(values, lines)

    def with_overrides(self, overrides: list[str]) -> "YamlFile":
        """The values with each `dotted.key=value` put in; values are YAML, list items are named by number.

        Raises: StudyError when an override is not of that form or its place does not exist.
        """
        values = deepcopy(self.values)
        problems = [problem for text in overrides if (problem := _override(values, text))]
        if problems:
            raise StudyError(problems)
        _drop_assumptions(self.values, values, restated={})
        return replace(self, values=values)

    def without(self, *keys: str) -> "YamlFile":
        """The same values but for some keys."""
        return replace(self, values={name: value for name, value in self.values.items() if name not in keys})

    def text(self) -> str:
        """The values as YAML."""
        stream, yaml = io.StringIO(), YAML(typ="safe", pure=True)
        yaml.Representer = _Representer
        yaml.width = sys.maxsize  # a line that is broken amid several spaces is read with one of them less
        yaml.dump(self.values, stream)
        return stream.getvalue()

    def line(self, place: Place) -> int | None:
        """The line of a place, or of the nearest place around it; a place of an extended file has none."""
        while place and place not in self.lines and not self.extended:
            place = place[:-1]
        return self.lines.get(place)


class _Representer(SafeRepresenter):
    """Writes in double quotes what the library would write so that it reads something else: characters that break
    lines, and texts that begin as a key of YAML's longer form does.
    """

    def represent_str(self, data: str) -> ScalarNode:
        style = '"' if re.search("^[:?]|[\x85\u2028\u2029]", data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


def _merged(general: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Values over more general ones: mappings key by key, anything else whole; null takes a key out."""
    merged = dict(general)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and key not in LENGTH
        _put(merged, key, _merged(merged[key], value) if both else value)
        if value is None:
            del merged[key]
    return merged


def _put(node: dict[str, Any], key: str, value: Any) -> None:
    for other in LENGTH if key in LENGTH else ():
        node.pop(other, None)
    node[key] = value


def _drop_assumptions(before: dict[str, Any], after: dict[str, Any], restated: Any) -> None:
    """Take out the assumptions about what has another value now: their reasons were for the former one."""
    if isinstance(assumptions := after.get("assumptions"), dict):
        after["assumptions"] = {
            place: reason
            for place, reason in assumptions.items()
            if place in restated or value_at(before, place) == value_at(after, place)
        }


def value_at(values: Any, dotted: str) -> Any:
    """What stands at a place such as `training.sft.epochs`, list items named by number; `ABSENT` if nothing does."""
    for part in dotted.split("."):
        if isinstance(values, list) and (number := _number(part, values)) is not None:
            values = values[number]
        elif isinstance(values, dict) and part in values:
            values = values[part]
        else:
            return ABSENT
    return values


def _override(values: dict[str, Any], text: str) -> Problem | None:
    place, equals, written = text.partition("=")
    if not equals or not place:
        return Problem(quoted(text, 80), "an override should be written key=value", "for example training.sft.epochs=2")
    *parents, last = place.split(".")
    if len(parents) > DEEPEST:
        return Problem(quoted(place, 80), f"goes more than {DEEPEST} deep, and no setting does")
    node: Any = values
    for part in parents:
        node = _step_into(node, part)
        if not isinstance(node, dict | list):
            return Problem(place, f"there is no {part!r} to set {last!r} in")
    try:
        value, _ = loaded(written)
    except StudyError as error:
        return Problem(place, f"the value {quoted(written)} cannot be read: {error.problems[0].message}")
    if isinstance(node, list):
        if (number := _number(last, node)) is None:
            return Problem(place, f"should end with the number of an item, 0 to {len(node) - 1}")
        node[number] = value
        return None
    if parents[-1:] == ["budget"]:  # of its counts, too, there is one
        node.clear()
    _put(node, last, value)
    return None


def _step_into(node: Any, part: str) -> Any:
    if isinstance(node, list):
        return None if (number := _number(part, node)) is None else node[number]
    if isinstance(node, dict) and part not in node:
        _put(node, part, {})
    return node.get(part) if isinstance(node, dict) else None


def _number(part: str, items: list[Any]) -> int | None:
    """The item of a list that a part of a place names by its number; None where it names none."""
    known = part.isdecimal() and len(part) <= len(str(len(items)))  # a number can be too long to be read as one
    return number if known and (number := int(part)) < len(items) else None
