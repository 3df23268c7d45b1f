"""What pydantic finds wrong with values of a study, at the places of its YAML and in words for its readers."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from datatrial.errors import quoted
from datatrial.foreign.plain_yaml import Place

PLAIN = {  # pydantic's words, and ours
    "Input should": "should",
    "String should": "should",
    "Field required": "is missing",
    "Value error, ": "",
    "valid tuple": "list",
    "valid dictionary": "mapping",
    "Tuple should have": "should have",
    " after validation, not 0": "",
    "could not parse value and unit from byte string": "should be an amount of memory such as 24GB",
}


def invalid(build: Callable[[], Any], values: Any, at: Place) -> Iterator[tuple[Place, str]]:
    """The problems that building a component from values meets."""
    try:
        build()
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            if "after validation" in detail["msg"] and detail["input"]:
                continue  # pydantic counts only the valid items of a list; the others are reported themselves
            place = (*at, *_within(values, detail["loc"]))
            yield place, plainly(detail["msg"], detail["input"])


def _within(values: Any, loc: Place) -> Place:
    """The part of pydantic's location that is in the YAML: it adds names of union members."""
    place: Place = ()
    for part in loc:
        inside = isinstance(values, Mapping) and isinstance(part, str)
        listed = isinstance(values, list) and isinstance(part, int) and part < len(values)
        if listed or (inside and part in values):
            values = values[part]
        elif not (inside and str(part).isidentifier() and part == loc[-1]):
            continue
        place = (*place, part)
    return place


def plainly(text: str, value: Any) -> str:
    """What pydantic says of a value, in our words."""
    text = re.sub(r" or instance of \w+", "", text)
    for jargon, plain in PLAIN.items():
        text = text.replace(jargon, plain)
    shown = quoted(value) if isinstance(value, str | int | float | bool) else ""
    return f"{text} (got {shown})" if shown and shown not in text and text != "is missing" else text
