"""YAML 1.2 as plain values (mappings, lists, texts, numbers, truth values, null) with the line of each.

Only what YAML's core schema has is understood: no tag makes an object, and a date is the text that stands there. What
is read is bounded, also where a short text means a long one: an alias counts as what it stands for.
"""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from datatrial.errors import Problem, StudyError, first_line, named, quoted

Place = tuple[str | int, ...]

DEEPEST = 50  # values within one another; a study has a dozen
MOST_VALUES = 100_000  # a study of a thousand arms has some ten thousand

_CORE = "tag:yaml.org,2002:"
_READ = {f"{_CORE}{name}" for name in ("null", "bool", "int", "float")}
_TEXT = {f"{_CORE}{name}" for name in ("str", "timestamp", "value")}  # the last: a single "="


def loaded(text: str) -> tuple[Any, dict[Place, int]]:
    """The values of a text, None for an empty one; the 1-based line of each key and list item.

    Raises: StudyError with the line, when it is no YAML, or too deep, or holds too much or what no study can use.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth, yaml.composer.warn_double_anchors = DEEPEST, False
    try:
        root = yaml.compose(text)
    except MaxDepthExceededError as error:
        raise _refused(f"nested more than {DEEPEST} deep", (), error.problem_mark) from error
    except MarkedYAMLError as error:
        what = first_line(Exception(error.problem or error.context or "not readable"))
        raise _refused(f"not valid YAML: {what}", (), error.problem_mark or error.context_mark) from error
    except Exception as error:  # YAMLError, and whatever else the library stumbles over, as over "%YAML 1.0"
        raise _refused(f"not valid YAML: {first_line(error)}", (), None) from error
    reading = _Reading(yaml.constructor)
    return (reading.plain(root, ()) if root else None), reading.lines


def written(place: Place) -> str:
    """A place as people write it: `arms.lima[0].sft`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{named(part)}" if text else named(part)
    return text


class _Reading:
    """Makes nodes into values, once for each place where they stand."""

    def __init__(self, constructor: Any):
        self.constructor = constructor
        self.lines: dict[Place, int] = {}
        self.values = 0

    def plain(self, node: Node, place: Place) -> Any:
        self.values += 1
        if self.values > MOST_VALUES:
            raise _refused(f"holds more than {MOST_VALUES} values, counting an alias as what it stands for", (), None)
        if len(place) > DEEPEST:  # an alias of what it stands in goes on without end
            raise _refused(f"nested more than {DEEPEST} deep, counting aliases", place[:3], node.start_mark)
        tag = str(node.tag)
        if isinstance(node, MappingNode) and tag == f"{_CORE}map":
            return {key: self.plain(value, (*place, key)) for key, value in self._items(node, place).items()}
        if isinstance(node, SequenceNode) and tag == f"{_CORE}seq":
            self.lines |= {(*place, number): item.start_mark.line + 1 for number, item in enumerate(node.value)}
            return [self.plain(item, (*place, number)) for number, item in enumerate(node.value)]
        if isinstance(node, ScalarNode) and tag in _READ:
            return self._number(node, place)
        if isinstance(node, ScalarNode) and tag in _TEXT:
            return _text(node, place)
        raise _refused(_meaningless(node), place, node.start_mark)

    def _items(self, node: MappingNode, place: Place) -> dict[str, Node]:
        """Values by key; a key is the text that is written, whatever it looks like."""
        items: dict[str, Node] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise _refused("a key should be a text", place, key.start_mark)
            if (name := _text(key, place)) == "<<":
                raise _refused("there are no merge keys in YAML 1.2: write the keys out", place, key.start_mark)
            if str(key.tag) not in _READ | _TEXT:
                raise _refused(_meaningless(key), place, key.start_mark)
            if name in items:
                raise _refused(f"duplicate key {quoted(name)}: leave one of them out", place, key.start_mark)
            items[name] = value
            self.lines[(*place, name)] = key.start_mark.line + 1
        return items

    def _number(self, node: ScalarNode, place: Place) -> bool | int | float | None:
        try:
            value: bool | int | float | None = self.constructor.construct_object(node)
        except (ValueError, LookupError) as error:  # a tag such as !!int says what the text should be
            what = f"{quoted(node.value, 40)} is no {_tag(node)}"
            raise _refused(what, place, node.start_mark) from error
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise _refused("a number of more than 64 bits", place, node.start_mark)
        return value


def _tag(node: Node) -> str:
    return str(node.tag).replace(_CORE, "!!")


def _meaningless(node: Node) -> str:
    return f"the tag {named(_tag(node))} means nothing here: leave it out"


def _text(node: ScalarNode, place: Place) -> str:
    """The text of a scalar; what could be no name of a file and be written to none is refused."""
    text: str = node.value
    if "\0" in text:
        raise _refused("a text with a NUL character in it: leave that out", place, node.start_mark)
    try:
        text.encode()
    except UnicodeEncodeError:
        what = "a text with half a character (such as \\ud83d) in it: write the whole"
        raise _refused(what, place, node.start_mark) from None
    return text


def _refused(what: str, place: Place, mark: Any) -> StudyError:
    return StudyError([Problem(written(place), what, line=mark.line + 1 if mark else None)])
