"""JSON as values that anything can be done with: not nested deeper than others can follow, without half characters."""

import json
from typing import Any

DEEPEST = 50  # lists and objects within one another
TOO_DEEP = f"nested more than {DEEPEST} deep"
TOO_MANY_DIGITS = "a number in it has thousands of digits"


def value_of(text: str) -> Any:
    """The value of a text in JSON.

    Raises: ValueError when it is none, or such a value.
    """
    try:
        return checked(json.loads(text), text, 0, len(text))
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except ValueError as error:
        raise ValueError(reason(error)) from None


def reason(error: ValueError) -> str:
    """What is wrong with a text that is no JSON; the line only where it has several."""
    if not isinstance(error, json.JSONDecodeError):
        return TOO_MANY_DIGITS if "int_max_str_digits" in str(error) else str(error)
    return str(error) if error.doc.rstrip().count("\n") else f"{error.msg}: column {error.colno}"


def checked(value: Any, text: str, start: int, end: int) -> Any:
    """The value itself, which was decoded from a part of a text.

    Raises: ValueError when it is nested too deep, or has half a character in it.
    """
    if text.count("[", start, end) + text.count("{", start, end) > DEEPEST and _is_deep(value):
        raise ValueError(TOO_DEEP)
    if text.find("\\u", start, end) >= 0:  # only an escape such as \ud83d can leave half a character
        json.dumps(value, ensure_ascii=False).encode()  # which no text file can hold
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _within(outer)]
        if not level:
            return False
    return True


def _within(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in inner if isinstance(item, list | dict)]
